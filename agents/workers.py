"""Who plays groups of episodes: this process, other processes, or Ray actors on many machines."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

from .episodes import Episode, EpisodeRunner

Setup = Callable[[], EpisodeRunner]
"""Makes what a worker plays with, in the worker; pickled to get there."""

AHEAD = 2  # groups that a worker has: one to play, one to go on with


Answer = tuple[list[Episode], str]
"""Episodes, and what went wrong: empty where nothing did."""


@runtime_checkable
class Workers(Protocol):
    """Play groups of episodes and give the results back in the order of the groups."""

    @property
    def capacity(self) -> int:
        """Groups that may be submitted beyond those whose result was taken."""
        ...

    def submit(self, seeds: Sequence[int]) -> None:
        """Have the episodes of the seeds played."""
        ...

    def result(self) -> list[Episode]:
        """Return the episodes of the oldest group; raise `RuntimeError` if they failed."""
        ...

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        ...


class InProcess:
    """Plays in this process, when the result is asked for."""

    capacity = 1

    def __init__(self, setup: Setup) -> None:
        self._runner = setup()
        self._groups: deque[Sequence[int]] = deque()

    def submit(self, seeds: Sequence[int]) -> None:
        """Remember the group."""
        self._groups.append(seeds)

    def result(self) -> list[Episode]:
        """Play the oldest group."""
        return self._runner.run(self._groups.popleft())

    def close(self) -> None:
        """Close the environments."""
        self._runner.close()


class Processes:
    """Plays in processes of this machine, to which groups are dealt in turn.

    Raises:
        ValueError: there is to be no process.
    """

    def __init__(self, setup: Setup, count: int) -> None:
        if count < 1:
            raise ValueError(f"workers={count}: start at least one process.")
        context = multiprocessing.get_context("forkserver")
        # What the setup imports is imported once, in the server that all processes are forked from.
        context.set_forkserver_preload(["__main__", __name__, type(setup).__module__])
        self.capacity = AHEAD * count
        self._groups: deque[tuple[int, Sequence[int]]] = deque()
        self._next = 0
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for number in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(there, setup), name=f"collector {number}", daemon=True
            )
            process.start()
            there.close()  # else the end of the process would not be the end of the pipe
            self._pipes.append(here)
            self._processes.append(process)

    def submit(self, seeds: Sequence[int]) -> None:
        """Send the group to the process whose turn it is."""
        self._groups.append((self._next, seeds))
        with contextlib.suppress(BrokenPipeError):  # `result` tells of a process that has ended
            self._pipes[self._next].send(list(seeds))
        self._next = (self._next + 1) % len(self._pipes)

    def result(self) -> list[Episode]:
        """Wait for the oldest group."""
        number, seeds = self._groups.popleft()
        try:
            answer: Answer = self._pipes[number].recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[number]
            process.join()
            raise RuntimeError(_ended(seeds, f"exit status {process.exitcode}")) from None
        return _checked(answer)

    def close(self) -> None:
        """Terminate the processes."""
        for process in self._processes:
            process.terminate()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join()
            pipe.close()


def _serve(pipe: Connection, setup: Setup) -> None:
    """Play groups until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        runner: EpisodeRunner | None = None
        while True:
            seeds = pipe.recv()
            try:
                runner = runner or setup()
                answer: Answer = runner.run(seeds), ""
            except Exception as error:  # noqa: BLE001 - the main process raises it
                answer = [], str(error) or repr(error)
            pipe.send(answer)


class RayActors:
    """Plays in Ray actors, on this machine or on those of a cluster, dealt to in turn.

    Args:
        setup: what an actor plays with; the package must be installed where actors run.
        count: actors, one core each.
        address: of a running cluster; on this machine where None.

    Raises:
        ImportError: Ray is not installed.
        ValueError: there is to be no actor.
    """

    def __init__(self, setup: Setup, count: int, address: str | None = None) -> None:
        if count < 1:
            raise ValueError(f"workers={count}: start at least one Ray actor.")
        try:
            import ray
        except ImportError as error:
            raise ImportError(
                "backend=ray needs Ray: pip install 'dexworld[ray]', or choose backend=processes."
            ) from error
        self._ray: Any = ray
        self._connected = not ray.is_initialized()
        if self._connected:
            place: dict[str, Any] = {"address": address} if address else {"num_cpus": count}
            if not address:
                place["include_dashboard"] = False
            ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
        self.capacity = AHEAD * count
        actor: Any = ray.remote(num_cpus=1)(_Player)
        self._actors = [actor.remote(setup) for _ in range(count)]
        self._groups: deque[tuple[Any, Sequence[int]]] = deque()
        self._next = 0

    def submit(self, seeds: Sequence[int]) -> None:
        """Send the group to the actor whose turn it is."""
        future = self._actors[self._next].play.remote(list(seeds))
        self._groups.append((future, seeds))
        self._next = (self._next + 1) % len(self._actors)

    def result(self) -> list[Episode]:
        """Wait for the oldest group."""
        future, seeds = self._groups.popleft()
        try:
            answer: Answer = self._ray.get(future)
        except self._ray.exceptions.RayError as error:
            raise RuntimeError(_ended(seeds, f"{type(error).__name__}: {error}")) from None
        return _checked(answer)

    def close(self) -> None:
        """End the actors, and Ray if it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._connected:
            self._ray.shutdown()


class _Player:
    """The Ray actor."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._runner: EpisodeRunner | None = None

    def play(self, seeds: list[int]) -> Answer:
        """Return the episodes, or what went wrong."""
        try:
            self._runner = self._runner or self._setup()
            return self._runner.run(seeds), ""
        except Exception as error:  # noqa: BLE001 - the main process raises it
            return [], str(error) or repr(error)


def _checked(answer: Answer) -> list[Episode]:
    episodes, problem = answer
    if problem:
        raise RuntimeError(problem)
    return episodes


def _ended(seeds: Sequence[int], how: str) -> str:
    return (
        f"the worker that played the episodes of the seeds {list(seeds)} ended ({how}). Was the "
        "memory enough for so many workers?"
    )
