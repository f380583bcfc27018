"""Linear-quadratic problems: a differentiable toy model whose best plans are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor

from ..world_models.base import (
    ROLLOUT,
    STEP,
    Observation,
    State,
    check_actions,
    check_observation,
    check_state,
)

FloatArray = npt.NDArray[np.float64]

STATE = "state"
"""What the model observes, carries and predicts."""


class LinearModel:
    """A linear world model: `x' = A x + B u`, with bounded `u`.

    Products are written as sums over one dimension, which round the same way whatever the number
    of problems and candidates, so that bit-exact laws can be tested on it.

    Args:
        a: Transition of the state, `[S, S]`.
        b: Effect of the actions, `[S, A]`.
        action_space: Bounds of the actions.
    """

    observes = frozenset({STATE})
    predicts = frozenset({STATE})
    differentiable = True

    def __init__(
        self,
        a: Float[Tensor, "state state"],
        b: Float[Tensor, "state action"],
        action_space: Box,
    ) -> None:
        self.a = a
        self.b = b
        self.action_space = action_space

    @property
    def device(self) -> torch.device:
        """Where the matrices live."""
        return self.a.device

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Return the observed state, which is all there is to know."""
        check_observation(observation, self)
        return {STATE: torch.as_tensor(observation[STATE]).to(self.a)}

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict the states after each action, `[B, N, T, S]`."""
        check_state(state, {STATE: self.a.shape[:1]}, self)
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        current = state[STATE].unsqueeze(1).expand(-1, actions.shape[1], -1)
        states = []
        for action in actions.unbind(2):
            current = self._next(current, action)
            states.append(current)
        return {STATE: torch.stack(states, dim=2)} if keys is None or STATE in keys else {}

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one action later."""
        check_state(state, {STATE: self.a.shape[:1]}, self)
        check_actions(actions, self.action_space, dims=STEP, state=state)
        return {STATE: self._next(state[STATE], actions)}

    def _next(self, state: Tensor, action: Tensor) -> Tensor:
        drift = (self.a * state.unsqueeze(-2)).sum(dim=-1)
        return drift + (self.b * action.unsqueeze(-2)).sum(dim=-1)


@dataclass(frozen=True)
class QuadraticCost:
    """`|x[T] - goal|^2 + effort sum_t |u[t]|^2`."""

    effort: float = 0.0
    """Cost of the actions."""

    @property
    def reads(self) -> frozenset[str]:
        """The state."""
        return frozenset({STATE})

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the quadratic cost of each candidate."""
        miss = predictions[STATE][:, :, -1] - goal[STATE][:, None]
        cost = miss.square().sum(dim=-1)
        if self.effort > 0:
            cost = cost + self.effort * actions.square().sum(dim=(2, 3))
        return cost


@dataclass(frozen=True)
class LinearQuadraticProblem:
    """A linear model, a quadratic cost, and `B` pairs of start and goal."""

    model: LinearModel
    objective: QuadraticCost
    state: State
    goal: State
    horizon: int

    def optimal_cost(self) -> Float[Tensor, " batch"]:
        """Return the least cost inside the bounds, from bounded least squares.

        The whole motion is linear in the stacked actions `u`: `x[T] = A^T x0 + G u`, so the cost
        is that of the least-squares problem `|[G; sqrt(effort) I] u - [goal - A^T x0; 0]|^2`.
        """
        effects, drift = self._terminal_map()
        size = effects.shape[1]
        matrix = np.vstack([effects, np.sqrt(self.objective.effort) * np.eye(size)])
        low = np.tile(self.model.action_space.low, self.horizon)
        high = np.tile(self.model.action_space.high, self.horizon)
        costs = []
        for start, goal in zip(self.state[STATE], self.goal[STATE], strict=True):
            target = goal.cpu().double().numpy() - drift @ start.cpu().double().numpy()
            right = np.concatenate([target, np.zeros(size)])
            solution = scipy.optimize.lsq_linear(matrix, right, (low, high), tol=1e-12)
            costs.append(2 * solution.cost)
        return torch.tensor(costs, dtype=torch.float64, device=self.model.device)

    def riccati_cost(self) -> Float[Tensor, " batch"]:
        """Return the least cost without bounds, from the Riccati recursion.

        With `z = [x; 1]`, the cost to go is `z' P z`, from `P = [I, -g]' [I, -g]` at the end and
        backwards `P <- F' P F - F' P H (effort I + H' P H)^-1 H' P F`, `F` and `H` being the
        transition and the effect of the actions on `z`.
        """
        size, actions = self.model.b.shape
        transition = torch.eye(size + 1, dtype=torch.float64)
        transition[:size, :size] = self.model.a.cpu()
        effect = torch.zeros(size + 1, actions, dtype=torch.float64)
        effect[:size] = self.model.b.cpu()
        effort = self.objective.effort * torch.eye(actions, dtype=torch.float64)
        costs = []
        for start, goal in zip(self.state[STATE].cpu(), self.goal[STATE].cpu(), strict=True):
            miss = torch.cat([torch.eye(size), -goal[:, None]], dim=1).double()
            to_go = miss.T @ miss
            for _ in range(self.horizon):
                coupling = effect.T @ to_go @ transition
                gain = torch.linalg.solve(effort + effect.T @ to_go @ effect, coupling)
                to_go = transition.T @ to_go @ transition - coupling.T @ gain
            extended = torch.cat([start.double(), torch.ones(1, dtype=torch.float64)])
            costs.append(extended @ to_go @ extended)
        return torch.stack(costs).to(self.model.device)

    def _terminal_map(self) -> tuple[FloatArray, FloatArray]:
        a, b = self.model.a.cpu().double().numpy(), self.model.b.cpu().double().numpy()
        powers = [np.linalg.matrix_power(a, power) for power in range(self.horizon + 1)]
        effects = [powers[self.horizon - 1 - step] @ b for step in range(self.horizon)]
        return np.hstack(effects), powers[-1]


def bounded_problem(
    problems: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64
) -> LinearQuadraticProblem:
    """Return the benchmark: 8 states, 10 actions in [-1, 1], 5 steps, terminal cost only.

    `A = 0.95 I + 0.05 R1` and `B = 0.3 R2`, with `R1`, `R2` standard normal from seed 0. Starts
    are 0.3 times standard normal; each goal is what a hidden plan, uniform in [-1.6, 1.6],
    reaches, so that many bounds are active along the way. `seed` draws starts and goals.
    """
    fixed = np.random.default_rng(0)
    a = 0.95 * np.eye(8) + 0.05 * fixed.standard_normal((8, 8))
    b = 0.3 * fixed.standard_normal((8, 10))
    rng = np.random.default_rng([seed, 1])
    start = 0.3 * rng.standard_normal((problems, 8))
    hidden = rng.uniform(-1.6, 1.6, (problems, 5, 10))
    return problem_of(a, b, start, hidden, effort=0.0, low=-1.0, high=1.0, dtype=dtype)


def effort_problem(
    *,
    horizon: int,
    action: int,
    reach: float,
    problems: int = 3,
    seed: int = 0,
    low: float = -1.0,
    high: float = 1.0,
    effort: float = 0.1,
    dtype: torch.dtype = torch.float64,
) -> LinearQuadraticProblem:
    """Return a small problem with a cost on actions, so that its least cost is above zero.

    The goals are what hidden plans of size `reach` times the bounds reach: well below 1 the
    bounds do not matter, well above 1 they are active in the best plan.
    """
    rng = np.random.default_rng([seed, horizon, action])
    size = 3
    a = 0.9 * np.eye(size) + 0.1 * rng.standard_normal((size, size))
    b = 0.5 * rng.standard_normal((size, action))
    start = 0.1 * reach * rng.standard_normal((problems, size))
    bounds = np.where(rng.choice([False, True], (problems, 1, action)), low, high)
    hidden = reach * bounds * rng.uniform(0.8, 1.2, (problems, horizon, action))
    return problem_of(a, b, start, hidden, effort=effort, low=low, high=high, dtype=dtype)


def problem_of(
    a: FloatArray,
    b: FloatArray,
    start: FloatArray,
    hidden: FloatArray,
    *,
    effort: float,
    low: float,
    high: float,
    dtype: torch.dtype,
) -> LinearQuadraticProblem:
    """Return the problem of reaching what the hidden plans `[B, T, A]` reach from `start`."""
    number = np.float64 if dtype == torch.float64 else np.float32
    space = Box(low, high, (b.shape[1],), number)
    model = LinearModel(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype), space)
    state = model.encode({STATE: start})
    plan = torch.tensor(hidden, dtype=dtype)
    reached = model.rollout(state, plan.unsqueeze(1))[STATE][:, 0, -1]
    return LinearQuadraticProblem(
        model=model,
        objective=QuadraticCost(effort=effort),
        state=state,
        goal={STATE: reached},
        horizon=hidden.shape[1],
    )
