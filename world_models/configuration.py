"""Frozen dataclasses to JSON and back: nested ones, tuples, optional values, literals."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")
_ADDED = "added"


def added(default: Any) -> Any:
    """Return the field of a setting that older files lack: reading them, it has its default."""
    return dataclasses.field(default=default, metadata={_ADDED: True})


def to_json(value: Any) -> Any:
    """Return a configuration as mappings, lists and scalars.

    Raises:
        TypeError: It holds something that JSON cannot.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: to_json(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be written to a configuration.")


def from_json(kind: type[Config], value: Any, name: str = "config") -> Config:
    """Return the dataclass that `to_json` made `value` of.

    Args:
        kind: Its class.
        value: What was read from JSON.
        name: What messages call it.

    Raises:
        ValueError: A key is unknown or missing, or a value has another type.
    """
    made: Config = _decode(kind, value, name)
    return made


def _decode(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, name)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, name)
    if origin is Literal:
        return _require(value in arguments, kind, value, name)
    if origin is tuple and isinstance(value, list):
        if arguments[-1:] == (...,):
            arguments = arguments[:1] * len(value)
        _require(len(arguments) == len(value), kind, value, name)
        pairs = zip(arguments, value, strict=True)
        return tuple(_decode(each, v, f"{name}[{i}]") for i, (each, v) in enumerate(pairs))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _decode(arguments[1], v, f"{name}.{key}") for key, v in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    # bool is an int to Python, and not to a configuration.
    return _require(kind is Any or type(value) is kind, kind, value, name)


def _decode_dataclass(kind: Any, value: Any, name: str) -> Any:
    _require(isinstance(value, dict), kind, value, name)
    hints = get_type_hints(kind)
    valid = [part.name for part in dataclasses.fields(kind)]
    for key in value:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{name} has an unknown key {key!r}. {hint}Valid: {sorted(valid)}.")
    later = {part.name for part in dataclasses.fields(kind) if part.metadata.get(_ADDED)}
    missing = sorted(set(valid) - set(value) - later)
    if missing:
        raise ValueError(f"{name} lacks {missing} of {kind.__name__}.")
    return kind(**{key: _decode(hints[key], each, f"{name}.{key}") for key, each in value.items()})


def _decode_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        try:
            return _decode(kind, value, name)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(errors[0])


def _require(holds: bool, kind: Any, value: Any, name: str) -> Any:
    if not holds:
        plain = isinstance(kind, type) and not get_args(kind)
        wanted = kind.__name__ if plain else str(kind).removeprefix("typing.")
        raise ValueError(f"{name} must be {wanted}, and is {value!r}.")
    return value
