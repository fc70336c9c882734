"""scikit-learn estimators: from files that hold no code, and from Python."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import models
from evofool.classifiers import load_classifier
from evofool.classifiers.sklearn import adopt
from evofool.classifiers.support.settings import Settings
from evofool.contracts import Classifier, Dataset
from evofool.data import load_data
from evofool.errors import ClassifierError

ESTIMATORS: dict[str, Any] = {
    "logistic regression": lambda: LogisticRegression(max_iter=10),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=10)),
    "forest": lambda: RandomForestClassifier(20, random_state=0, n_jobs=2),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "neighbours": lambda: KNeighborsClassifier(3),
    "support vectors": lambda: SVC(),
    "linear support vectors": lambda: LinearSVC(random_state=0),
    "ridge": lambda: RidgeClassifier(),
    "network": lambda: MLPClassifier((16,), max_iter=20, random_state=0),
    "naive Bayes": lambda: GaussianNB(var_smoothing=0.1),
    "search": lambda: GridSearchCV(RidgeClassifier(), {"alpha": [0.1, 1.0]}, cv=2),
}
DOUBTED = {"forest": "_tree.Tree", "tree": "_tree.Tree", "network": "AdamOptimizer", "search": "StratifiedKFold"}


@cache
def train_set() -> tuple[np.ndarray, np.ndarray]:
    data = load_data("digits", split="train")
    return (data.images.flatten(1).double() / 255).numpy(), data.labels.numpy()


def fitted(estimator: Any, labels: Any = None, only: tuple[int, ...] = ()) -> Any:
    """An estimator that has learnt digits, or only some of them, under names of one's own."""
    x, y = train_set()
    rows = np.isin(y, only) if only else np.full(len(y), True)
    x, y = x[rows], y[rows]
    with warnings.catch_warnings(), models.untouched():
        warnings.simplefilter("ignore")
        return estimator.fit(x, y if labels is None else np.array([labels[each] for each in y]))


def saved(path: Path, estimator: Any) -> Path:
    skops.io.dump(estimator, path)
    return path


def images() -> torch.Tensor:
    return models.test_set().images[:200] / 255


def rows() -> np.ndarray:
    return images().flatten(1).double().numpy()


def refused(spec: str, said: str, **settings: Any) -> None:
    with pytest.raises(ClassifierError, match=said) as error:
        load_classifier(spec, settings)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def answers(classifier: Classifier) -> torch.Tensor:
    return torch.cat([classifier(part) for part in images().split(classifier.info.micro_batch)])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_file_answers_as_the_estimator_that_was_saved(tmp_path: Path, name: str) -> None:
    estimator = fitted(ESTIMATORS[name]())
    spec = f"sklearn:{saved(tmp_path / 'net.skops', estimator)}"
    if name in DOUBTED:
        refused(spec, rf"types that are not known to be harmless: .*{DOUBTED[name]}.*; .*give --trust-code")
    classifier = load_classifier(spec, image_shape="1x28x28", trust_code=name in DOUBTED)
    probable = hasattr(estimator, "predict_proba")
    assert classifier.info.kind == ("probabilities" if probable else "logits")
    assert classifier.info.class_names == tuple("0123456789")
    expected = estimator.predict_proba(rows()) if probable else estimator.decision_function(rows())
    scores = answers(classifier)
    assert (scores.shape, scores.dtype) == ((200, 10), torch.float32)
    assert torch.allclose(scores, torch.from_numpy(expected).float(), rtol=0, atol=1e-5)
    assert (scores.argmax(1).numpy() == estimator.predict(rows())).mean() > 0.99
    right = (scores.argmax(1) == models.test_set().labels[:200]).double().mean()
    assert right > 0.6
    moved = torch.arange(100).roll(1)
    assert torch.allclose(classifier(images()[:100][moved]), scores[:100][moved], rtol=0, atol=1e-6)


def test_classes_keep_their_names_and_come_sorted(tmp_path: Path) -> None:
    words = dict(enumerate("zero one two three four five six seven eight nine".split()))  # noqa: SIM905
    estimator = fitted(LogisticRegression(max_iter=10), words)
    classifier = load_classifier(f"sklearn:{saved(tmp_path / 'net.skops', estimator)}", image_shape="1x28x28")
    assert classifier.info.class_names == tuple(sorted(words.values()))
    named = [classifier.info.class_names[each] for each in answers(classifier).argmax(1)]
    assert named == estimator.predict(rows()).tolist()


def test_whole_numbers_are_sorted_as_text_and_keep_their_scores(tmp_path: Path) -> None:
    estimator = fitted(GaussianNB(var_smoothing=0.1), {each: 2 * each + 2 for each in range(10)})  # 2 to 20
    classifier = load_classifier(f"sklearn:{saved(tmp_path / 'net.skops', estimator)}", image_shape="1x28x28")
    assert classifier.info.class_names == tuple(sorted(map(str, range(2, 21, 2))))
    assert classifier.info.class_names[0] == "10"
    named = [classifier.info.class_names[each] for each in answers(classifier).argmax(1)]
    assert named == list(map(str, estimator.predict(rows())))


def test_numbers_from_0_are_indices_into_the_names_of_the_data(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.skops", fitted(GaussianNB(var_smoothing=0.1), only=(0, 1)))
    data = models.test_set()
    chosen = data.labels < 2
    cats = Dataset(data.images[chosen], data.labels[chosen], ("cat", "dog"), "pets", "00")
    assert load_classifier(f"sklearn:{path}", data=cats).info.class_names == ("cat", "dog")
    assert load_classifier(f"sklearn:{path}", data=data).info.class_names == ("0", "1")
    same = Dataset(data.images[chosen], data.labels[chosen], ("0", "1"), "digits", "00")
    assert load_classifier(f"sklearn:{path}", data=same).info.class_names == ("0", "1")


def test_more_than_ten_numbers_meet_folders_of_the_same_names() -> None:
    """Folders are sorted as text: 0, 1, 10, 11, 2, ..."""
    x, y = train_set()
    y = np.where((y < 2) & (np.arange(len(y)) % 2 == 0), y + 10, y)  # 0 to 11
    estimator = GaussianNB(var_smoothing=0.1).fit(x, y)
    names = tuple(sorted(map(str, range(12))))
    data = Dataset(models.test_set().images, models.test_set().labels, names, "folder", "00")
    classifier = adopt(estimator, "net", Settings(spec="x"), data)
    assert classifier.info.class_names == names
    named = [names[each] for each in answers(classifier).argmax(1)]
    assert named == list(map(str, estimator.predict(rows())))
    assert {"10", "2"} <= set(named)


def test_one_column_of_a_decision_is_the_second_class() -> None:
    for names, second in (({3: "three", 8: "eight"}, "three"), ({3: "a three", 8: "eight"}, "eight")):
        estimator = fitted(LinearSVC(random_state=0), names, only=(3, 8))
        assert estimator.decision_function(rows()).ndim == 1
        classifier = adopt(estimator, "net", Settings(spec="x", image_shape=(1, 28, 28)), None)
        assert (classifier.info.kind, classifier.info.class_names[1]) == ("logits", second)
        scores = answers(classifier)
        assert torch.equal(scores[:, 0], torch.zeros(200))
        assert torch.allclose(scores[:, 1].double(), torch.from_numpy(estimator.decision_function(rows())), atol=1e-5)
        assert [classifier.info.class_names[each] for each in scores.argmax(1)] == estimator.predict(rows()).tolist()


def test_images_of_another_size_are_refused_or_resized(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.skops", fitted(GaussianNB(var_smoothing=0.1)))
    refused(f"sklearn:{path}", r"does not say what images it takes")
    said = r"net takes 784 values an image, and images of 3x8x8 have 192: .*--with input_shape=1x28x28"
    refused(f"sklearn:{path}", said, image_shape="3x8x8")
    classifier = load_classifier(f"sklearn:{path}", image_shape="3x14x14", input_shape="1x28x28")
    assert classifier(torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))).shape == (2, 10)


def test_white_is_what_the_training_data_had(tmp_path: Path) -> None:
    x, y = train_set()
    estimator = GaussianNB(var_smoothing=0.1).fit(16 * x, y)
    path = saved(tmp_path / "net.skops", estimator)
    classifier = load_classifier(f"sklearn:{path}", image_shape="1x28x28", white=16)
    assert torch.allclose(
        answers(classifier), torch.from_numpy(estimator.predict_proba(16 * rows())).float(), atol=1e-5
    )


def test_sums_are_formed_in_one_order() -> None:
    forest = fitted(RandomForestClassifier(5, random_state=0, n_jobs=2))
    pipeline = fitted(make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0, n_jobs=-1)))
    for estimator in (forest, pipeline):
        adopt(estimator, "net", Settings(spec="x", image_shape=(1, 28, 28)), None)
    assert forest.n_jobs == pipeline.steps[-1][1].n_jobs == 1


# ---- what is refused


def touch(x: Any) -> Any:
    """What a file might name to have it run."""
    raise AssertionError("it ran")


def test_types_that_may_run_code_are_named(tmp_path: Path) -> None:
    estimator = make_pipeline(FunctionTransformer(), GaussianNB(var_smoothing=0.1))
    fitted(estimator)
    estimator.steps[0][1].func = touch
    path = saved(tmp_path / "net.skops", estimator)
    refused(f"sklearn:{path}", r"holds types that are not known to be harmless: .*test_sklearn\.touch")


PLANTED = """
from pathlib import Path
from sklearn.naive_bayes import GaussianNB
class Planted(GaussianNB):
    pass
Path({mark!r}).touch()
"""


def test_a_file_that_names_a_module_does_not_have_it_imported(tmp_path: Path, monkeypatch) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "planted.py").write_text(PLANTED.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    import planted

    path = saved(tmp_path / "net.skops", fitted(planted.Planted(var_smoothing=0.1)))
    monkeypatch.delitem(sys.modules, "planted")
    mark.unlink()
    refused(f"sklearn:{path}", r"not known to be harmless: planted\.Planted; .*give --trust-code")
    assert not mark.exists()
    assert "planted" not in sys.modules
    trusted = load_classifier(f"sklearn:{path}", image_shape="1x28x28", trust_code=True)
    assert mark.exists()  # it could have run
    assert trusted.info.kind == "probabilities"
    monkeypatch.delitem(sys.modules, "planted")


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (lambda: LogisticRegression(), r"has no list of classes; expected a classifier with one answer, fitted"),
        (lambda: fitted(LinearRegression()), r"is a LinearRegression; expected an estimator with predict_proba"),
        (lambda: IsolationForest(n_estimators=5, random_state=0).fit(train_set()[0]), "has no list of classes"),
        (
            lambda: fitted(SVC(decision_function_shape="ovo")),
            r"a score for each pair of classes; set decision_function",
        ),
        (
            lambda: MultiOutputClassifier(GaussianNB()).fit(train_set()[0], np.stack([train_set()[1]] * 2, 1)),
            "has no list of classes",
        ),
    ],
)
def test_what_is_no_fitted_classifier_is_refused(tmp_path: Path, estimator: Any, said: str) -> None:
    spec = f"sklearn:{saved(tmp_path / 'net.skops', estimator())}"
    refused(spec, said, image_shape="1x28x28", trust_code=True)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.skops", fitted(GaussianNB()))
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(f"sklearn:{path}", "net.skops cannot be loaded by skops")


# ---- estimators from Python


def test_an_estimator_of_a_python_name_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import test_sklearn\nfrom sklearn.naive_bayes import GaussianNB\n"
        "net = test_sklearn.fitted(GaussianNB(var_smoothing=0.1))\n"
    )
    file = load_classifier(saved(tmp_path / "net.skops", fitted(GaussianNB(var_smoothing=0.1))), image_shape="1x28x28")
    for prefix in ("", "python:"):
        name = load_classifier(f"{prefix}{tmp_path / 'mine.py'}:net", image_shape="1x28x28")
        assert torch.equal(answers(file), answers(name))
        assert name.info.name == "net"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fingerprint_is_of_what_an_estimator_learnt(name: str) -> None:
    def fingerprint(**more: Any) -> str:
        estimator = fitted(ESTIMATORS[name](), **more)
        if name == "search":  # it notes how long it took
            for key in [key for key in estimator.cv_results_ if "time" in key]:
                del estimator.cv_results_[key]
            estimator.refit_time_ = 0.0
        return adopt(estimator, "net", Settings(spec="x", image_shape=(1, 28, 28)), None).info.fingerprint

    first = fingerprint()
    assert fingerprint() == first
    swapped = {each: {3: 8, 8: 3}.get(each, each) for each in range(10)}
    assert fingerprint(labels=swapped) != first
