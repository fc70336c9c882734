"""ONNX files: what the graph says is read from it, and a model takes nothing from outside its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import models
from evofool.classifiers import load_classifier
from evofool.classifiers.support.protobuf import external_files
from evofool.errors import ClassifierError, TargetError

LEVELS = (torch.arange(256) / 255).view(1, 1, 16, 16)  # one image with every gray level


def refused(spec: str | Path, said: str, **settings: Any) -> None:
    with pytest.raises(ClassifierError, match=said) as error:
        load_classifier(f"onnx:{spec}", settings)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (["n", 3, 4, 5], (3, 4, 5)),
        (["n", 4, 5, 3], (3, 4, 5)),
        (["n", 1, 4, 5], (1, 4, 5)),
        (["n", 4, 5, 1], (1, 4, 5)),
        (["n", 3, 4, 3], (3, 4, 3)),  # either may be; most graphs have the channels first
        (["n", 4, 5], (1, 4, 5)),
    ],
)
def test_the_layout_is_read_from_the_axis_of_channels(tmp_path: Path, shape: list[Any], fits: tuple[int, ...]) -> None:
    classifier = load_classifier(f"onnx:{models.pixels(tmp_path / 'net.onnx', shape)}")
    assert classifier.info.image_shape == fits
    images = torch.arange(2 * 60.0).view(2, -1)[:, : fits[0] * fits[1] * fits[2]].reshape(2, *fits) / 120
    last = len(shape) == 4 and shape[1] not in (1, 3)
    expected = images.permute(0, 2, 3, 1) if last else images
    assert torch.equal(classifier(images), expected.flatten(1))


def test_the_user_says_the_layout_where_the_graph_leaves_it_open(tmp_path: Path) -> None:
    path = models.pixels(tmp_path / "net.onnx", ["n", "a", "b", "c"])
    refused(path, r"does not say what images it takes: give their shape")
    images = torch.arange(24.0).view(1, 3, 2, 4) / 24
    for layout in ("NCHW", "NHWC"):
        classifier = load_classifier(f"onnx:{path}", image_shape="3x2x4", layout=layout)
        given = images if layout == "NCHW" else images.permute(0, 2, 3, 1)
        assert torch.equal(classifier(images), given.flatten(1))
    ambiguous = models.pixels(tmp_path / "both.onnx", ["n", 3, 4, 3])
    assert load_classifier(f"onnx:{ambiguous}", layout="NHWC").info.image_shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("numbers", "name", "white"),
    [("FLOAT", "float32", 1), ("DOUBLE", "float64", 1), ("FLOAT16", "float16", 1), ("UINT8", "uint8", 255)],
)
def test_images_are_given_in_the_numbers_of_the_graph(tmp_path: Path, numbers: str, name: str, white: int) -> None:
    number = getattr(TensorProto, numbers)
    classifier = load_classifier(f"onnx:{models.pixels(tmp_path / 'net.onnx', ['n', 1, 16, 16], number)}")
    assert classifier.info.dtype == name
    expected = LEVELS.half().float() if name == "float16" else LEVELS * white
    assert torch.equal(classifier(LEVELS).view(LEVELS.shape), expected.round() if white == 255 else expected)
    between = classifier(torch.full((1, 1, 16, 16), 0.7499 / 255)) / white
    assert torch.allclose(between, torch.tensor((1 if white == 255 else 0.7499) / 255), rtol=1e-3)


def test_a_fixed_batch_is_the_micro_batch(tmp_path: Path) -> None:
    for batch in (1, 7):
        path = models.pixels(tmp_path / f"{batch}.onnx", [batch, 1, 2, 2], classes=4)
        classifier = load_classifier(f"onnx:{path}")
        assert classifier.info.micro_batch == batch
        images = torch.rand(batch, 1, 2, 2, generator=torch.Generator().manual_seed(0))
        assert torch.equal(classifier(images), images.flatten(1))
        with pytest.raises(TargetError, match="failed"):
            classifier(torch.zeros(batch + 1, 1, 2, 2))
        refused(path, rf"takes {batch} rows at a time; leave micro_batch out", micro_batch=50)
    free = models.pixels(tmp_path / "free.onnx", ["n", 1, 2, 2])
    assert load_classifier(f"onnx:{free}").info.micro_batch == 100
    assert load_classifier(f"onnx:{free}", micro_batch=9).info.micro_batch == 9


def test_flattened_images_are_resized_to_what_the_graph_was_trained_on(tmp_path: Path) -> None:
    path = models.pixels(tmp_path / "net.onnx", ["n", 64])
    refused(
        path,
        r"takes 64 values an image, and images of 1x28x28 have 784.*--with input_shape=1x8x8",
        image_shape="1x28x28",
    )
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classifier = load_classifier(f"onnx:{path}", input_shape="1x8x8")
    assert torch.equal(classifier(images), images.flatten(1))
    large = load_classifier(f"onnx:{path}", input_shape="1x8x8", image_shape="1x28x28")
    assert torch.allclose(large(torch.ones(2, 1, 28, 28)), torch.ones(2, 64))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([("x", 1, ["n", 1, 2, 2]), ("mask", 1, [1])], r"takes 2 inputs \(x, mask\); expected one"),
        ([("x", 1, ["n", 1, 2, 2, 2])], r"an input of shape \[\?, 1, 2, 2, 2\]; expected a batch of images"),
        ([("x", 7, ["n", 1, 2, 2])], r"an input of int64; expected one of float32"),
        (
            [("x", 1, ["n", 4, 2, 2])],
            r"takes 4 channels, with an input of shape \[\?, 4, 2, 2\] read as NCHW; expected 1",
        ),
    ],
)
def test_what_takes_no_images_is_refused(tmp_path: Path, inputs: list[Any], said: str) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=1), helper.make_node("Flatten", ["c"], ["y"])]
    if len(inputs) > 1:
        nodes.append(helper.make_node("Identity", ["mask"], ["m"]))
    outputs = [("y", 1, ["n", "k"]), *([("m", 1, [1])] if len(inputs) > 1 else [])]
    refused(models.graph(tmp_path / "net.onnx", nodes, inputs, outputs), said)


# ---- several outputs


def two_outputs(path: Path, first: int, second: int) -> Path:
    """Scores of `first` classes and of `second`."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"])]
    weights = []
    for name, classes in (("a", first), ("b", second)):
        weight = np.full((4, classes), len(weights) + 1, np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{name}"))
        nodes.append(helper.make_node("MatMul", ["f", f"w{name}"], [name]))
    return models.graph(
        path, nodes, [("x", 1, ["n", 1, 2, 2])], [("a", 1, ["n", first]), ("b", 1, ["n", second])], weights
    )


def test_of_several_outputs_the_one_of_the_named_classes_is_taken(tmp_path: Path) -> None:
    path = two_outputs(tmp_path / "net.onnx", 5, 3)
    refused(path, r"several outputs that could be scores \(a: tensor\(float\) \['n', 5\], b: ")
    classifier = load_classifier(f"onnx:{path}", class_names="p,q,r")
    assert classifier(torch.ones(1, 1, 2, 2)).tolist() == [[8.0, 8.0, 8.0]]
    classifier = load_classifier(f"onnx:{path}", class_names="p,q,r,s,t")
    assert classifier(torch.ones(1, 1, 2, 2)).tolist() == [[4.0] * 5]
    refused(two_outputs(tmp_path / "alike.onnx", 3, 3), "several outputs", class_names="p,q,r")


def probabilities_and_labels(path: Path, zipmap: bool) -> Path:
    """As converters from scikit-learn write them: labels, then probabilities, in maps or in rows."""
    label = helper.make_node("ArgMax", ["f"], ["label"], axis=1, keepdims=0)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), label, helper.make_node("Softmax", ["f"], ["p"], axis=1)]
    outputs: list[Any] = [("label", 7, ["n"])]
    if zipmap:
        names = {"classlabels_int64s": [0, 1, 2, 3]}
        nodes.append(helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", **names))
        maps = helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, []))
        outputs.append(helper.make_value_info("maps", helper.make_sequence_type_proto(maps)))
    else:
        outputs.append(("p", 1, ["n", 4]))
    return models.graph(path, nodes, [("x", 1, ["n", 1, 2, 2])], outputs)


def test_probabilities_are_taken_rather_than_labels_and_maps_are_refused(tmp_path: Path) -> None:
    classifier = load_classifier(f"onnx:{probabilities_and_labels(tmp_path / 'rows.onnx', False)}")
    assert classifier.info.kind == "probabilities"
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(classifier(images), images.flatten(1).softmax(1))
    refused(probabilities_and_labels(tmp_path / "maps.onnx", True), r"export it without ZipMap \(zipmap=False\)")


def test_labels_alone_are_labels(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["f"])]
    nodes.append(helper.make_node("ArgMax", ["f"], ["y"], axis=1, keepdims=0))
    path = models.graph(tmp_path / "net.onnx", nodes, [("x", 1, ["n", 1, 2, 2])], [("y", 7, ["n"])])
    classifier = load_classifier(f"onnx:{path}", class_names="a,b,c,d")
    assert classifier.info.kind == "label"
    assert classifier(torch.eye(4).view(4, 1, 2, 2)).tolist() == torch.eye(4).tolist()


# ---- external data


def test_external_data_beside_the_file_loads_and_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    fingerprints = []
    for number, location in enumerate(["w.bin", "./w.bin", "sub/w.bin"]):
        weight = models.weights_400_by_100() * (number + 1)
        (tmp_path / location).write_bytes(weight.tobytes())
        path = models.outside(tmp_path / "net.onnx", location)
        assert external_files(path) == [tmp_path / location]
        classifier = load_classifier(f"onnx:{path}")
        images = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
        assert np.allclose(classifier(images), images.flatten(1).numpy() @ weight, atol=1e-3)
        fingerprints.append(classifier.info.fingerprint)
    (tmp_path / "sub" / "w.bin").write_bytes(models.weights_400_by_100().tobytes())
    fingerprints.append(load_classifier(f"onnx:{tmp_path / 'net.onnx'}").info.fingerprint)
    assert len(set(fingerprints)) == 4


def test_the_exporter_s_default_loads(tmp_path: Path) -> None:
    models.export_onnx(tmp_path / "whole.onnx")
    models.export_onnx(tmp_path / "net.onnx", external_data=True)
    assert [path.name for path in external_files(tmp_path / "net.onnx")] == ["net.onnx.data"]
    images = models.test_set().images[:100] / 255
    whole, parts = (load_classifier(f"onnx:{tmp_path / name}") for name in ("whole.onnx", "net.onnx"))
    assert torch.equal(whole(images), parts(images))
    (tmp_path / "net.onnx.data").unlink()
    refused(tmp_path / "net.onnx", r"weights are in 'net.onnx.data', which is missing; copy it beside the model")


def test_a_cache_that_links_to_its_files_loads(tmp_path: Path) -> None:
    """As the one of a well-known hub: a folder of links into a folder of blobs."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    models.outside(tmp_path / "blobs" / "aaa", "w.bin")
    (tmp_path / "blobs" / "bbb").write_bytes(models.weights_400_by_100().tobytes())
    for name, blob in (("net.onnx", "aaa"), ("w.bin", "bbb")):
        (tmp_path / "snapshot" / name).symlink_to(Path("..") / "blobs" / blob)
    assert load_classifier(f"onnx:{tmp_path / 'snapshot' / 'net.onnx'}").info.image_shape == (1, 20, 20)


@pytest.mark.parametrize("inside_of", ["graph", "node"])
@pytest.mark.parametrize(
    "location",
    ["{outside}", "{folder}/w.bin", "../outside/w.bin", "sub/../../outside/w.bin", "../folder/w.bin", "link",
     "links/w.bin", "/dev/zero", "C:\\w.bin", "..\\outside\\w.bin", "*/_ORT_MEM_ADDR_/*", "sub", "", "gone"],
)  # fmt: skip
def test_a_model_takes_nothing_from_outside_its_folder(
    tmp_path: Path, monkeypatch, location: str, inside_of: str
) -> None:
    folder, other = tmp_path / "folder", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    other.mkdir()
    for path in (folder / "w.bin", other / "w.bin"):
        path.write_bytes(models.weights_400_by_100().tobytes())
    (folder / "link").symlink_to(other / "w.bin")
    (folder / "links").symlink_to(other)
    location = location.format(outside=other / "w.bin", folder=folder)
    path = models.outside(folder / "net.onnx", location, inside_of=inside_of)
    asked: list[Any] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: asked.append(a))
    refused(path, "outside its own folder, which is refused|which is missing; copy it beside the model")
    assert asked == []  # refused before anything was read


PLACES = {
    "graph": lambda model: model.graph.initializer.add(),
    "sparse values": lambda model: model.graph.sparse_initializer.add().values,
    "sparse indices": lambda model: model.graph.sparse_initializer.add().indices,
    "tensor of a node": lambda model: model.graph.node.add().attribute.add().t,
    "tensors of a node": lambda model: model.graph.node.add().attribute.add().tensors.add(),
    "sparse tensor of a node": lambda model: model.graph.node.add().attribute.add().sparse_tensor.values,
    "sparse tensors of a node": lambda model: model.graph.node.add().attribute.add().sparse_tensors.add().values,
    "branch": lambda model: model.graph.node.add().attribute.add().g.initializer.add(),
    "branches": lambda model: model.graph.node.add().attribute.add().graphs.add().initializer.add(),
    "branch of a branch": lambda model: PLACES["branch"](
        SimpleNamespace(graph=model.graph.node.add().attribute.add().g)
    ),
    "function": lambda model: model.functions.add().node.add().attribute.add().t,
    "default of a function": lambda model: model.functions.add().attribute_proto.add().t,
    "training": lambda model: model.training_info.add().initialization.initializer.add(),
    "step of training": lambda model: model.training_info.add().algorithm.initializer.add(),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_wherever_they_stand(tmp_path: Path, place: str) -> None:
    model = onnx.load(models.pixels(tmp_path / "net.onnx", ["n", 1, 2, 2]))
    weight = PLACES[place](model)
    weight.name, weight.data_location = "w", TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "net.onnx", "takes weights from '/etc/hostname', outside its own folder")


# ---- files that are not whole, and how the graph is run


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = models.export_onnx(tmp_path / "whole.onnx").read_bytes()
    for share in (0.0001, 0.01, 0.3, 0.7, 0.99, 1 - 1 / len(whole)):
        (tmp_path / "net.onnx").write_bytes(whole[: int(share * len(whole))])
        refused(tmp_path / "net.onnx", "net.onnx")


def test_a_file_goes_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    path = models.pixels(tmp_path / "net.onnx", ["n", 1, 2, 2])
    for name in ("net.bin", "net.ort", "net"):
        shutil.copy(path, tmp_path / name)
        assert load_classifier(f"onnx:{tmp_path / name}").info.image_shape == (1, 2, 2)
    assert load_classifier(path).info.name == "net"  # a path that ends in .onnx needs no prefix


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    content = b""
    for _ in range(4000):  # graph > node > attribute > graph > ...
        for field in (6, 5, 1):
            content = bytes([field << 3 | 2]) + varint(len(content)) + content
    (tmp_path / "net.onnx").write_bytes(bytes([7 << 3 | 2]) + varint(len(content)) + content)
    refused(tmp_path / "net.onnx", "is not an ONNX file, or not a whole one")


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def test_it_runs_in_one_thread_and_says_nothing_on_its_own(tmp_path: Path, monkeypatch, capfd) -> None:
    made, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: made.append(session(*a, **k)) or made[-1])
    unused = numpy_helper.from_array(np.zeros(3, np.float32), "unused")  # of which onnxruntime would warn
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    path = models.graph(tmp_path / "net.onnx", nodes, [("x", 1, ["n", 1, 2, 2])], [("y", 1, ["n", 4])], [unused])
    load_classifier(path)
    options = made[0].get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert made[0].get_providers() == ["CPUExecutionProvider"]
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09\x3a\x02\x0a\x00")
    refused(tmp_path / "net.onnx", "cannot be loaded by onnxruntime")
    assert capfd.readouterr() == ("", "")


def test_a_device_that_falls_away_while_loading_is_not_taken_for_another(tmp_path: Path, monkeypatch) -> None:
    """Where the libraries of the graphics card are not whole, onnxruntime goes on with the processor."""
    path = models.pixels(tmp_path / "net.onnx", ["n", 1, 2, 2])
    session, asked = onnxruntime.InferenceSession, []

    def falls_back(file: str, options: Any, providers: list[Any]) -> Any:
        asked.append(providers)
        return session(file, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    refused(path, "does not compute on cuda:1; give cpu", device="cuda:1")
    assert asked == [[("CUDAExecutionProvider", {"device_id": 1})]]
    assert load_classifier(f"onnx:{path}", device="auto").info.device == "cpu"
    assert load_classifier(f"onnx:{path}").info.device == "cpu"
    assert asked[2] == ["CPUExecutionProvider"]
