"""The laws of a planner as a suite that anyone can run on their own class.

Make a subclass in a test file and let pytest collect it:

    class TestMyPlanner(PlannerConformance):
        def make_planner(self, horizon):
            return MyPlanner(horizon=horizon)
"""

from __future__ import annotations

import unittest
from typing import Any

import torch
from torch import Tensor

from ..world_models.base import take
from .base import Plan, Planner, WarmStart
from .linear_quadratic import LinearQuadraticProblem, effort_problem
from .receding_horizon import shift
from .recorder import FakeClock, Recorder

SEEDS = torch.tensor([11, 5, 7])
"""One per problem of the toys."""

raises = unittest.TestCase().assertRaisesRegex


class PlannerConformance:
    """The laws of a planner; a subclass says which one.

    The planners should be small (the laws need a few hundred evaluations in three or more
    iterations) and deterministic given seeds.
    """

    max_decisions = 8
    """Decision variables with which the planner still finds the optimum (2 for blind search)."""
    tolerance = 0.01
    """Excess over the optimal cost, relative to it, that is still allowed."""

    def make_planner(self, horizon: int) -> Planner:
        """Return a planner of at least three iterations."""
        raise NotImplementedError

    def make_precise_planner(self, horizon: int) -> Planner:
        """Return a planner with the settings to come close to an optimum."""
        return self.make_planner(horizon)

    def search(self, horizon: int = 4, **arguments: Any) -> tuple[Plan, Recorder]:
        """Plan on the toy with active bounds; `arguments` go to the recorder or to `plan`."""
        problem = arguments.pop("problem", None) or active_problem(horizon)
        problems = problem.state["state"].shape[0]
        poison, clock = arguments.pop("poison", None), arguments.get("clock")
        recorder = Recorder(problem.model, poison, clock, problems)
        arguments.setdefault("seeds", SEEDS[:problems])
        plan = self.make_planner(horizon).plan(
            recorder, problem.objective, problem.state, problem.goal, **arguments
        )
        return plan, recorder

    def test_same_seeds_same_plan(self) -> None:
        """Nothing but the seeds decides, and they do decide."""
        first, _ = self.search()
        again, _ = self.search()
        assert_equal(first.actions, again.actions)
        assert_equal(first.cost, again.cost)
        _, recorder = self.search()
        _, other = self.search(seeds=SEEDS + 1)
        assert not torch.equal(recorder.searched, other.searched), "the seeds change nothing"

    def test_problems_do_not_influence_each_other(self) -> None:
        """A problem planned alone gets the plan that it gets among others, bit for bit."""
        problem = active_problem(4)
        warm = WarmStart(
            actions=0.5 * torch.ones(3, 2, 4, 2, dtype=torch.float64),
            valid=torch.tensor([True, False, True]),
        )
        together, _ = self.search(warm_start=warm)
        for row in range(3):
            rows = torch.tensor([row])
            alone, _ = self.search(
                problem=LinearQuadraticProblem(
                    model=problem.model,
                    objective=problem.objective,
                    state=take(problem.state, rows),
                    goal=take(problem.goal, rows),
                    horizon=4,
                ),
                seeds=SEEDS[rows],
                warm_start=WarmStart(
                    actions=warm.actions[rows],
                    valid=None if warm.valid is None else warm.valid[rows],
                ),
            )
            assert_equal(alone.actions, together.actions[rows])
            assert_equal(alone.cost, together.cost[rows])

    def test_decisions_stay_inside_the_bounds(self) -> None:
        """Every candidate is inside any box, and has its dtype."""
        for dtype in (torch.float32, torch.float64):
            problem = effort_problem(
                horizon=4, action=2, reach=2.0, low=-0.3, high=2.7, dtype=dtype
            )
            plan, recorder = self.search(problem=problem)
            space = problem.model.action_space
            low, high = torch.from_numpy(space.low), torch.from_numpy(space.high)
            for actions in (*recorder.rollouts, plan.actions):
                assert actions.dtype == dtype, f"planned in {actions.dtype}, not {dtype}"
                inside = (low <= actions).all() and (actions <= high).all()
                assert inside, f"{actions.min()} .. {actions.max()} leaves {space}"

    def test_the_best_evaluated_plan_is_returned(self) -> None:
        """The plan is a candidate, the cheapest one, and its record says so."""
        problem = active_problem(4)
        plan, recorder = self.search()
        searched = recorder.searched
        predictions = problem.model.rollout(problem.state, searched)
        costs = problem.objective.cost(predictions, searched, problem.state, problem.goal)
        least, index = costs.min(dim=1)
        assert_equal(plan.cost, least)
        assert_equal(plan.actions, searched[torch.arange(3), index])
        assert_equal(plan.search.best_cost[-1], plan.cost)
        falling = plan.search.best_cost.diff(dim=0) <= 0
        assert falling.all(), f"the best cost rises: {plan.search.best_cost}"

    def test_evaluations_are_counted(self) -> None:
        """A rollout with gradients counts as three."""
        plan, recorder = self.search()
        assert plan.search.evaluations == recorder.searched_evaluations, (
            f"counted {plan.search.evaluations}, made {recorder.searched_evaluations}"
        )

    def test_predictions_are_those_of_the_plan(self) -> None:
        """They are those of the keys that the objective reads."""
        problem = active_problem(4)
        plan, _ = self.search()
        rollout = problem.model.rollout(problem.state, plan.actions.unsqueeze(1))
        assert set(plan.predictions) == set(problem.objective.reads)
        for key, value in plan.predictions.items():
            assert_equal(value, rollout[key].squeeze(1))

    def test_the_plans_to_start_from_are_candidates(self) -> None:
        """So a search never ends worse than it started."""
        generator = torch.Generator().manual_seed(3)
        plans = 2 * torch.rand(3, 2, 4, 2, generator=generator, dtype=torch.float64) - 1
        plans[:, 0] = plans[:, 0].sign()
        _, recorder = self.search(warm_start=WarmStart(actions=plans))
        for number in range(2):
            same = (recorder.rollouts[0] == plans[:, number, None]).all(dim=3).all(dim=2)
            assert same.any(dim=1).all(), f"plan {number} was not tried in the first iteration"

    def test_rows_without_a_warm_start_ignore_it(self) -> None:
        """`valid` decides row by row; NaN may stand where it is false."""
        plans = torch.full((3, 1, 4, 2), torch.nan, dtype=torch.float64)
        plans[1] = 0.25
        valid = torch.tensor([False, True, False])
        cold, _ = self.search()
        mixed, recorder = self.search(warm_start=WarmStart(actions=plans, valid=valid))
        for row in (0, 2):
            assert_equal(mixed.actions[row], cold.actions[row])
        assert (recorder.searched[1] == 0.25).all(dim=2).all(dim=1).any()

    def test_a_warm_start_lowers_the_cost(self) -> None:
        """After one executed decision, what is left of the plan beats starting afresh."""
        problem = active_problem(4)
        plan, _ = self.search()
        moved = problem.model.step(problem.state, plan.actions[:, 0])
        later = LinearQuadraticProblem(
            model=problem.model,
            objective=problem.objective,
            state=moved,
            goal=problem.goal,
            horizon=3,
        )
        costs = {}
        for name, warm_start in (("cold", None), ("warm", shift(plan, 1, horizon=3))):
            replanned, _ = self.search(
                horizon=3, problem=later, warm_start=warm_start, budget_s=0.0, clock=FakeClock()
            )
            costs[name] = replanned.cost.mean()
        assert costs["warm"] < costs["cold"], f"{costs} after one iteration each"

    def test_a_cost_that_is_not_finite_never_wins(self) -> None:
        """Where half of the candidates fail, the others are searched on."""

        def poison(actions: Tensor) -> Tensor:
            return actions[:, :, 1, 0] > 0.1

        plan, recorder = self.search(poison=poison)
        failed = poison(recorder.searched)
        assert failed.any() and not failed.all(), "the toy does not fail where it should"
        assert torch.isfinite(plan.cost).all(), f"cost {plan.cost}"
        assert not poison(plan.actions.unsqueeze(1)).any(), "a failed candidate won"
        assert_equal(plan.search.non_finite, failed.sum(dim=1))

    def test_a_problem_in_which_everything_fails(self) -> None:
        """It keeps the mean it started from, at cost +inf, and leaves the others alone."""

        def poison(actions: Tensor) -> Tensor:
            rows = torch.arange(actions.shape[0]) == 1
            return rows[:, None].expand(actions.shape[:2])

        warm = WarmStart(actions=torch.full((3, 1, 4, 2), 0.25, dtype=torch.float64))
        plan, recorder = self.search(poison=poison, warm_start=warm)
        healthy, _ = self.search(warm_start=warm)
        assert_equal(plan.actions[1], warm.actions[1, 0])
        assert plan.cost[1] == torch.inf, f"cost {plan.cost[1]}"
        assert plan.search.non_finite.tolist() == [0, recorder.searched.shape[1], 0]
        tried = [
            torch.isclose(rollout[1], warm.actions[1]).all(dim=2).all(dim=1).any()
            for rollout in recorder.rollouts
        ]
        iterations = plan.search.best_cost.shape[0]
        assert sum(tried) >= iterations, "the mean moved although nothing was learnt"
        for row in (0, 2):
            assert_equal(plan.actions[row], healthy.actions[row])

    def test_a_budget_ends_the_search(self) -> None:
        """No iteration starts that would, at the last one's duration, overrun; one always does."""
        full, _ = self.search(clock=FakeClock())
        iterations = full.search.best_cost.shape[0]
        assert iterations >= 3, "make_planner must return a planner of at least three iterations"
        duration = full.search.seconds / iterations
        for budget, expected in ((0.0, 1), (1.0, 1), (1.9, 1), (2.0, 2), (2.5, 2), (3.0, 3)):
            plan, _ = self.search(budget_s=budget * duration, clock=FakeClock())
            made = plan.search.best_cost.shape[0]
            assert made == expected, f"{made} iterations in a budget for {budget}"
            assert_equal(plan.cost, full.search.best_cost[made - 1])

    def test_the_horizon_can_be_overridden(self) -> None:
        """An episode that is about to end asks for less; nothing is no horizon."""
        plan, _ = self.search(problem=active_problem(3), horizon=4)
        assert plan.actions.shape == (3, 4, 2)
        problem = active_problem(3)
        arguments = (problem.model, problem.objective, problem.state, problem.goal)
        shorter = self.make_planner(4).plan(*arguments, horizon=3)
        assert shorter.actions.shape == (3, 3, 2)
        with raises(ValueError, "horizon"):
            self.make_planner(4).plan(*arguments, horizon=0)

    def test_an_objective_that_reads_too_much_is_refused(self) -> None:
        """At once, before anything is rolled out."""

        class Greedy:
            reads = frozenset({"wish"})

            def cost(self, *_: object) -> Tensor:
                raise AssertionError("the cost was asked for")

        problem = active_problem(4)
        recorder = Recorder(problem.model)
        with raises(KeyError, "wish"):
            self.make_planner(4).plan(recorder, Greedy(), problem.state, problem.goal)
        assert not recorder.rollouts

    def test_optimum_inside_the_bounds(self) -> None:
        """Within `tolerance` of the Riccati solution where no bound is active."""
        problem = self._problem(reach=0.3)
        self._check_optimum(problem, problem.riccati_cost())

    def test_optimum_on_the_bounds(self) -> None:
        """Within `tolerance` of bounded least squares where bounds are active."""
        problem = self._problem(reach=1.8)
        optimum = problem.optimal_cost()
        assert (optimum > 1.05 * problem.riccati_cost()).all(), "no bound is active in this toy"
        self._check_optimum(problem, optimum)

    def _problem(self, reach: float) -> LinearQuadraticProblem:
        if self.max_decisions < 8:
            return effort_problem(horizon=self.max_decisions, action=1, reach=reach)
        return effort_problem(horizon=4, action=2, reach=reach)

    def _check_optimum(self, problem: LinearQuadraticProblem, optimum: Tensor) -> None:
        planner = self.make_precise_planner(problem.horizon)
        plan = planner.plan(problem.model, problem.objective, problem.state, problem.goal)
        excess = plan.cost / optimum - 1
        assert (excess > -1e-6).all(), f"{excess} below the optimum: the toy is wrong"
        assert (excess < self.tolerance).all(), f"{excess} above the optimum"


def active_problem(horizon: int) -> LinearQuadraticProblem:
    """Return three small problems in whose best plans bounds are active."""
    return effort_problem(horizon=horizon, action=2, reach=1.8)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    """Raise `AssertionError` unless two tensors are the same, bit for bit."""
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=0.0)
