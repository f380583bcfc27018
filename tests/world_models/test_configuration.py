"""Configurations survive the way to JSON and back; what cannot be read is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from dexworld.world_models.configuration import added, from_json, to_json


@dataclass(frozen=True)
class Inner:
    width: int = 8
    shape: tuple[int, int] = (2, 3)


@dataclass(frozen=True)
class Other:
    depth: int = 1


@dataclass(frozen=True)
class Outer:
    rate: float
    kind: Literal["mlp", "vit"] = "mlp"
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    either: Inner | Other | None = None
    bounds: tuple[tuple[float, ...], ...] = ((0.0, 1.0), (2.0,))
    names: dict[str, int] | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"Outer(rate={self.rate}): must not be negative.")


CONFIG = Outer(
    rate=0.5,
    kind="vit",
    inner=Inner(4, (5, 6)),
    inners=(Inner(1), Inner(2)),
    either=Other(3),
    names={"b": 1, "a": 2},
    flag=True,
)


@pytest.mark.parametrize("config", [CONFIG, Outer(rate=1.0), replace(CONFIG, either=Inner(9))])
def test_there_and_back(config: Outer) -> None:
    text = json.dumps(to_json(config), allow_nan=False)
    assert from_json(Outer, json.loads(text)) == config


def test_a_whole_number_is_a_float_where_one_is_wanted() -> None:
    rate = from_json(Outer, {**to_json(CONFIG), "rate": 2}).rate
    assert rate == 2.0 and type(rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rat": 1}, r"config has an unknown key 'rat'. Did you mean 'rate'\? Valid: \['bounds'"),
        ({"inner": {"width": 1}}, r"config.inner lacks \['shape'\] of Inner"),
        ({"inner": 3}, "config.inner must be Inner, and is 3"),
        ({"inner": {"width": 1.5, "shape": [1, 2]}}, "config.inner.width must be int, and is 1.5"),
        ({"inner": {"width": True, "shape": [1, 2]}}, "config.inner.width must be int"),
        (
            {"inner": {"width": 1, "shape": [1]}},
            r"config.inner.shape must be tuple\[int, int\], and is \[1\]",
        ),
        ({"bounds": [[0.0], ["x"]]}, r"config.bounds\[1\]\[0\] must be float, and is 'x'"),
        ({"kind": "cnn"}, r"config.kind must be Literal\['mlp', 'vit'\], and is 'cnn'"),
        ({"names": {"a": "x"}}, "config.names.a must be int"),
        ({"either": {"wide": 1}}, "config.either has an unknown key 'wide'"),
        ({"rate": -1.0}, r"Outer\(rate=-1.0\): must not be negative"),
    ],
)
def test_what_cannot_be_read_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Outer, {**to_json(CONFIG), **change})


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"config lacks \['bounds', .*'rate'\] of Outer"):
        from_json(Outer, {})


@dataclass(frozen=True)
class Grown:
    width: int
    later: tuple[str, ...] = added(("a",))


def test_files_from_before_a_setting_was_added_have_its_default() -> None:
    assert from_json(Grown, {"width": 2}) == Grown(2, ("a",)) == Grown(2)
    assert from_json(Grown, to_json(Grown(2, ("b", "c")))) == Grown(2, ("b", "c"))
    with pytest.raises(ValueError, match=r"lacks \['width'\] of Grown"):
        from_json(Grown, {})


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\(object\) cannot be written to a configuration"):
        to_json({"what": object()})
