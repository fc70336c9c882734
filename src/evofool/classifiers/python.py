"""pkg.mod:attr or file.py:attr: a module, a factory, or any callable on arrays of images, written in Python."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError, nearest
from ..rng import untouched
from .support.local import LocalClassifier, Native, describe, digest, source_digest
from .support.settings import Settings

if TYPE_CHECKING:
    from ..shapes import Tensor

FORM = re.compile(r"^(?P<where>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<attr>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$")


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load what a Python name stands for.

    A class or a function without required arguments is called first: it is a factory. What it stands for then is one of
    ours already, a PyTorch module, a Keras model, an estimator, or a callable on images [N C H W] in [0, 1] (a
    float32 tensor; an array with `arrays = "numpy"`) and gives scores [N K], or whole numbers [N], the labels.

    Raises:
        ClassifierError: there is no such name, or it is nothing of these.
    """
    thing = resolve(spec)
    where = origin(thing)
    if inspect.isclass(thing) or _takes_nothing(thing):
        thing = made(thing, spec)
    return adopt(thing, spec.rpartition(":")[2], where, settings, data)


def origin(thing: Any) -> str:
    """A hash of the code that something comes from."""
    return source_digest(thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing))


def adopt(thing: Any, name: str, origin: str, settings: Settings, data: Dataset | None) -> Classifier:
    """Whatever can classify, behind the contract; `origin` is a hash of where it comes from."""
    from torch import nn

    from .torch import state_digest, take_over

    keras_model: Any = getattr(sys.modules.get("keras"), "Model", ())
    if isinstance(thing, keras_model):  # which on PyTorch is a module as well
        from .keras import adopt as adopt_keras

        return adopt_keras(thing, name, digest(origin, state_digest(thing)), settings, data)
    if isinstance(thing, nn.Module):
        return take_over(thing, Native(name, digest(origin, state_digest(thing))), settings, data)
    if isinstance(thing, Classifier):
        return thing
    if hasattr(thing, "predict_proba") or hasattr(thing, "decision_function"):
        from .sklearn import adopt as adopt_estimator

        return adopt_estimator(thing, name, settings, data)
    if not callable(thing):
        raise ClassifierError(
            f"{settings.spec} is a {type(thing).__name__}; expected a module, a factory, an estimator, or a function "
            f"of images"
        )
    run = _on_arrays(thing) if settings.arrays == "numpy" else thing
    info, prepare, order = describe(Native(name, origin), run, settings, data)
    # What a function of somebody's does beside answering, nobody knows.
    return LocalClassifier(info, run, prepare=prepare, order=order, steady=False)


def resolve(spec: str) -> Any:
    """The object of a name; importing it runs the code of its file.

    Raises:
        ClassifierError: there is none.
    """
    found = FORM.match(spec)
    if not found:
        raise ClassifierError(f"{spec}: expected package.module:name or file.py:name")
    where, attribute = found["where"], found["attr"]
    module = _file(Path(where).expanduser()) if where.endswith(".py") else _module(where)
    thing: Any = module
    for part in attribute.split("."):
        if not hasattr(thing, part):
            known = [name for name in vars(thing) if not name.startswith("_")] if hasattr(thing, "__dict__") else []
            raise ClassifierError(f"{where} has no '{part}'{nearest(part, known)}")
        thing = getattr(thing, part)
    return thing


def _file(path: Path) -> Any:
    if not path.is_file():
        raise ClassifierError(f"{path}: there is no such file")
    name = f"evofool_user_{digest(str(path.absolute()))[:12]}"
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, path)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        sys.path.insert(0, str(path.absolute().parent))  # so that it finds its neighbours, as when it is run
        try:
            found.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            raise _broken(str(path), error) from error
        finally:
            sys.path.remove(str(path.absolute().parent))
    return sys.modules[name]


def _module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a module in the working directory is found, as by `python -m`
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> BaseException:
    if not isinstance(error, Exception):
        return error
    return ClassifierError(f"{name} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _takes_nothing(thing: Any) -> bool:
    """Whether it can only be called without arguments, or can and is no classifier itself."""
    if not callable(thing) or hasattr(thing, "predict_proba") or not inspect.isroutine(thing):
        return False
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in optional for p in parameters)


def made(thing: Any, spec: str) -> Any:
    """What a factory makes; the weights that it draws move no global generator.

    Raises:
        ClassifierError: it raised something, or needs arguments.
    """
    try:
        with untouched():
            return thing()
    except Exception as error:
        raise ClassifierError(
            f"{spec} cannot be made: {type(error).__name__}: {' '.join(str(error).split())[:200]}; expected a factory "
            f"that needs no arguments"
        ) from error


def _on_arrays(call: Callable[[Any], Any]) -> Callable[[Tensor], Any]:
    return lambda images: call(images.numpy())
