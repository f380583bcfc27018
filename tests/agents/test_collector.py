"""The same episodes in the same order, whoever plays them."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from dexworld.agents.collector import Collector
from dexworld.agents.episodes import Episode
from dexworld.agents.workers import InProcess, Processes, RayActors

SEEDS = list(range(100, 123))


def same(some: Sequence[Episode], others: Sequence[Episode]) -> bool:
    return len(some) == len(others) and all(
        one.seed == other.seed
        and all(np.array_equal(column, other.frames[key]) for key, column in one.frames.items())
        for one, other in zip(some, others, strict=True)
    )


def collected(workers: Any, group: int = 5, done: int = 0) -> list[Episode]:
    with closing(workers):
        return list(Collector(workers, group).collect(SEEDS, done))


def test_every_seed_once_and_in_order(toy: Any) -> None:
    episodes = collected(InProcess(toy.PlayPoint()))
    assert [episode.seed for episode in episodes] == SEEDS
    assert same(episodes, collected(InProcess(toy.PlayPoint()), group=1))
    assert same(episodes, collected(InProcess(toy.PlayPoint()), group=100))


@pytest.mark.parametrize("done", [1, 5, 7, 20, 22, 23, 40])
def test_what_is_there_is_not_given_again(toy: Any, done: int) -> None:
    expected = collected(InProcess(toy.PlayPoint()))[done:]
    assert same(collected(InProcess(toy.PlayPoint()), done=done), expected)


class Counting(InProcess):
    """Remembers the groups."""

    def __init__(self, setup: Any, capacity: int) -> None:
        super().__init__(setup)
        self.capacity = capacity
        self.waiting = self.most = 0
        self.groups: list[list[int]] = []

    def submit(self, seeds: Sequence[int]) -> None:
        self.groups.append(list(seeds))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        super().submit(seeds)

    def result(self) -> list[Episode]:
        self.waiting -= 1
        return super().result()


def test_no_more_groups_are_under_way_than_there_is_room_for(toy: Any) -> None:
    workers = Counting(toy.PlayPoint(), 3)
    collected(workers)
    assert workers.most == 3 and workers.waiting == 0


def test_groups_are_the_same_wherever_collection_starts(toy: Any) -> None:
    whole, rest = Counting(toy.PlayPoint(), 2), Counting(toy.PlayPoint(), 2)
    collected(whole)
    collected(rest, done=12)
    assert rest.groups == whole.groups[2:]
    with pytest.raises(ValueError, match="group=0: play at least one"):
        Collector(whole, 0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_processes_give_what_this_process_gives(toy: Any, count: int) -> None:
    assert same(collected(Processes(toy.PlayPoint(), count)), collected(InProcess(toy.PlayPoint())))
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"dies": 112}, r"112.* ended \(exit status -9\).*so many workers"),
        ({"fails": 112}, "episode of seed 112 failed: ZeroDivisionError: the point"),
    ],
)
def test_what_happens_to_a_worker_is_told_after_what_came_before(
    toy: Any, trouble: dict[str, int], told: str
) -> None:
    episodes = []
    with closing(Processes(toy.PlayPoint(**trouble), 2)) as workers:
        coming = Collector(workers, 5).collect(SEEDS)
        episodes = [next(coming) for _ in range(10)]
        with pytest.raises(RuntimeError, match=told):
            next(coming)
    assert same(episodes, collected(InProcess(toy.PlayPoint()))[:10])
    assert not multiprocessing.active_children()


def test_somebody_must_play(toy: Any) -> None:
    with pytest.raises(ValueError, match="workers=0: start at least one process"):
        Processes(toy.PlayPoint(), 0)
    with pytest.raises(ValueError, match="workers=0: start at least one Ray actor"):
        RayActors(toy.PlayPoint(), 0)


def test_without_ray(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'dexworld\[ray\]'"):
        RayActors(toy.PlayPoint(), 1)
