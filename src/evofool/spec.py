"""Configuration: operators as values, and frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import SpecError, nearest

C = TypeVar("C")

# What the caller of an operator supplies; everything else is a parameter of the operator's own.
_SUPPLIED = {"rng", "parents"}
_FAMILIES = ("selection", "crossover", "mutation", "survival")


def _module(family: str) -> Any:
    package = __package__ or "evofool"
    return importlib.import_module(f"{package}.operators.{family}" if family in _FAMILIES else f"{package}.{family}")


def operator_names(family: str) -> list[str]:
    """The public functions of a family ("selection", "objectives", ...), found by reading its module.

    In the modules of objectives and criteria, those that judge what was `evaluated`; the others help them.
    """
    module = _module(family)
    return sorted(
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if family in _FAMILIES or "evaluated" in inspect.signature(value).parameters
    )


@functools.lru_cache(maxsize=256)
def _resolve(path: str) -> Callable[..., Any]:
    if ":" in path:
        module_name, _, attribute = path.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise SpecError(f"operator '{path}': {error}; expected importable.module:function") from None
        if not inspect.isfunction(found):
            raise SpecError(f"operator '{path}': found {type(found).__name__}; expected a function")
        return found
    family, _, name = path.partition(".")
    known = (*_FAMILIES, "objectives", "criteria")
    if family not in known:
        raise SpecError(f"operator '{path}': unknown family '{family}'{nearest(family, known)}")
    names = operator_names(family)
    if name not in names:
        raise SpecError(f"operator '{path}': no such {family} '{name}'{nearest(name, names)}")
    return getattr(_module(family), name)


@dataclass(frozen=True)
class Op:
    """An operator with its parameters: a value that compares, prints as it was written, and goes into JSON.

    Called, it calls the function with its own keywords added. Make one with `op`.
    """

    path: str
    keywords: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _resolve(self.path)(*args, **kwargs, **dict(self.keywords))

    def __repr__(self) -> str:
        return f"op({', '.join([repr(self.path), *(f'{key}={value!r}' for key, value in self.keywords)])})"


def op(path: str, /, **keywords: Any) -> Op:
    """An operator by name with some of its parameters set: `op("selection.tournament", size=20)`.

    Args:
        path: family.name, or importable.module:function for one of your own.
        **keywords: parameters of the operator itself (not its genomes, `rng` or `parents`).

    Raises:
        SpecError: there is no such operator, or it has no such parameter, or one that it needs is missing.
    """
    own = {
        name: parameter
        for name, parameter in inspect.signature(_resolve(path)).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in _SUPPLIED
    }
    for name in keywords:
        if name not in own:
            raise SpecError(f"operator '{path}' has no parameter '{name}'{nearest(name, own)}")
    missing = [name for name, parameter in own.items() if parameter.default is parameter.empty and name not in keywords]
    if missing:
        raise SpecError(f"operator '{path}' needs {', '.join(missing)}, as in op('{path}', {missing[0]}=...)")
    return Op(path, tuple(sorted(keywords.items())))


def to_json(value: Any) -> Any:
    """A configuration as JSON values; operators become {"op": path, ...}."""
    if isinstance(value, Op):
        return {"op": value.path, **{key: to_json(item) for key, item in value.keywords}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def _operator(value: Any) -> Op:
    if isinstance(value, Op):
        return value
    if isinstance(value, str):
        return op(value)
    if isinstance(value, Mapping) and isinstance(value.get("op"), str):
        return op(value["op"], **{key: item for key, item in value.items() if key != "op"})
    raise SpecError(f"expected an operator such as op('selection.tournament', size=20), found {value!r}")


@functools.lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


@functools.lru_cache(maxsize=256)
def _adapter(kind: Any, name: str) -> Any:
    import pydantic

    return pydantic.TypeAdapter(_hints(kind)[name])


def checked_value(kind: Any, name: str, value: Any) -> Any:
    """A value of a field of a dataclass, or of an argument of a function, as its annotation has it.

    Raises:
        SpecError: it has the wrong type or lies outside its range; names the field, the value and the rule.
    """
    if _hints(kind)[name] is Op:
        return _operator(value)
    import pydantic

    try:
        return _adapter(kind, name).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SpecError(f"{name} = {value!r}: {reason[0].lower()}{reason[1:]}") from None


def check(config: Any) -> None:
    """Check every field of a frozen dataclass against its annotation; call it in `__post_init__`.

    Raises:
        SpecError: a value has the wrong type or lies outside its range; names the field, the value and the rule.
    """
    for field in dataclasses.fields(config):
        checked = checked_value(type(config), field.name, getattr(config, field.name))
        object.__setattr__(config, field.name, checked)


def replace(config: C, **settings: Any) -> C:
    """The same configuration with some fields changed. Values may be strings, as from a command line.

    Raises:
        SpecError: an unknown key (names the nearest known one) or a bad value.
    """
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise SpecError(f"unknown setting '{name}'{nearest(name, known)}")
    return dataclasses.replace(config, **settings)  # type: ignore[type-var]


def from_json(kind: type[C], settings: Mapping[str, Any]) -> C:
    """The inverse of `to_json` for one configuration class; strict like `replace`."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise SpecError(f"unknown setting '{name}'{nearest(name, known)}")
    needed = {
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(needed - set(settings))
    if missing:
        raise SpecError(f"{kind.__name__} needs {', '.join(missing)}; expected a value for each")
    return kind(**settings)
