"""Collection: seeded episodes from any number of workers, always the same and in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .episodes import Episode
from .workers import Workers


class Collector:
    """Hands groups of episodes to workers and takes the results back in order.

    A group is always made of the same episodes, wherever collection starts, and its rows are played
    side by side by one worker: so neither the number of workers nor an interruption changes what
    is collected. No more groups are under way than the workers have room for, which bounds the
    memory when episodes are made faster than they are written.

    Args:
        workers: who plays.
        group: episodes that are played side by side.

    Raises:
        ValueError: `group` is below 1.
    """

    def __init__(self, workers: Workers, group: int = 16) -> None:
        if group < 1:
            raise ValueError(f"group={group}: play at least one episode at a time.")
        self.workers, self.group = workers, group

    def collect(self, seeds: Sequence[int], done: int = 0) -> Iterator[Episode]:
        """Yield the episodes of the seeds in order, without the first `done`, which are there.

        Raises:
            RuntimeError: an episode failed or a worker ended; the message names the seeds.
        """
        known = done % self.group  # played again with the group that they are of
        waiting = 0
        for start in range(done - known, len(seeds), self.group):
            if waiting == self.workers.capacity:
                yield from self._result(known)
                waiting, known = waiting - 1, 0
            self.workers.submit(list(seeds[start : start + self.group]))
            waiting += 1
        for _ in range(waiting):
            yield from self._result(known)
            known = 0

    def _result(self, known: int) -> list[Episode]:
        return self.workers.result()[known:]
