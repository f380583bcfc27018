"""Schemas made from the dataclasses that plan and cost.

So a setting has one name, one type, one default and one place.
"""

from __future__ import annotations

import functools
from dataclasses import field, fields, make_dataclass
from typing import Any, get_type_hints


def schema(built: type[Any], key: str | None = None) -> type[Any]:
    """Return a dataclass with the settings of `built`; Hydra cannot write into a frozen one.

    `key`, if given, is the default of the setting of that name. What is made of the same is the
    same class, which Hydra tells apart from its equals.
    """
    return _schema(built, key)  # type: ignore[arg-type]


@functools.cache
def _schema(built: type[Any], key: str | None) -> type[Any]:
    types = get_type_hints(built)
    defaults = {part.name: part.default for part in fields(built)}
    if key is not None:
        defaults["key"] = key
    settings = [(name, types[name], field(default=default)) for name, default in defaults.items()]
    made = make_dataclass(built.__name__, settings)
    made.builds = built  # type: ignore[attr-defined]
    return made


def build(settings: Any) -> Any:
    """Return what a schema describes; raise `ValueError` for settings that cannot be."""
    # YAML has lists where dataclasses have tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(settings).items()}
    return type(settings).builds(**values)
