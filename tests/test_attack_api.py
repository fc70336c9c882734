"""`evofool.attack`: a model and images in one line, in Python."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attack_nets
import evofool
from evofool import evasion, recipes
from evofool import pool as pools
from evofool.attacks import Attacked
from evofool.errors import ClassifierError, DamagedRunError, SpecError, UserError
from evofool.rng import untouched
from evofool.studies.attack.planning import check_pool
from evofool.threat import threat

SHAPE = attack_nets.SHAPE
COUNT = 8


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small are the images that some searches soon have asked all that they can."""
    monkeypatch.setattr(evasion, "IDLE", 15)


class Net(nn.Module):
    """The network of `attack_nets`, with a layer that would be another one in training."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(64, 4)
        weight = attack_nets.weights(4).flatten(1)
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(-0.5 * weight.sum(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(images.flatten(1)))


def net() -> nn.Module:
    with untouched():
        return Net()


def images() -> torch.Tensor:
    return torch.from_numpy(attack_nets.pictures(COUNT)[0])[:, None].float() / 255


def labels() -> torch.Tensor:
    return torch.tensor(attack_nets.pictures(COUNT)[1])


def attack(model: Any = None, x: Any = None, y: Any = None, **given: Any) -> Attacked:
    given = {"eps": 0.08, "budget": 60, "settings": {"micro_batch": 8}, **given}
    if "pixels" in given or given.get("norm") == "none":
        given.pop("eps")
    return evofool.attack(model or net(), images() if x is None else x, labels() if y is None else y, **given)


def same(one: Attacked, two: Attacked) -> bool:
    parts = ("images", "fooled", "skipped", "queries", "predictions")
    return all(torch.equal(getattr(one, part), getattr(two, part)) for part in parts)


# ---- one line


def test_one_line_fools_a_module() -> None:
    found = evofool.attack(net(), images(), labels(), norm="linf", eps=0.3, budget=200)
    assert bool(found.fooled.all()) and not bool(found.skipped.any())
    with torch.no_grad():
        seen = net().eval()(found.images).argmax(1)
    assert torch.equal(seen, found.predictions) and bool((seen != labels()).all())
    change = (found.images * 255).round() - (images() * 255).round()
    assert int(change.abs().max()) <= 76, "0.3 is read as 76 of 255"
    assert torch.equal((found.images * 255).round() / 255, found.images)
    assert int(found.queries.min()) >= 1 and int(found.queries.max()) <= 199
    assert found.pool is not None and found.pool.images == COUNT
    assert "genepool fooled" in str(found)


@pytest.mark.parametrize("name", sorted(recipes.recipes()))
def test_every_recipe_by_its_name(name: str) -> None:
    norm = recipes.recipes()[name].norms[0]
    size = {"linf": 0.08, "l2": 1.5, "l0": 5}[norm]
    found = attack(recipe=name, norm=norm, eps=size)
    assert found.results.recipe["name"] == name and found.results.norm == norm
    assert bool((found.queries <= 59).all())
    assert (found.pool is not None) == (name == "genepool")


def test_a_function_on_arrays_will_do() -> None:
    weight, bias = net().head.weight.detach().numpy(), net().head.bias.detach().numpy()

    def scores(pictures: Any) -> Any:
        return torch.from_numpy(np.asarray(pictures).reshape(len(pictures), -1) @ weight.T + bias)

    found = attack(scores)
    assert bool(found.fooled.any()) and not bool(found.skipped.any())


def test_what_is_misclassified_is_skipped_and_given_back_as_it_is() -> None:
    wrong = labels()
    wrong[2] = (wrong[2] + 1) % 4
    found = attack(y=wrong)
    assert found.skipped.tolist() == [False, False, True] + [False] * 5
    assert not bool(found.fooled[2]) and int(found.queries[2]) == 0 and torch.equal(found.images[2], images()[2])
    assert int(found.predictions[2]) == int(labels()[2])


def test_without_labels_the_model_says_what_they_are() -> None:
    found = evofool.attack(net(), images(), eps=0.08, budget=60, settings={"micro_batch": 8})
    assert same(found, attack()) and not found.results.data["labelled"]


def test_aims() -> None:
    each = (labels() + 1) % 4
    for target in (each, each.tolist()):
        found = attack(target=target, eps=0.3, budget=200)
        assert bool(found.fooled.any())
        assert torch.equal(found.predictions[found.fooled], each[found.fooled])
        assert [image.target for image in found.results.images] == each.tolist()
    found = attack(target="least-likely", eps=0.3)
    with torch.no_grad():
        least = net().eval()(images()).argmin(1)
    assert [image.target for image in found.results.images] == least.tolist()
    only = labels() != 3
    found = attack(x=images()[only], y=labels()[only], target=3, eps=0.3)
    assert {image.target for image in found.results.images} == {3}


def test_pixels_and_top_k_and_shrinking() -> None:
    found = attack(pixels=6, shrink=True, recipe="random")
    assert found.results.norm == "l0" and bool(found.fooled.any())
    changed = (found.images != images()).flatten(1).sum(1)
    assert int(changed.max()) <= 6 and int(changed[found.fooled].min()) < 6
    assert all(image.shrunk is not None for image in found.results.images if image.outcome == "fooled")
    assert max(count["issued"] for count in found.results.ledger["searches"].values()) <= 60
    found = attack(k=2, eps=0.3)
    with torch.no_grad():
        scores = net().eval()(found.images)
    place = (scores > scores.gather(1, labels()[:, None])).sum(1)
    assert torch.equal(found.fooled, place >= 2) and bool(found.fooled.any())


def test_images_are_rounded_to_what_a_file_holds() -> None:
    x = images() + 0.3 / 255 * (images() < 0.9)
    found, whole = attack(x=x), attack()
    assert same(found, whole)
    assert "8 of 8 images do not hold whole gray levels" in str(found) and "by up to 0.30 of one." in str(found)
    assert "gray levels" not in str(whole)
    assert "1 of 8 images" in str(attack(x=torch.cat([x[:1], images()[1:]])))


# ---- budgets


def test_a_budget_for_all() -> None:
    each, whole = attack(recipe="random", budget=20), attack(recipe="random", budget=20, budget_total=300)
    assert bool(each.fooled.any()) and not bool(each.fooled.all())
    assert torch.equal(each.queries[each.fooled], whole.queries[each.fooled])
    assert int(whole.queries.max()) > 20 and int(whole.queries.sum()) + COUNT <= 300
    assert int(whole.fooled.sum()) >= int(each.fooled.sum())
    assert "with at most 300 queries in all, 20 each in a first turn" in str(whole)


def test_what_fools_may_have_to_do_so_again() -> None:
    plain, again = attack(recipe="random"), attack(recipe="random", confirm=2)
    won = again.fooled
    assert torch.equal(plain.images, again.images) and torch.equal(plain.queries[won], again.queries[won])
    assert torch.equal(again.queries[~won], plain.queries[~won] - 2), "for one more success there was enough left"
    issued = [again.results.ledger["searches"][f"image {row}"]["issued"] for row in range(COUNT)]
    assert bool(again.fooled.any()) and issued == (1 + again.queries + 2 * again.fooled).tolist()
    assert "asked about 2 times more, fooled each time" in str(again)
    assert "asked about" not in str(plain), "nobody is asked again where queries are not metered"


# ---- the same again


def test_the_same_again_is_the_same_and_another_seed_is_not() -> None:
    one, two, other = attack(), attack(), attack(seed=1)
    assert same(one, two) and not same(one, other)
    assert one.results.to_json() == two.results.to_json()


def test_a_pool_goes_on_to_the_next_attack() -> None:
    first = attack()
    assert first.pool is not None and len(first.pool)
    before = pools.fingerprint(first.pool)
    assert first.pool.about["norm"] == "linf" and len(first.pool.about["classes"]) == 4
    with pytest.raises(SpecError, match="its genes are of linf, and this attack is of l0"):
        attack(pool=first.pool, pixels=3)
    second = attack(pool=first.pool)
    assert pools.fingerprint(first.pool) == before, "the pool that was given has changed"
    assert second.pool is not None and second.pool.images == 2 * COUNT
    assert second.results.images[0].tried > 0 and int(second.queries.sum()) < int(first.queries.sum())


def test_nothing_of_the_callers_is_touched() -> None:
    """Neither the model, nor the images, nor the generators, nor how many threads there are."""
    model = net().train()
    weights = copy.deepcopy(model.state_dict())
    x, y = images(), labels()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        attack(model, x, y)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.training and all(module.training for module in model.modules()), "it was left in another mode"
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, images()) and torch.equal(y, labels())


def test_images_that_ask_for_gradients_are_fine() -> None:
    assert same(attack(x=images().requires_grad_()), attack())
    assert same(attack(x=images().double()), attack())


def test_arrays_are_as_good_as_tensors() -> None:
    x, y = images().numpy(), labels().numpy()
    expected = attack()
    assert same(attack(x=x, y=y), expected) and isinstance(expected.images, torch.Tensor)
    frozen = x.copy()
    frozen.setflags(write=False)
    turned = np.ascontiguousarray(x[::-1])[::-1]
    for other in (frozen, turned, x.astype(np.float64), x.astype(">f4")):
        assert same(attack(x=other, y=y[::-1].copy()[::-1]), expected)
    assert np.array_equal(x, images().numpy())


def test_numbers_of_numpy_are_numbers() -> None:
    found = attack(eps=np.float32(0.25), budget=np.int64(60), seed=np.int32(0), k=np.int16(1))
    assert same(found, attack(eps=0.25))
    assert found.results.to_json() == attack(eps=0.25).results.to_json()


def test_a_pool_may_be_the_file_or_the_run_that_has_it(tmp_path: Path) -> None:
    first = attack()
    assert first.pool is not None and len(first.pool)
    file = tmp_path / "pool.safetensors"
    pools.write(pools.to_bytes(first.pool), file)
    expected = attack(pool=first.pool)
    assert expected.results.images[0].tried > 0
    for given in (file, str(file), tmp_path):
        assert same(attack(pool=given), expected)
    file.write_bytes(b"genes")
    with pytest.raises(DamagedRunError, match="is not a pool of genes"):
        attack(pool=file)


# ---- the report


def test_a_report_of_it(tmp_path: Path) -> None:
    found = attack()
    page = found.report(tmp_path / "report")
    assert page == tmp_path / "report" / "report.html" and page.stat().st_size > 10_000
    whole = json.loads((tmp_path / "report" / "study.json").read_text())
    for row, image in enumerate(whole["images"]):
        after = np.asarray(Image.open(tmp_path / "report" / image["adversarial"]))
        assert np.array_equal(after, (found.images[row, 0] * 255).round().byte().numpy())
        assert (image["outcome"] == "fooled") == bool(found.fooled[row]) and image["queries"] == int(found.queries[row])
    with pytest.raises(SpecError, match="not empty"):
        found.report(tmp_path / "report")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SpecError, match="name another directory"):
        found.report(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# ---- wrong input


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no tensor": ({"x": [[[[0.5] * 8] * 8]] * 8}, "images: found list; expected floats"),
    "an array of bytes": ({"x": np.zeros((8, 1, 8, 8), np.uint8)}, "images: found uint8 [8, 1, 8, 8]; expected floats"),
    "an array of one image": ({"x": np.zeros((1, 8, 8))}, "images: found float64 [1, 8, 8]; expected floats"),
    "bytes": ({"x": torch.zeros(8, 1, 8, 8, dtype=torch.uint8)}, "expected floats"),
    "no images": ({"x": torch.zeros(0, 1, 8, 8)}, "at least one image"),
    "one image by itself": ({"x": torch.zeros(1, 8, 8)}, "expected floats"),
    "levels to 255": ({"x": torch.full((8, 1, 8, 8), 255.0)}, "image 0 spans 255 to 255; expected [0, 1]"),
    "normalised": ({"x": torch.cat([torch.zeros(3, 1, 8, 8), torch.full((5, 1, 8, 8), -0.42)])}, "image 3 spans -0.42"),
    "not a number": ({"x": torch.full((8, 1, 8, 8), torch.nan)}, "image 0 spans nan"),
    "too few labels": ({"y": torch.zeros(3, dtype=torch.int64)}, "labels: found [3]"),
    "labels with a point": ({"y": torch.zeros(8)}, "expected 8 whole numbers"),
    "a label too large": ({"y": torch.tensor([0] * 7 + [4])}, "labels: that of image 7 is 4; expected 0 to 3"),
    "a label below 0": ({"y": torch.tensor([-1] + [0] * 7)}, "labels: that of image 0 is -1"),
    "a target equal to the label": ({"target": 0, "y": torch.tensor([1, 0] + [1] * 6)}, "image 1 is 0, its own label"),
    "too few targets": ({"target": [1, 2]}, "target: found [2]"),
    "no such target": ({"target": "wolf"}, "wolf"),
    "a target too large": ({"target": 4}, "target: that of image 0 is 4"),
    "a target of no meaning": ({"target": "given"}, "given"),
    "words for labels": ({"y": ["ant", "bee"]}, "labels: found ['ant', 'bee']; expected 8 whole numbers"),
    "an array of words": ({"y": np.array(["ant"] * 8)}, "labels: found array(["),
    "words for targets": ({"target": ["ant"] * 8}, "target: found ['ant', "),
    "eps in words": ({"eps": "8/255"}, "eps: found '8/255'; expected a number, such as 0.03 or 8 / 255"),
    "eps for each": ({"eps": [0.1, 0.2]}, "eps: found [0.1, 0.2]; expected a number"),
    "half a pixel": ({"pixels": 2.5}, "pixels: found 2.5; expected a whole number"),
    "a budget in words": ({"budget": "100"}, "budget: found '100'; expected a whole number"),
    "half a query": ({"budget": 10.5}, "budget: found 10.5; expected a whole number"),
    "a seed in words": ({"seed": "a"}, "seed: found 'a'; expected a whole number"),
    "a total in words": ({"budget_total": "all"}, "budget_total: found 'all'; expected a whole number"),
    "a total of too few": ({"budget_total": 7}, "7 queries in all for 8 images: expected at least 1 for each"),
    "confirm half": ({"confirm": 0.5}, "confirm: found 0.5; expected a whole number"),
    "confirm below 0": ({"confirm": -1}, "confirm = -1: expected 0 or more"),
    "all to confirm": ({"budget": 5, "confirm": 4}, "a budget of 5, 4 of them to confirm: expected at least 6"),
    "k is true": ({"k": True}, "k: found True; expected a whole number"),
    "no name of a limit": ({"norm": 2}, "norm: found 2; expected a name"),
    "no name of a recipe": ({"recipe": None}, "recipe: found None; expected a name"),
    "settings in words": ({"settings": "fast"}, "settings: found 'fast'; expected names with values"),
    "a pool that is not there": ({"pool": "nowhere.safetensors"}, "nowhere.safetensors: there is no such file"),
    "a pool of another kind": ({"pool": [1]}, "pool: found [1]; expected the pool of an attack"),
    "epsilon for eps": (
        {"eps": None, "epsilon": 0.1}, "genepool has no argument 'epsilon'; did you mean 'eps'?"
    ),
    "no limit": ({"norm": "none"}, "norm 'none': unknown"),
    "eps 0": ({"eps": 0.0}, "eps = 0: expected above 0"),
    "eps 8": ({"eps": 8}, "8 of 255 is 0.0314"),
    "eps missing": ({"eps": None}, "without a limit: give eps"),
    "pixels 0": ({"pixels": 0}, "pixels = 0"),
    "pixels 65": ({"pixels": 65}, "at most 64"),
    "budget 1": ({"budget": 1}, "a budget of 1 "),
    "k 4": ({"k": 4}, "top-k: k = 4"),
    "no such recipe": ({"recipe": "squares"}, "recipe 'squares': unknown"),
    "no such argument": ({"lags": 3}, "genepool has no argument 'lags'"),
    "a recipe for another limit": ({"recipe": "rays", "norm": "l2", "eps": 1.0}, "rays works within linf, not l2"),
    "a pool of other images": ({"pool": pools.empty((1, 9, 9), 4)}, "(1, 9, 9)"),
    "a pool of other classes": ({"pool": pools.empty(SHAPE, 3)}, "3 classes"),
    "a pool for a recipe without one": ({"pool": pools.empty(SHAPE, 4), "recipe": "square"}, "square uses no pool"),
    "an unknown setting": ({"settings": {"colour": "red"}}, "colour"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_one_line(case: str) -> None:
    given, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        attack(**given)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value, SpecError | ClassifierError) and caught.value.exit_code == 2


@pytest.mark.parametrize("more", [None, torch.zeros(8, 2)])
def test_a_model_that_answers_with_more_than_scores_is_told_what_to_do(more: torch.Tensor | None) -> None:
    """As Inception in training does, and many others."""
    said = "tuple of 2, expected the scores alone: let it return the first part"
    with pytest.raises(ClassifierError, match=said):
        evofool.attack(lambda images: (torch.zeros(len(images), 4), more), images(), labels(), eps=0.1)


def test_one_target_may_be_a_number_of_any_kind() -> None:
    for target in (np.int64(3), np.array(3), torch.tensor(3)):
        only = labels() != 3
        found = attack(x=images()[only], y=labels()[only], target=target, eps=0.3)
        assert {image.target for image in found.results.images} == {3}


@pytest.mark.parametrize(
    ("learned", "here", "said"),
    [
        (("cat", "dog", "emu", "fox"), ("cat", "elk", "emu", "fox"), "its class 1 is dog, that of says is elk"),
        (("cat", "dog", "emu", "fox"), ("dog", "cat", "emu", "fox"), "its class 0 is cat, that of says is dog"),
        (("cat", "dog", "emu", "fox"), ("cat", "dog", "emu", "fox"), ""),
        (("0", "1", "2", "3"), ("cat", "dog", "emu", "fox"), ""),
        (("cat", "dog", "emu", "fox"), ("0", "1", "2", "3"), ""),
        (None, ("cat", "dog", "emu", "fox"), ""),
    ],
)
def test_a_pool_of_classes_with_other_names_is_refused(
    learned: tuple[str, ...] | None, here: tuple[str, ...], said: str
) -> None:
    """What it knows is kept by class number. Classes without names are numbers, and may be any."""
    info = replace(attack_nets.labels().info, name="says", class_names=here)
    pool = replace(pools.empty(SHAPE, 4), about={} if learned is None else {"classes": list(learned)})
    limit = threat("linf", 0.1, SHAPE)
    if not said:
        check_pool(pool, "pool", "genepool", info, limit, targeted=False)
        return
    with pytest.raises(SpecError, match=said):
        check_pool(pool, "pool", "genepool", info, limit, targeted=False)


def test_two_limits_are_refused() -> None:
    with pytest.raises(UserError, match="pixels"):
        evofool.attack(net(), images(), labels(), eps=0.1, pixels=3)


def test_a_recipe_that_needs_scores_is_refused_by_labels() -> None:
    says = attack_nets.labels()
    with pytest.raises(UserError, match=r"square needs scores, and says answers with labels only; .*genepool"):
        attack(says, recipe="square", settings={})
    assert bool(attack(says, settings={}, eps=0.2).fooled.any())


def test_no_answers_are_no_success() -> None:
    with pytest.raises(UserError, match="gave no usable answer to any of 8 images"):
        attack(attack_nets.mute(), settings={})
    found = evofool.attack(attack_nets.half(), images(), eps=0.08, budget=30)
    light = images()[:, 0, 0, 0] > 0.9
    assert torch.equal(found.skipped, light) and found.predictions[light].tolist() == [-1] * int(light.sum())


def test_the_package_gives_it_by_name() -> None:
    assert evofool.attack is evofool.attacks.attack and "attack" in evofool.__all__
    assert evofool.UserError is UserError and "UserError" in evofool.__all__
