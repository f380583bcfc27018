import numpy as np
import pytest

from dexworld.envs.counter import fixtures
from dexworld.envs.counter.fixtures import Basin
from dexworld.envs.counter.layouts import DEPTH, FAR, FRONT, LAYOUTS, furnish
from dexworld.envs.counter.staging import _COUNTER, PLACES
from dexworld.envs.counter.styles import FIXED, ROLES
from dexworld.envs.rotations import turned

KITCHENS = {name: furnish(layout) for name, layout in LAYOUTS.items()}


def half_extent(part) -> np.ndarray:
    """Half the sides of the upright box around a part."""
    radius, half, _ = part.size
    local = np.array(part.size)
    if part.shape in (fixtures.CYLINDER, fixtures.CAPSULE):
        local = np.array((radius, radius, half + radius * (part.shape == fixtures.CAPSULE)))
    axes = turned(np.array(part.turn), np.diag(local))
    return np.abs(axes).sum(axis=0)


def test_there_are_at_least_five():
    assert len(LAYOUTS) >= 5


def test_all_have_the_same_parts_at_different_places():
    shapes = {
        tuple((f.name, p.shape, p.role, p.solid) for f in kitchen for p in f.parts)
        for kitchen in KITCHENS.values()
    }
    assert len(shapes) == 1
    places = {tuple(f.position for f in kitchen) for kitchen in KITCHENS.values()}
    assert len(places) == len(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_part_is_made_of_something_and_has_a_size(name):
    for fixture in KITCHENS[name]:
        for part in fixture.parts:
            assert part.role in (*ROLES, *FIXED)
            assert part.size[0] > 0 and min(part.size) >= 0
            assert np.linalg.norm(part.turn) == pytest.approx(1.0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_where_things_stand_the_counter_is_free(name):
    """Nothing reaches above the counter top where targets and distractors may be."""
    (x0, x1), (y0, y1) = (
        (min(a[0], b[0]) - 0.075, max(a[1], b[1]) + 0.075)
        for a, b in zip(PLACES, _COUNTER, strict=True)
    )
    for fixture in KITCHENS[name]:
        if fixture.position == FAR or fixture.turn:
            continue
        for part in fixture.parts:
            centre = np.add(fixture.position, part.position)
            reach = half_extent(part)
            low, high = centre - reach, centre + reach
            over = low[0] < x1 and high[0] > x0 and low[1] < y1 and high[1] > y0
            in_the_way = over and high[2] > 1e-3 and low[2] < 0.3
            assert not in_the_way, (fixture.name, part)


@pytest.mark.parametrize("name", LAYOUTS)
def test_things_stand_on_one_slab(name):
    """Edges between slabs would catch what slides over them."""
    layout = LAYOUTS[name]
    counter = next(f for f in KITCHENS[name] if f.name == "counter")
    assert counter.position == (FRONT, layout.start, 0.0)
    slabs = [p for p in counter.parts if p.role == "counter"]
    (y0, y1) = _COUNTER[1]
    holding = [
        p
        for p in slabs
        if counter.position[1] + p.position[1] - p.size[1] < y0
        and counter.position[1] + p.position[1] + p.size[1] > y1
    ]
    assert len(holding) == 1 and holding[0].size[0] > DEPTH / 2


def test_a_basin_is_a_hole():
    basin = Basin((0.16, 0.58), (1.0, 1.4))
    for parts, closed in (
        (fixtures.counter(3.0, 0.8, 4), True),
        (fixtures.counter(3.0, 0.8, 4, basin), False),
    ):
        inside = [
            p
            for p in parts
            if p.role == "counter"
            and abs(0.37 - p.position[0]) < p.size[0]
            and abs(1.2 - p.position[1]) < p.size[1]
        ]
        assert bool(inside) is closed
