"""How far each planner comes on PushT, with the simulator as the model and equal evaluations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    PlanConfig,
    make_action_map,
    make_env,
    make_model,
)
from dexworld.experiments.statistics import episode_seeds
from dexworld.planners.base import Planner
from dexworld.planners.cem import CEM
from dexworld.planners.icem import ICEM
from dexworld.planners.mppi import MPPI
from dexworld.planners.objectives import KeypointDistance
from dexworld.planners.shooting import RandomShooting
from dexworld.world_models.base import Mapped

Row = dict[str, str | int | float]

HORIZON, SAMPLES, ITERATIONS, ELITES = 6, 64, 8, 8
PLANNERS: Mapping[str, Planner] = {
    "random shooting": RandomShooting(HORIZON, samples=SAMPLES, iterations=ITERATIONS),
    "CEM": CEM(HORIZON, samples=SAMPLES, iterations=ITERATIONS, elites=ELITES),
    "iCEM": ICEM(HORIZON, samples=SAMPLES, iterations=ITERATIONS, elites=ELITES),
    "MPPI": MPPI(HORIZON, samples=SAMPLES, iterations=ITERATIONS),
}
"""The planners that need no gradient: the simulator has none."""


def push_t_planners(problems: int = 8, seed: int = 0) -> list[Row]:
    """Plan once from the start of each goal task; costs in px, mean over the problems.

    The cost is the mean distance of the T's keypoints at the end and along the plan, and a
    quarter of the pusher's. Rows give the best cost after so many rolled-out candidates.
    """
    config = PlanConfig(
        env=EnvConfig(id="dexworld/PushTGoal-v0", episode_steps=50),
        model=ModelConfig(),
        agent=AgentConfig(increment=0.48828125),
    )
    model = make_model(config)
    mapped = Mapped(model, make_action_map(config.agent, model.action_space))
    env = make_env(config, mapped.observes)()
    resets = [env.reset(seed=s)[0] for s in episode_seeds(seed, "tune", problems)]
    state = mapped.encode({"physics": np.stack([o["physics"] for o in resets])})
    goal = mapped.encode({"physics": np.stack([o["goal_physics"] for o in resets])})
    env.close()
    objective = KeypointDistance(running=1.0) + KeypointDistance("agent", 0.25, running=1.0)
    rows = []
    for name, planner in PLANNERS.items():
        plan = planner.plan(
            mapped, objective, state, goal, seeds=torch.arange(problems, dtype=torch.int64)
        )
        costs = plan.search.best_cost.mean(dim=1)
        row: Row = {"planner": name}
        for evaluations, cost in zip(plan.search.evaluations_at, costs.tolist(), strict=True):
            row[f"after_{SAMPLES * round(evaluations / SAMPLES)}"] = cost
        rows.append(
            {
                **row,
                "evaluations": plan.search.evaluations,
                "s_per_plan": plan.search.seconds / problems,
            }
        )
    return rows
