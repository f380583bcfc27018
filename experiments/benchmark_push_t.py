"""How far planners come on PushT, with the simulator as the model: the goal task as it ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dexworld.experiments.benchmark_planners import budget_columns, final_rows, progress_rows
from dexworld.experiments.benchmark_tables import Tables
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import (
    PlanConfig,
    make_env,
    make_model,
    make_planning_agent,
    register_schemas,
)
from dexworld.experiments.statistics import episode_seeds
from dexworld.planners.base import Objective
from dexworld.planners.cem import CEM
from dexworld.planners.icem import ICEM
from dexworld.planners.mppi import MPPI
from dexworld.planners.search import SearchPlanner
from dexworld.planners.shooting import RandomShooting
from dexworld.world_models.base import GOAL_PREFIX, State, WorldModel

TASK = "push_t_goal_simulator"
"""The preset whose environment, decisions and objective are planned with."""
HORIZON = 10
EVALUATIONS = (64, 128, 256, 512)
SECONDS = (0.1, 0.2, 0.4, 0.8)
"""Budgets of a problem at which the planners are compared; all of them make all evaluations."""
PLANNERS: Mapping[str, SearchPlanner] = {
    "random shooting": RandomShooting(HORIZON, samples=64, iterations=8),
    "CEM": CEM(HORIZON, samples=64, iterations=8, elites=8),
    # 64, 58, 52, ... candidates: 512 in 14 iterations.
    "iCEM": ICEM(HORIZON, samples=64, iterations=14, elites=8, decay=1.1),
    "MPPI": MPPI(HORIZON, samples=64, iterations=8),
}
"""The planners that need no gradient: the simulator has none."""
ENDLESS = 10_000
"""Iterations of a search that only its time ends."""


@dataclass(frozen=True)
class FirstPlans:
    """The first plan of each episode: from its start towards its goal."""

    model: WorldModel
    objective: Objective
    state: State
    goal: State


def push_t_planners(problems: int = 8, seed: int = 0) -> Tables:
    """Plan once from the start of each goal task; costs in px, mean over the problems.

    The cost is that of the preset, mostly the distance of the T's keypoints from their goal. All
    problems are searched at once; the time of a problem is its share of the time of all.
    """
    task = first_plans(TASK, problems, seed)
    by_evaluations = progress_rows(PLANNERS.items(), task, seed)
    endless = [(name, replace(planner, iterations=ENDLESS)) for name, planner in PLANNERS.items()]
    by_time = progress_rows(endless, task, seed, budget_s=problems * SECONDS[-1])
    by_time = [{**row, "seconds": float(row["seconds"]) / problems} for row in by_time]
    ends = {end["planner"]: end for end in final_rows(by_evaluations)}
    ends_of_time = {end["planner"]: end for end in final_rows(by_time)}
    title = "PushT, first plan towards a goal 25 steps ahead"
    return {
        f"{title}: cost [px] after so many evaluations": [
            {
                "planner": name,
                **budget_columns(by_evaluations, name, "evaluations", EVALUATIONS),
                "evaluations": ends[name]["evaluations"],
                "s_per_plan": float(ends[name]["seconds"]) / problems,
            }
            for name in PLANNERS
        ],
        f"{title}: cost [px] after so much time for each problem": [
            {
                "planner": name,
                **budget_columns(by_time, name, "seconds", SECONDS, " s"),
                "evaluations": ends_of_time[name]["evaluations"],
            }
            for name in PLANNERS
        ],
    }


def first_plans(
    task: str, problems: int, seed: int, *, stage: str = "evaluate", settings: Sequence[str] = ()
) -> FirstPlans:
    """Return the planning problems of the first episodes of a preset, by default those reported."""
    register_schemas()
    config: PlanConfig = compose_config("plan", [f"experiment={task}", *settings])
    agent = make_planning_agent(config, make_model(config))
    env = make_env(config, agent.observes)()
    resets = [env.reset(seed=each)[0] for each in episode_seeds(seed, stage, problems)]
    env.close()

    def encoded(prefix: str) -> State:
        keys = agent.model.observes
        seen = {key: np.stack([reset[prefix + key] for reset in resets]) for key in keys}
        return agent.model.encode(seen)

    return FirstPlans(agent.model, agent.objective, encoded(""), encoded(GOAL_PREFIX))
