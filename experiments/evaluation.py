"""Evaluates any agent on paired, seeded episodes, several of them at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch

from dexworld.agents.base import Agent
from dexworld.agents.planning import PlanningState
from dexworld.experiments.statistics import percentiles, wilson_interval
from dexworld.planners.base import Plan
from dexworld.world_models.base import State, take

EnvMaker = Callable[[], gym.Env[Any, Any]]


@dataclass
class EpisodeResult:
    """What came of one episode."""

    seed: int
    success: bool | None = None
    """Success at any time within the budget; None where the environment tells of none."""
    success_at_end: bool | None = None
    """Success when it was last told of: at the last step."""
    steps_to_success: int | None = None
    steps: int = 0
    episode_return: float = 0.0
    max_reward: float = -np.inf
    plan_seconds: list[float] = field(default_factory=list)
    """Wall time of each plan; plans made in one call share its time equally."""
    plan_cpu_seconds: list[float] = field(default_factory=list)
    """Time that all cores together worked on each plan: the same on a machine that is busy."""
    model_evaluations: int = 0
    """Candidates rolled out for this episode."""
    non_finite: int = 0
    """Candidates whose cost was not finite."""
    lift: bool | None = None
    """Whether what is in the hand at the end can be lifted; None where nothing tells."""


@runtime_checkable
class Observer(Protocol):
    """Watches episodes: films them, measures them."""

    def begin(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """An episode was reset."""
        ...

    def planned(self, seed: int, belief: State, goal: State, plan: Plan, row: int) -> None:
        """Row `row` of `plan` was made from `belief` towards `goal`, which have one row."""
        ...

    def stepped(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """An action was executed."""
        ...

    def end(self, result: EpisodeResult) -> None:
        """The episode is over."""
        ...


def run_episodes(
    agent: Agent,
    make_env: EnvMaker,
    seeds: Sequence[int],
    parallel: int = 1,
    observers: Sequence[Observer] = (),
) -> Iterator[EpisodeResult]:
    """Yield the result of every episode at its end; what it is depends on its seed alone.

    Of episodes that are stepped side by side, the shorter ones come first.

    Args:
        agent: who acts.
        make_env: makes an environment whose observations hold what the agent observes.
        seeds: one for each episode; it seeds the environment and the agent.
        parallel: episodes that are stepped side by side, so that the agent plans for all at once.
        observers: who watches.

    Raises:
        ValueError: `parallel` is below 1.
        KeyError: the environment does not observe what the agent needs.
    """
    if parallel < 1:
        raise ValueError(f"parallel={parallel}: run at least one episode at a time.")
    envs = [make_env() for _ in range(min(parallel, len(seeds)))]
    try:
        for start in range(0, len(seeds), parallel):
            wave = list(seeds[start : start + parallel])
            yield from _run_wave(agent, envs[: len(wave)], wave, observers)
    finally:
        for env in envs:
            env.close()


def _run_wave(
    agent: Agent,
    envs: list[gym.Env[Any, Any]],
    seeds: list[int],
    observers: Sequence[Observer],
) -> Iterator[EpisodeResult]:
    results = [EpisodeResult(seed) for seed in seeds]
    observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    for observer in observers:
        for env, seed in zip(envs, seeds, strict=True):
            observer.begin(seed, env)
    state = agent.start(seeds)
    active = np.arange(len(envs))
    while len(active):
        stacked = {key: np.stack([each[key] for each in observations]) for key in observations[0]}
        before = time.perf_counter(), time.process_time()
        actions, state = agent.predict(stacked, state)
        _record_plans(state, [results[row] for row in active], observers, before)
        going = []
        for position, row in enumerate(active):
            env, result = envs[row], results[row]
            observation, reward, terminated, truncated, info = env.step(actions[position])
            _record_step(result, float(reward), info)
            for observer in observers:
                observer.stepped(result.seed, env)
            observations[position] = observation
            if not (terminated or truncated):
                going.append(position)
        for position in sorted(set(range(len(active))) - set(going)):
            row = active[position]
            results[row].lift = _lift(envs[row])
            for observer in observers:
                observer.end(results[row])
            yield results[row]
        if len(going) < len(active):
            kept = np.asarray(going, np.intp)
            active, state = active[kept], agent.take(state, kept)
            observations = [observations[position] for position in going]


def _record_step(result: EpisodeResult, reward: float, info: dict[str, Any]) -> None:
    result.steps += 1
    result.episode_return += reward
    result.max_reward = max(result.max_reward, reward)
    if "is_success" not in info:
        return
    result.success_at_end = bool(info["is_success"])
    if result.success_at_end and not result.success:
        result.steps_to_success = result.steps
    result.success = result.success or result.success_at_end


def _lift(env: gym.Env[Any, Any]) -> bool | None:
    """Return whether what the environment shows holds in a lift, where it can try."""
    attempt = getattr(env.unwrapped, "lift", None)
    return None if attempt is None else bool(attempt().holds)


def _record_plans(
    state: Any,
    results: list[EpisodeResult],
    observers: Sequence[Observer],
    before: tuple[float, float],
) -> None:
    fresh = state.fresh if isinstance(state, PlanningState) else ()
    if not fresh:
        return
    # The whole of `predict` is what a robot waits for: encoding, the search, the bookkeeping.
    plans = sum(len(made.rows) for made in fresh)
    seconds, cpu_seconds = (
        (now - then) / plans
        for now, then in zip((time.perf_counter(), time.process_time()), before, strict=True)
    )
    for made in fresh:
        for index, row in enumerate(made.rows):
            result = results[row]
            result.plan_seconds.append(seconds)
            result.plan_cpu_seconds.append(cpu_seconds)
            result.model_evaluations += made.plan.search.evaluations
            result.non_finite += int(made.plan.search.non_finite[index])
            for observer in observers:
                belief, goal = (
                    take(part, torch.tensor([index])) for part in (made.belief, made.goal)
                )
                observer.planned(result.seed, belief, goal, made.plan, index)


def summarise(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the figures of a table row, the same in whatever order the episodes ended.

    An environment that tells of no success has a success rate of zero.

    Raises:
        ValueError: there are no results.
    """
    if not results:
        raise ValueError("there are no episodes to summarise.")
    episodes = len(results)
    successes = sum(bool(result.success) for result in results)
    at_end = sum(bool(result.success_at_end) for result in results)
    reached = [r.steps_to_success for r in results if r.steps_to_success is not None]
    lifted = [r.lift for r in results if r.lift is not None]
    lift: dict[str, Any] = {}
    if lifted:
        lift["lift_rate"] = sum(lifted) / len(lifted)
        lift["lift_interval"] = list(wilson_interval(sum(lifted), len(lifted)))
    return {
        "episodes": episodes,
        "success_rate": successes / episodes,
        "success_interval": list(wilson_interval(successes, episodes)),
        "success_rate_at_end": at_end / episodes,
        "success_interval_at_end": list(wilson_interval(at_end, episodes)),
        **lift,
        "mean_steps_to_success": fmean(reached) if reached else None,
        "mean_max_reward": fmean(r.max_reward for r in results),
        "mean_return": fmean(r.episode_return for r in results),
        "plan_latency_s": percentiles([s for r in results for s in r.plan_seconds]),
        "plan_cpu_s": percentiles([s for r in results for s in r.plan_cpu_seconds]),
        "plans": sum(len(r.plan_seconds) for r in results),
        "model_evaluations": sum(r.model_evaluations for r in results),
        "non_finite_candidates": sum(r.non_finite for r in results),
    }
