"""Receding-horizon control: plan, execute the beginning, look again, plan on from the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planners.base import Objective, Plan, Planner, WarmStart
from ..planners.receding_horizon import shift
from ..world_models.base import GOAL_PREFIX, ActionMap, Mapped, State, WorldModel, check_keys
from .base import Actions, BatchedObservation, restarted, rows_of
from .proposals import Proposer
from .sub_goals import SubGoals, listed


@dataclass(frozen=True)
class FreshPlan:
    """A plan that was made in the last call of `predict`."""

    rows: NDArray[np.intp]
    """Environments that it is for."""
    belief: State
    """What it starts from."""
    goal: State
    """What it heads for."""
    plan: Plan


@dataclass(frozen=True)
class PlanningState:
    """What a planning agent remembers, a row for every environment."""

    seeds: Tensor
    """Seed of the episode, `[B]`."""
    plans: Tensor
    """Plans made in the episode, `[B]`."""
    steps: Tensor
    """Actions taken in the episode, `[B]`."""
    cursor: Tensor
    """Actions taken from the queue, `[B]`."""
    sub_goal: Tensor
    """Which of the goals is headed for, `[B]`; 0 where there is one."""
    decided: Tensor
    """Decisions made since it was taken up, `[B]`."""
    queue: Tensor | None = None
    """Actions of the last plan that are to be executed, `[B, Q, A]`."""
    belief: State | None = None
    """The belief that the last plan started from."""
    goal: State | None = None
    """The goal that is headed for, encoded once an episode."""
    goals: State | None = None
    """All of them, `[B, G, ...]`, where there is a list."""
    decisions: Tensor | None = None
    """Decisions executed since `belief`, `[B, K, A]`."""
    warm_start: WarmStart | None = None
    """What is left of the last plan."""
    fresh: tuple[FreshPlan, ...] = field(default=(), compare=False)
    """Plans made in the last call of `predict`, for whoever watches."""

    def take(self, rows: Tensor) -> PlanningState:
        """Return the given rows."""
        taken: PlanningState = _map(lambda value: value[rows], self)
        return replace(taken, fresh=())

    def write(self, rows: Tensor, other: PlanningState) -> PlanningState:
        """Return this state with the given rows replaced by those of `other`."""

        def put(new: Tensor, old: Tensor | None) -> Tensor:
            if old is None:
                old = new.new_zeros((len(self.seeds), *new.shape[1:]))
            return old.index_copy(0, rows.to(old.device), new)

        written: PlanningState = _map(put, other, self)
        return replace(written, fresh=self.fresh + other.fresh)


class PlanningAgent:
    """Plans in a world model, and acts; stable-baselines3 can use it as a policy.

    The shortest path from observation to action is `predict`:
    encode, plan, queue the first `execute` decisions, and pop one action a step.

    Args:
        model: the dynamics to plan in.
        planner: the search.
        objective: the cost of a predicted motion.
        action_map: what a decision means in actions; a decision is an action where None.
        execute: decisions carried out before planning again.
        episode_steps: actions in an episode, where plans shall not look beyond its end.
        proposer: says where every search starts from (a reference motion, what a policy would do);
            from what is left of the last plan where None.
        keep_std: whether what is left of a plan includes the spread that its search ended with.
        sub_goals: when to move on, where the observed goal is a list of goals: where each
            `goal_<key>` has a dimension more than `<key>`, `[B, G, ...]`.
        budget_s: time for a plan, in seconds.
        seed: base of the random streams where `predict` is called without a state.

    Raises:
        KeyError: the objective reads what the model does not predict.
        ValueError: `execute` is not between 1 and the planner's horizon.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        objective: Objective,
        *,
        action_map: ActionMap | None = None,
        execute: int = 1,
        episode_steps: int | None = None,
        proposer: Proposer | None = None,
        keep_std: bool = False,
        sub_goals: SubGoals | None = None,
        budget_s: float | None = None,
        seed: int = 0,
    ) -> None:
        check_keys(objective.reads, model, type(objective).__name__)
        if not 1 <= execute <= planner.horizon:
            raise ValueError(
                f"execute={execute} decisions of a plan of horizon {planner.horizon}: "
                f"choose between 1 and {planner.horizon}."
            )
        self.base_model = model
        self.model = model if action_map is None else Mapped(model, action_map)
        self.action_map = action_map
        self.planner = planner
        self.objective = objective
        self.execute = execute
        self.episode_steps = episode_steps
        self.proposer = proposer
        self.keep_std = keep_std
        self.sub_goals = sub_goals
        self.budget_s = budget_s
        self.seed = seed

    @property
    def observes(self) -> frozenset[str]:
        """What the model observes, and the goal of the same keys."""
        return self.model.observes | {GOAL_PREFIX + key for key in self.model.observes}

    def start(self, seeds: Sequence[int]) -> PlanningState:
        """Return the state in which episodes begin."""
        zeros = torch.zeros(len(seeds), dtype=torch.int64)
        first = torch.tensor(seeds, dtype=torch.int64)
        return PlanningState(first, zeros, zeros, zeros, zeros, zeros)

    def take(self, state: PlanningState, rows: NDArray[np.intp]) -> PlanningState:
        """Return the given rows."""
        return state.take(torch.from_numpy(rows))

    def predict(
        self,
        observation: BatchedObservation,
        state: PlanningState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, PlanningState]:
        """Return the next action `(B, A)` of every environment, planning where none is queued.

        Raises:
            KeyError: the observation lacks what the model observes, or the goal that the
                objective compares with.
            ValueError: the state is that of another number of environments, or there is a list of
                goals and nothing says when to move on.
        """
        rows = rows_of(observation)
        started = torch.from_numpy(restarted(state, episode_start, rows))
        if state is None:
            state = self.start([self.seed + row for row in range(rows)])
        if len(state.seeds) != rows:
            raise ValueError(
                f"an observation of {rows} environments, but the agent's state is of "
                f"{len(state.seeds)}; use take() where some of them have ended."
            )
        restarts = started & (state.steps > 0)
        started = started | (state.steps == 0)
        state = replace(
            state,
            seeds=state.seeds + rows * restarts,
            steps=state.steps.where(~started, 0),
            plans=state.plans.where(~started, 0),
            fresh=(),
        )
        state = self._replan(observation, state, started)
        assert state.queue is not None
        actions = state.queue[torch.arange(rows), state.cursor]
        moved = replace(state, cursor=state.cursor + 1, steps=state.steps + 1)
        return actions.cpu().numpy().astype(np.float32), moved

    @property
    def _queued(self) -> int:
        """Actions executed of every plan."""
        return self.execute * (1 if self.action_map is None else self.action_map.steps)

    def _horizons(self, steps: Tensor) -> Tensor:
        """Return how many decisions to look ahead after so many steps of an episode."""
        if self.episode_steps is None:
            return torch.full_like(steps, self.planner.horizon)
        per_decision = self._queued // self.execute
        left = (self.episode_steps - steps + per_decision - 1) // per_decision
        return left.clamp(1, self.planner.horizon)

    def _replan(
        self, observation: BatchedObservation, state: PlanningState, started: Tensor
    ) -> PlanningState:
        """Plan where the queue is empty: at once for rows that look equally far ahead."""
        empty = started | (state.cursor >= self._queued)
        horizons = self._horizons(state.steps)
        for horizon in sorted(set(horizons[empty].tolist())):
            for first in (True, False):
                rows = (empty & (horizons == horizon) & (started == first)).nonzero().flatten()
                if len(rows):
                    observed = {key: observation[key][rows.numpy()] for key in observation}
                    planned = self._plan(observed, state.take(rows), first, horizon)
                    fresh = tuple(replace(plan, rows=rows.numpy()) for plan in planned.fresh)
                    state = state.write(rows, replace(planned, fresh=fresh))
        return state

    def _plan(
        self, observation: BatchedObservation, state: PlanningState, first: bool, horizon: int
    ) -> PlanningState:
        """Encode, plan, and queue the beginning of the plan, for all rows at once."""
        if first:
            belief = self.model.encode(observation)
            state, warm_start = self._set_out(observation, state), None
        else:
            belief = self.model.encode(observation, state.belief, state.decisions)
            state, warm_start = self._moved_on(state, belief), state.warm_start
        goal = state.goal
        assert goal is not None
        seeds = _plan_seeds(state.seeds, state.plans)
        try:
            if self.proposer is not None:
                warm_start = self.proposer.propose(
                    belief, goal, warm_start, horizon=horizon, seeds=seeds
                )
            plan = self.planner.plan(
                self.model,
                self.objective,
                belief,
                goal,
                horizon=horizon,
                warm_start=warm_start,
                seeds=seeds,
                budget_s=self.budget_s,
            )
        except KeyError as error:
            if goal:
                raise
            raise KeyError(f"{self._without_goal(observation)} ({error.args[0]})") from error
        if self.proposer is not None:
            plan = _counted(plan, self.proposer.evaluations)
        executed = _first(plan.actions, self.execute)
        queue = executed if self.action_map is None else self.action_map.to_env(executed, belief)
        return replace(
            state,
            plans=state.plans + 1,
            cursor=torch.zeros_like(state.cursor),
            queue=queue,
            belief=belief,
            goal=goal,
            decided=state.decided + self.execute,
            warm_start=shift(
                plan,
                min(self.execute, horizon),
                self.planner.horizon,
                keep_std=self.keep_std,
            ),
            decisions=executed,
            fresh=(FreshPlan(np.arange(len(state.seeds)), belief, goal, plan),),
        )

    def _set_out(self, observation: BatchedObservation, state: PlanningState) -> PlanningState:
        """Encode the goal; empty where none is observed, which objectives may not need."""
        goal = {
            key: observation[GOAL_PREFIX + key]
            for key in self.model.observes
            if GOAL_PREFIX + key in observation
        }
        if goal and set(goal) != self.model.observes:
            raise KeyError(self._without_goal(observation))
        zeros, count = torch.zeros_like(state.steps), listed(goal, observation)
        state = replace(state, sub_goal=zeros, decided=zeros, goals=None)
        if count is None:
            return replace(state, goal=self.model.encode(goal) if goal else {})
        if self.sub_goals is None:
            raise ValueError(
                f"the goal is a list of {count}, and nothing says when to move on to the next: give "
                "PlanningAgent sub_goals=SubGoals(...) (agent.sub_goals.decisions=3, for instance)."
            )
        rows = {key: value.reshape(-1, *value.shape[2:]) for key, value in goal.items()}
        goals = _map(lambda each: each.unflatten(0, (-1, count)), self.model.encode(rows))
        return replace(state, goals=goals, goal=_map(lambda each: each[:, 0], goals))

    def _moved_on(self, state: PlanningState, belief: State) -> PlanningState:
        """Head for the next goal, where there is a list and the rule says so."""
        if state.goals is None or self.sub_goals is None:
            return state
        assert state.goal is not None and state.decisions is not None
        count = next(iter(state.goals.values())).shape[1]
        moves = self.sub_goals.passed(
            self.objective, belief, state.goal, state.decisions, state.decided
        ) & (state.sub_goal < count - 1)
        at = state.sub_goal + moves
        rows = torch.arange(len(at))
        goal = _map(lambda each: each[rows.to(each.device), at.to(each.device)], state.goals)
        return replace(state, goal=goal, sub_goal=at, decided=state.decided.where(~moves, 0))

    def _without_goal(self, observation: BatchedObservation) -> str:
        missing = {GOAL_PREFIX + key for key in self.model.observes} - set(observation)
        return (
            f"the observation lacks the goal {sorted(missing)}; it has {sorted(observation)}. "
            "Wrap the environment in dexworld.envs.goal_observation.GoalObservation."
        )


def _counted(plan: Plan, more: int) -> Plan:
    """Return a plan whose search counts the candidates that were rolled out before it, too."""
    search = plan.search
    counts = tuple(more + count for count in search.evaluations_at)
    return replace(
        plan, search=replace(search, evaluations=more + search.evaluations, evaluations_at=counts)
    )


def _first(decisions: Tensor, count: int) -> Tensor:
    """Return the first decisions, the last of a plan that is too short being repeated."""
    short = count - decisions.shape[1]
    if short <= 0:
        return decisions[:, :count]
    return torch.cat([decisions, decisions[:, -1:].expand(-1, short, -1)], dim=1)


def _plan_seeds(seeds: Tensor, plans: Tensor) -> Tensor:
    """Return a random stream for each plan of each episode."""
    pairs = zip(seeds.tolist(), plans.tolist(), strict=True)
    streams = [np.random.SeedSequence(pair).generate_state(1)[0] for pair in pairs]
    return torch.tensor(np.asarray(streams, np.int64))


def _map(function: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Apply `function` to the tensors of `first` and to those at the same place in `others`."""
    if first is None:
        return None
    if isinstance(first, Tensor):
        return function(first, *others)
    if isinstance(first, dict):
        return {
            key: _map(function, value, *(None if o is None else o[key] for o in others))
            for key, value in first.items()
        }
    if isinstance(first, (PlanningState, WarmStart)):
        return replace(
            first,
            **{
                part.name: _map(
                    function,
                    getattr(first, part.name),
                    *(None if o is None else getattr(o, part.name) for o in others),
                )
                for part in fields(first)
                if part.name != "fresh"
            },
        )
    raise TypeError(f"a planning state cannot hold {type(first).__name__}.")
