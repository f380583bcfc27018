"""Presets of PushT: any planner can be chosen for them, and gradients cost what samples do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from dexworld.agents.proposals import PolicyProposer
from dexworld.experiments.command_line import CONF, compose_config
from dexworld.experiments.config import (
    PLANNERS,
    PlanConfig,
    make_model,
    make_planning_agent,
    register_schemas,
)
from dexworld.experiments.schema import build
from dexworld.planners import RandomShooting

PRESETS = sorted(path.stem for path in Path(CONF, "experiment").glob("push_t_*.yaml"))
WITH_POLICY = ("push_t_goal_policy_guided", "push_t_goal_reranked")
CHOSEN = ("cem", "icem", "gradient", "cem_gradient")
TUNED = ("push_t_gradient", "push_t_hybrid")


def composed(*overrides: str) -> PlanConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    config: PlanConfig = compose_config("plan", list(overrides))
    return config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_planner_can_be_chosen_for_every_preset(preset: str, policy: Path) -> None:
    given = [f"agent.policy={policy}"] if preset in WITH_POLICY else []
    settings = [f"experiment={preset}", "model.threads=1", *given]
    own = composed(*settings)
    model = make_model(own)
    make_planning_agent(own, model)
    for name in CHOSEN:
        chosen = composed(*settings, f"planner={name}")
        assert chosen.env == own.env and chosen.objective == own.objective
        assert make_planning_agent(chosen, model).planner == PLANNERS[name]()


def test_samples_of_a_policy_are_reranked_and_nothing_else_is_tried(policy: Path) -> None:
    config = composed("experiment=push_t_goal_reranked", f"agent.policy={policy}")
    agent = make_planning_agent(config, make_model(config))
    assert isinstance(agent.planner, RandomShooting) and agent.planner.iterations == 1
    proposer = agent.proposer
    assert isinstance(proposer, PolicyProposer) and proposer.noise is None
    assert agent.planner.samples == proposer.plans == 64
    assert agent.planner.horizon == 10 and agent.planner.starts == 1


def test_searches_with_gradients_cost_what_those_with_samples_do() -> None:
    gradient, hybrid = (
        build(composed("experiment=push_t_goal_pixels", f"planner={name}").planner)
        for name in TUNED
    )
    # One with a gradient counts as three; after its last step a search only evaluates.
    descents = gradient.restarts * (3 * (gradient.iterations - 1) + 1)
    refined = hybrid.elites * (3 * hybrid.refinement_steps + 1)
    for evaluations in (descents, hybrid.iterations * (hybrid.samples + refined)):
        assert evaluations == pytest.approx(380, rel=0.05)
