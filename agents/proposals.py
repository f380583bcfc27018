"""Plans that others propose, for a search to start from: beside what is left of the last plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..planners.base import WarmStart
from ..planners.noise import Streams
from ..planners.start import fit_horizon
from ..world_models.base import COMMAND, State, WorldModel, check_keys, name_of, take
from ..world_models.inverse import InverseModel
from ..world_models.latent_config import PAST
from .decider import Decider
from .policy import Policy


@runtime_checkable
class Proposer(Protocol):
    """Says where a search starts from; it is asked before every plan."""

    @property
    def evaluations(self) -> int:
        """Candidates that it rolls out for each problem; they count among those of the search."""
        ...

    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Return where the searches of `B` problems start; None: nowhere in particular.

        Args:
            state: what the plans start from.
            goal: what they head for; empty where there is none.
            left: what is left of the last plan; None at the start of an episode.
            horizon: decisions ahead.
            seeds: a random stream for each problem.
        """
        ...


class PolicyProposer:
    """Proposes what a policy would do: it is rolled out in the model, again and again.

    The first of the plans is what the policy does without noise; in the others noise is added to its
    decisions, or they are samples of the policy's own distribution. Rolled out they take as many
    steps of the model as so many candidates of a search; what is left of the last plan stays the
    plan that the search begins around. A search that looks at nothing else (`RandomShooting` of no
    more samples than plans) reranks what the policy samples.

    Args:
        model: the dynamics that the planner searches in: over decisions, where it decides.
        policy: trained in such a model (`dexworld-train-agent`).
        plans: how many are proposed, `K`.
        noise: standard deviation of the noise on each decision but those of the first plan, as a
            share of half the range of the decisions. None: the policy samples its decisions
            instead, as its distribution is.

    Raises:
        TypeError: the policy observes no `Dict`.
        ValueError: no plans, noise below zero, or a policy of other decisions.

    Source of the idea: Hansen et al. 2022, "Temporal Difference Learning for Model Predictive
    Control", section 3.1, for noise; Li et al. 2025, "Unified Video Action Model", for samples of a
    policy that a model reranks.
    """

    def __init__(
        self, model: WorldModel, policy: Policy, plans: int = 16, noise: float | None = 0.3
    ) -> None:
        if plans < 1 or (noise is not None and noise < 0):
            raise ValueError(
                f"plans={plans}, noise={noise}: at least one plan, and no less noise than 0."
            )
        self.model, self.decider = model, Decider(model, policy)
        self.plans, self.noise = plans, noise

    @property
    def evaluations(self) -> int:
        """One for each plan."""
        return self.plans

    @torch.no_grad()
    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Roll the policy out, all problems and plans at once."""
        low, high = self.decider.low, self.decider.high
        rows = torch.arange(len(seeds), device=low.device).repeat_interleave(self.plans)
        state, goal = take(state, rows), take(goal, rows)
        first = torch.arange(0, len(rows), self.plans, device=rows.device)
        noise = None
        if self.noise is not None:
            noise = self.noise * _noise(seeds, self.plans, horizon, low, high)
            noise[first] = 0.0

        def decide(now: State, time: int) -> Tensor:
            if noise is not None:
                return torch.clamp(self.decider(now, goal) + noise[:, time], low, high)
            decision = self.decider(now, goal, _own(seeds, 3, time).tolist())
            decision[first] = self.decider(take(now, first), take(goal, first))
            return decision

        plans = _rolled_out(self.model, state, horizon, decide)
        return beside(left, torch.unflatten(plans, 0, (-1, self.plans)))


class InverseProposer:
    """Proposes what an inverse model says leads to the goal: it is rolled out, again and again.

    The plans differ in when they mean to be at the goal: after the longest time that the inverse
    model knows, a decision less, and so on down to two decisions, and round again. A plan whose time
    is over has another go. In the first round they are as the model says, in the others noise is
    added.

    Alone the inverse model misses many goals, since it averages over ways that lead there; a search
    that begins with its plans repairs them. A model whose states carry no past actions (a simulator)
    is taken to be at rest before each decision.

    Args:
        model: the dynamics that the planner searches in, over decisions (`Mapped`). It predicts the
            points that the inverse model reads, whatever else it predicts: a simulator will do.
        inverse_model: what proposes; it reads points and nothing else (`features` 0).
        steps: environment steps that a decision lasts.
        increment: most that a decision moves the command; decisions are commands where None.
        plans: how many are proposed, `K`.
        noise: standard deviation of the noise on each decision, as a share of half its range.

    Raises:
        KeyError: the model does not predict the points.
        ValueError: no plans, noise below zero, decisions that last longer than the actions that the
            inverse model gives at once or are not its actions, or an inverse model of latents.
    """

    def __init__(
        self,
        model: WorldModel,
        inverse_model: InverseModel,
        *,
        steps: int,
        increment: float | None = None,
        plans: int = 16,
        noise: float = 0.3,
    ) -> None:
        config = inverse_model.config
        if plans < 1 or noise < 0:
            raise ValueError(
                f"plans={plans}, noise={noise}: at least one plan, and no less noise than 0."
            )
        if config.features or not config.points.sets:
            raise ValueError(
                f"the inverse model reads {config.features} learned features beside the points "
                f"{list(config.points.names)}, which only its own world model has. To propose plans, "
                "train one with a world model whose latents are points (recipe=push_t_state)."
            )
        if not 1 <= steps <= min(config.chunk, config.longest):
            raise ValueError(
                f"a decision lasts {steps} steps, and the inverse model gives {config.chunk} actions "
                f"at once, for goals up to {config.longest} steps ahead: set "
                "agent.steps_per_decision to no more."
            )
        check_keys(config.points.names, model, type(self).__name__)
        if model.action_space.shape != (inverse_model.action_size,):
            raise ValueError(
                f"the decisions of {name_of(model)} are in {model.action_space}, and the inverse "
                f"model gives {inverse_model.action_size} numbers: give one of the same environment."
            )
        self.model, self.inverse_model = model, inverse_model
        self.steps, self.increment = steps, increment
        self.plans, self.noise = plans, noise
        self.low = torch.from_numpy(model.action_space.low).to(model.device)
        self.high = torch.from_numpy(model.action_space.high).to(model.device)

    @property
    def evaluations(self) -> int:
        """One for each plan."""
        return self.plans

    @torch.no_grad()
    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Roll the inverse model out, all problems and plans at once."""
        config, device = self.inverse_model.config, self.low.device
        rows = torch.arange(len(seeds), device=device).repeat_interleave(self.plans)
        state, aim = take(state, rows), self._read(take(goal, rows))
        times = torch.arange(config.longest, min(self.steps, config.longest - 1), -self.steps)
        plan = torch.arange(self.plans)
        due = times[plan % len(times)].repeat(len(seeds)).to(device)
        noise = self.noise * _noise(seeds, self.plans, horizon, self.low, self.high)
        noise[(plan < len(times)).repeat(len(seeds)).to(device)] = 0.0

        def decide(now: State, time: int) -> Tensor:
            reading = self._read(now)
            past = now.get(PAST)
            if past is None:
                past = self.inverse_model.hold_action(reading)[:, None]
                past = past.expand(-1, config.history, -1)
            to_go = (due - self.steps * time % due).clamp(min=self.steps)
            told = self.inverse_model.act(reading, aim, to_go, past)[:, self.steps - 1]
            if self.increment is not None:
                told = (told - now[COMMAND]) / self.increment
            return torch.clamp(told.to(noise) + noise[:, time], self.low, self.high)

        plans = _rolled_out(self.model, state, horizon, decide)
        return beside(left, torch.unflatten(plans, 0, (-1, self.plans)))

    def _read(self, state: State) -> Float[Tensor, "rows reading"]:
        """Return normalised points, found by the names of their sets."""
        layout = self.inverse_model.config.points
        labels = {each.label: state[each.name] for each in layout.sets}
        points: Tensor = layout.normalise(labels, rows=1)
        return points.flatten(1)


def _rolled_out(
    model: WorldModel, state: State, horizon: int, decide: Callable[[State, int], Tensor]
) -> Float[Tensor, "rows horizon action"]:
    """Return what is decided, decision after decision, where each was made."""
    plans = []
    for time in range(horizon):
        plans.append(decide(state, time))
        if len(plans) < horizon:
            state = model.step(state, plans[-1])
    return torch.stack(plans, dim=1)


def _noise(
    seeds: Tensor, plans: int, horizon: int, low: Tensor, high: Tensor
) -> Float[Tensor, "batch_plans horizon action"]:
    """Return normal noise of half the range of the decisions, the plans of a problem in a row."""
    streams = Streams(_own(seeds, 2), device=low.device, dtype=low.dtype)
    return ((high - low) / 2 * streams.normal(plans, horizon, len(low))).flatten(0, 1)


def _own(seeds: Tensor, *use: int) -> Tensor:
    """Return other streams than the search's, or the noise would be that of its candidates."""
    own = [np.random.SeedSequence([seed, *use]).generate_state(1)[0] for seed in seeds.tolist()]
    return torch.tensor(np.asarray(own, np.int64))


def beside(left: WarmStart | None, plans: Float[Tensor, "batch plans horizon action"]) -> WarmStart:
    """Return a warm start with more plans than what is left of the last one."""
    if left is None:
        return WarmStart(plans)
    horizon = plans.shape[2]
    kept = fit_horizon(left.actions, horizon)
    std = None if left.std is None else fit_horizon(left.std, horizon)
    return replace(left, actions=torch.cat([kept, plans.to(kept)], dim=1), std=std)
