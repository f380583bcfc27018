"""The settings that `dexworld-plan` reads: environment, model, objective, planner, agent."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dexworld.agents.sub_goals import SubGoals
from dexworld.experiments.dexwm_planning import CURRENT
from dexworld.experiments.rough_plans import RoughConfig
from dexworld.experiments.schema import schema
from dexworld.planners.cem import CEM
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.gradient import GradientPlanner
from dexworld.planners.grip import Grip, Slip
from dexworld.planners.icem import ICEM
from dexworld.planners.mppi import MPPI
from dexworld.planners.objectives import (
    Disagreement,
    KeypointDistance,
    LatentDistance,
    NegativeReturn,
    NegativeReward,
    PoseError,
    Reach,
    Smoothness,
)
from dexworld.planners.pose_terms import Drift, Fall, Tilt
from dexworld.planners.shooting import RandomShooting

PLANNERS: dict[str, type[Any]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "random_shooting": RandomShooting,
    "gradient": GradientPlanner,
    "cem_gradient": CEMGradient,
}
TERMS: dict[str, type[Any]] = {
    "keypoints": KeypointDistance,
    "agent": KeypointDistance,
    "pose": PoseError,
    "drift": Drift,
    "tilt": Tilt,
    "fall": Fall,
    "grip": Grip,
    "slip": Slip,
    "posture": LatentDistance,
    "hand": LatentDistance,
    "latent": LatentDistance,
    "reach": Reach,
    "smoothness": Smoothness,
    "reward": NegativeReward,
    "value": NegativeReturn,
    "disagreement": Disagreement,
}
"""Slots of the objective: each may hold one term."""
KEYS = {"agent": "agent", "posture": "joints", "hand": "keypoints"}
"""Predictions that the terms of slots read, where it is not what the term reads by default."""
FROM_FILES = {
    "replay": "a recorded episode or a folder of them",
    "sb3": "a saved policy",
    "inverse": "a folder of dexworld-train recipe=push_t_inverse",
    "belief_policy": "a policy.zip of dexworld-train-agent",
}
DECISIONS = "decisions"
"""Attribute of a policy: what its decisions mean."""
KINDS = ("planning", "noop", "random", *FROM_FILES)
"""Kinds of agents; some act from files."""


ObjectiveConfig = make_dataclass(
    "ObjectiveConfig",
    [
        (name, schema(term, KEYS.get(name)) | None, field(default=None))
        for name, term in TERMS.items()
    ],
)
"""The terms of the objective by slot; those that are not null add up."""


@dataclass
class EnvConfig:
    """An environment by its registered id."""

    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    episode_steps: int = MISSING
    """Steps after which an episode ends: the budget of the task."""


@dataclass
class ModelConfig:
    """The dynamics to plan in."""

    kind: str = "simulator"
    """`simulator`: MuJoCo, rolled out on all cores; `gymnasium`: any environment with get_state and
    set_state, stepped in Python; `latent`: a learned model of dexworld-train; `dexwm`: one on the
    features of a frame encoder."""
    source: str = "physics"
    """What the model's state is built from: the exact `physics`, or the task `state`."""
    env: str | None = None
    """Environment whose simulator is the model; the task's own where null. Beside a learned model
    these settings say which simulator the ceiling plans in."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of that environment; they are added to those of the task's."""
    threads: int | None = None
    """Cores to roll out on; all where null."""
    path: str | None = None
    """The learned model: a folder, the name of one that ships, or organisation/name on a hub."""
    official: str | None = None
    """In the place of `path`: a state dict of the public DexWM code, planned with as there."""
    encoder: str | None = None
    """The frame encoder of a dexwm: a folder, the name of one that ships, or of a hub; DINOv2-L from
    the hub where null and the weights are official."""
    precision: str = "float32"
    """What a dexwm computes in: float32 or bfloat16."""
    device: str = "cpu"
    """Where the learned model runs: cpu or cuda."""


@dataclass
class AgentConfig:
    """Who acts, and how."""

    kind: str = "planning"
    """planning; the floors noop and random; replay (recordings); sb3 (a trained policy);
    belief_policy (one trained in a model); inverse (an inverse model on the latents of one)."""
    path: str | None = None
    """What replay repeats (a folder of dexworld-teleoperate), inverse acts by (a folder of
    dexworld-train), or sb3 and belief_policy load (a zip, which can run any code when it is loaded:
    only open files you trust)."""
    algorithm: str = "PPO"
    """Class of stable-baselines3 that saved the policy."""
    policy: str | None = None
    """A policy.zip of dexworld-train-agent, whose plans join those that planning searches among."""
    policy_samples: bool = False
    """Sample them from the policy's own distribution, all but the first, in the place of noise."""
    inverse: str | None = None
    """An inverse model whose plans join them: a folder of dexworld-train recipe=push_t_inverse, or
    the name of one that ships."""
    proposals: int = 16
    """How many plans of the policy or of the inverse model, each rolled out in the model."""
    proposal_noise: float = 0.3
    """Standard deviation of the noise on their decisions, as a share of half the range."""
    rough: RoughConfig | None = None
    """Where searches start from: a plan in the kinematics of a hand on an arm."""
    observes: list[str] = field(default_factory=list)
    """Observation keys that the policy is given; its own, or the environment's, where empty."""
    reference: str = CURRENT
    """Where a DexWM's searches for absolute joint targets start: the `current` joints, or a recorded
    motion (.npy, .npz, or a dataset with observation.proprio)."""
    reference_episode: int = 0
    """Which episode of that dataset."""
    arm_std: float = 0.3
    """Spread of those searches, of the targets of the arm [rad]."""
    hand_std: float = 0.1
    """The same of the hand [rad]."""
    keep_std: bool = False
    """Go on with the spread that the last search ended with, in what is left of its plan."""
    sub_goals: schema(SubGoals) = field(  # type: ignore[valid-type]
        default_factory=schema(SubGoals)
    )
    """When to move on to the next goal, where the environment gives a list of them: after so many
    decisions, or below a cost."""
    execute: int = 1
    """Decisions carried out before planning again."""
    steps_per_decision: int = 5
    """Environment steps that a decision lasts."""
    interpolate: bool = True
    """Approach a decision along a line, instead of commanding it at once."""
    increment: float | None = None
    """Decisions move the command by at most this, in units of the action; absolute where null."""
    hand_increment: float | None = None
    """The same of the joints of a hand, which come after the seven of its arm; as the arm's where
    null."""
    shrink_horizon: bool = True
    """Never plan beyond the end of the episode."""
    budget_s: float | None = None
    """Time for a plan, in seconds."""
    hold: int = 5
    """Steps for which the random agent holds an action."""
    reach_in: int | None = None
    """Steps in which the inverse model means to be at the goal, again and again; all that are left
    of the episode where null."""


@dataclass
class PlanConfig:
    """Everything that `dexworld-plan` reads."""

    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: Any = MISSING
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)  # type: ignore[valid-type]
    agent: AgentConfig = field(default_factory=AgentConfig)
    name: str = "plan"
    """Name of the experiment in tables and reports."""
    episodes: int = 10
    """Episodes to evaluate."""
    seed: int = 0
    """Base of all random streams."""
    stage: str = "evaluate"
    """Which episodes: `tune` for choosing settings, `evaluate` for reporting them."""
    first_seed: int | None = None
    """Take the consecutive seeds from here on instead (the literature's start at 100000)."""
    parallel: int = 1
    """Episodes that are planned for at once."""
    output: str = "outputs/${name}"
    """Folder of the results."""
    existing: str = "refuse"
    """What to do with results in `output`: refuse, resume (evaluate what is missing), overwrite."""
    floors: bool = True
    """Evaluate doing nothing and random actions on the same episodes."""
    cache: str | None = None
    """Folder where floors and ceilings are kept; null: dexworld's folder in the user's cache."""
    videos: int = 4
    """Episodes to film."""
    open_report: bool = False
    """Show the report in a browser at the end."""


def register_schemas() -> None:
    """Tell Hydra the schemas; a misspelt key or a wrong type then fails at once."""
    store = ConfigStore.instance()
    store.store(name="plan_schema", node=PlanConfig)
    for name, planner in PLANNERS.items():
        store.store(group="planner", name=name, node=schema(planner))
