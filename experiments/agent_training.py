"""What `dexworld-train-agent` reads, and how it becomes worlds to learn in and a judge of the agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dexworld.agents.belief_policy import BeliefPolicy
from dexworld.agents.decider import FRAME, PIXELS
from dexworld.agents.goal_features import GoalFeatures, measured
from dexworld.agents.imagination_training import ImaginationSettings
from dexworld.agents.learner import Learner
from dexworld.agents.planar_features import PlanarFeatures
from dexworld.agents.policy import Policy
from dexworld.envs.imagination import ImaginationVectorEnv, Reward, Success
from dexworld.envs.imagined_starts import StartStates
from dexworld.envs.stable_baselines import ImaginationVecEnv
from dexworld.experiments import config as wiring
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanConfig,
)
from dexworld.experiments.evaluation import EpisodeResult, run_episodes
from dexworld.experiments.exploitation_gap import ExploitationGap
from dexworld.experiments.imagined_task import (
    PREDICTED,
    UnsolvedStarts,
    rewards_of,
    success_of,
)
from dexworld.experiments.last_observation import LastObservation
from dexworld.experiments.schema import build, schema
from dexworld.experiments.training import column
from dexworld.experiments.trust import greatest_disagreement
from dexworld.world_models.base import Mapped, WorldModel
from dexworld.world_models.body_frame import SeenFromBody
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.start_states import DatasetStarts
from dexworld.world_models.latent import LatentWorldModel

MEASURED = 1024
"""Starts of which the features' mean and deviation are taken."""


@dataclass
class StartsConfig:
    """Where imagined episodes start, and what their goals are."""

    path: str = MISSING
    """Folder of a dataset; its frames are the starts."""
    goal_after: list[int] | None = field(default_factory=lambda: [25, 25])
    """Fewest and most steps from a start to the frame of its episode that is the goal; null: no
    goals, which is for rewards that need none."""
    replace: bool = True
    """Whether a frame may be drawn again and again; else it is an error when all have been."""


@dataclass
class RewardConfig:
    """What is rewarded: the objective's cost, or what the model predicts."""

    kind: str = "progress"
    """progress (the cost goes down), nearness (the cost is low), or predicted (the environment's
    own, as a model that has learned it says, or the simulator; one that takes several steps at once
    says that of the last)."""
    scale: float = 0.02
    """Reward per unit of the objective's cost."""
    near: float | None = None
    """Cost of which one is close to the goal: what is gained nearer than that counts in full, far
    away less and less (near log(1 + cost / near) goes down); everything counts the same where
    null."""
    success: float = 2.0
    """Reward of success, which ends the episode; it is added to any kind, and 0 adds nothing."""


@dataclass
class AlgorithmConfig:
    """The algorithm of stable-baselines3, unmodified."""

    name: str = "PPO"
    """Its class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Its arguments: algorithm.arguments.gamma=0.95, +algorithm.arguments.ent_coef=0.01, ..."""
    network: list[int] = field(default_factory=lambda: [256, 256])
    """Width of each hidden layer, of the policy and of the values."""
    activation: str = "ReLU"
    """What is between the layers, a class of torch.nn: ReLU, Tanh, SiLU, ..."""
    features: str = "goal"
    """What comes before the first layer: goal (normalised, and how far the goals are), planar (a
    pusher, a body and their goals in the plane, seen from the body), or none, which is for pixels."""
    device: str = "cpu"
    """Where it computes; small networks are fastest on cpu."""


@dataclass
class RoundsConfig:
    """What happens between rounds: the agent plays in the environment, and the model learns from it."""

    episodes: int = 500
    """Episodes that the agent plays between two rounds."""
    noise: float = 0.2
    """Standard deviation of noise on its decisions, as a share of half their range."""
    training_steps: int = 2000
    """Updates of the model, on all data."""
    learning_rate: float = 3e-4
    """Of the model."""
    batch_size: int = 512
    """Windows in a batch of the model's data."""


@dataclass
class TrainAgentConfig:
    """Everything that `dexworld-train-agent` reads."""

    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)  # type: ignore[valid-type]
    agent: AgentConfig = field(default_factory=AgentConfig)
    starts: StartsConfig = field(default_factory=StartsConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    training: schema(ImaginationSettings) = field(  # type: ignore[valid-type]
        default_factory=schema(ImaginationSettings)
    )
    refresh: RoundsConfig = field(default_factory=RoundsConfig)
    copies: int = 1024
    """Copies of the world that the agent acts in at once."""
    observes: list[str] = field(default_factory=lambda: ["agent", "keypoints", "command"])
    """Parts of the model's state that the policy sees, and of its goal."""
    frame: str | None = None
    """Points of a body that decisions are seen from, so that they turn with it, e.g. keypoints; for
    increments in the plane. The world's frame where null."""
    trusted: float | None = None
    """Imagined episodes are cut off where the members of an ensemble disagree more than in so many
    per cent of what is held out of the data, e.g. 95; nowhere where null."""
    episodes: int = 100
    """Episodes of the evaluation at the end."""
    evaluation_episodes: int = 50
    """Episodes of each evaluation on the way."""
    parallel: int = 50
    """Episodes that are played side by side."""
    stage: str = "tune"
    """Which episodes are evaluated; keep `evaluate` for dexworld-plan."""
    name: str = "train_agent"
    """Name of the experiment."""
    seed: int = 0
    """Base of all random streams."""
    resume: str = "auto"
    """auto: go on from a checkpoint in `output` if there is one; never; must."""
    output: str = "outputs/${name}"
    """Folder of the training."""


def register_schemas() -> None:
    """Tell Hydra the schema."""
    ConfigStore.instance().store(name="train_agent_schema", node=TrainAgentConfig)


def plan_config(config: TrainAgentConfig) -> PlanConfig:
    """Return what `dexworld-plan` would read of the same task."""
    return PlanConfig(
        env=config.env,
        model=config.model,
        planner=None,
        objective=config.objective,
        agent=config.agent,
        seed=config.seed,
    )


def settings_of(config: TrainAgentConfig) -> ImaginationSettings:
    """Return the settings of the loop; raise `ValueError` for values that cannot be."""
    settings: ImaginationSettings = build(config.training)
    return settings


class Task:
    """A configured task in a world: its copies to learn in, and episodes to be judged by.

    Args:
        config: all of it.
        model: the world; the configured one where None.
        dataset: where episodes start; the configured one where None.

    Raises:
        ValueError, KeyError, TypeError, OSError: something cannot be, or not together.
    """

    def __init__(
        self,
        config: TrainAgentConfig,
        model: WorldModel | None = None,
        dataset: Path | None = None,
    ) -> None:
        self.config, self.plan = config, plan_config(config)
        self.model = wiring.make_model(self.plan) if model is None else model
        self.action_map = wiring.make_action_map(config.agent, self.model)
        self.mapped: WorldModel = Mapped(self.model, self.action_map)
        if config.frame is not None:
            if config.agent.increment is None:
                raise ValueError(
                    f"frame={config.frame}: places on the board do not turn with a body, changes of "
                    "the command do. Set agent.increment, or frame=null."
                )
            self.mapped = SeenFromBody(self.mapped, config.frame)
        self.dataset = Path(config.starts.path) if dataset is None else dataset
        self.success = self._success()
        self.rewards = self._rewards()

    @property
    def steps_per_decision(self) -> int:
        """Environment steps that a decision lasts."""
        return self.config.agent.steps_per_decision

    @property
    def horizon(self) -> int:
        """Decisions in an episode."""
        return -(-self.config.env.episode_steps // self.steps_per_decision)

    def _success(self) -> Success | None:
        probe = wiring.make_env(self.plan, frozenset())()
        probe.reset(seed=0)
        found = success_of(probe.unwrapped, self.model, self.config.starts.goal_after is None)
        probe.close()
        return found

    def _rewards(self) -> dict[str, Reward]:
        chosen, terms = self.config.reward, vars(self.config.objective).values()
        objective = None
        if any(term is not None for term in terms):
            objective = wiring.make_objective(self.config.objective)
        return rewards_of(
            chosen.kind,
            self.mapped,
            objective,
            chosen.scale,
            chosen.near,
            self.success,
            chosen.success,
        )

    @cached_property
    def starts(self) -> StartStates:
        """What draws starts and goals."""
        ahead = self.config.starts.goal_after
        if ahead is not None and len(ahead) != 2:
            raise ValueError(f"starts.goal_after={ahead}: give fewest and most, two numbers.")
        columns = {key: column(key) for key in sorted(self.model.observes)}
        goal_after = None if ahead is None else (ahead[0], ahead[1])
        starts = DatasetStarts(
            self.dataset, columns, goal_after=goal_after, replace=self.config.starts.replace
        )
        if self.success is None:
            return starts
        return UnsolvedStarts(starts, self.model, self.success)

    @cached_property
    def max_disagreement(self) -> float | None:
        """Disagreement above which the model is not believed."""
        if self.config.trusted is None:
            return None
        if not isinstance(self.model, LatentWorldModel):
            raise TypeError(
                f"trusted={self.config.trusted} is for ensembles, and model.kind="
                f"{self.config.model.kind} is believed everywhere: set trusted=null."
            )
        steps = self.horizon * self.steps_per_decision
        longest = int(Dataset(self.dataset).episodes["length"].max()) - 1
        return greatest_disagreement(
            self.model, self.dataset, self.config.trusted, min(steps, longest)
        )

    def imagined(self, copies: int) -> ImaginationVectorEnv:
        """Return so many copies of the world."""
        return ImaginationVectorEnv(
            self.mapped,
            copies,
            self.starts,
            horizon=self.horizon,
            reward=self.rewards,
            success=self.success,
            observes=self.config.observes,
            max_disagreement=self.max_disagreement,
        )

    def copies(self) -> ImaginationVecEnv:
        """Return the copies as stable-baselines3 takes them."""
        return ImaginationVecEnv(self.imagined(self.config.copies))

    def learner(self) -> Learner:
        """Return the algorithm, and what it remembers of its decisions."""
        chosen = self.config.algorithm
        arguments = dict(chosen.arguments)
        activation = getattr(torch.nn, chosen.activation, None)
        if activation is None:
            raise ValueError(
                f"algorithm.activation={chosen.activation!r}: torch.nn has no such class; choose "
                "ReLU, Tanh or SiLU."
            )
        policy = {"net_arch": list(chosen.network), "activation_fn": activation}
        policy |= self._features()
        arguments["policy_kwargs"] = {**policy, **arguments.get("policy_kwargs", {})}
        attributes = {FRAME: self.config.frame, wiring.DECISIONS: wiring.decisions(self.plan.agent)}
        learner = Learner(chosen.name, arguments, chosen.device, attributes)
        learner.check()
        return learner

    def _features(self) -> dict[str, Any]:
        """Return the arguments of a policy that say what comes before its first layer."""
        kind = self.config.algorithm.features
        if kind == "none":
            return {}
        if kind == "planar":
            return {"features_extractor_class": PlanarFeatures}
        if kind != "goal":
            raise ValueError(f"algorithm.features={kind!r}: choose goal, planar or none.")
        if PIXELS in self.config.observes:
            raise ValueError(
                "algorithm.features=goal normalises numbers, and pixels are observed: set "
                "algorithm.features=none, and stable-baselines3 sees them through its own network."
            )
        seen, _ = self.imagined(MEASURED).reset(seed=self.config.seed)
        return {
            "features_extractor_class": GoalFeatures,
            "features_extractor_kwargs": measured(seen),
        }

    def agent(self, policy: Policy, noise: float = 0.0) -> BeliefPolicy:
        """Return the policy as what acts in the environment."""
        return BeliefPolicy(
            self.model, policy, action_map=self.action_map, noise=noise, seed=self.config.seed
        )

    def judge(
        self, policy: Policy, seeds: list[int]
    ) -> tuple[list[EpisodeResult], dict[str, float]]:
        """Return the policy's real episodes, and what it earned in them and in the model."""
        agent = self.agent(policy)
        make = wiring.make_env(self.plan, agent.observes)
        told = {name: term for name, term in self.rewards.items() if name != PREDICTED}
        chunk = self.model.config.chunk if isinstance(self.model, LatentWorldModel) else 1
        gap = ExploitationGap(
            agent,
            list(told.values()),
            self.success,
            predicted=self.rewards.get(PREDICTED),
            steps=chunk,
        )
        results = run_episodes(
            agent, lambda: LastObservation(make()), seeds, self.config.parallel, [gap]
        )
        return list(results), gap.figures()

    def decisive(self) -> dict[str, Any]:
        """Return what a training depends on, beside its settings, as JSON knows it."""
        config = self.config
        parts = {
            name: asdict(getattr(config, name))
            for name in ("env", "model", "objective", "starts", "reward", "algorithm", "refresh")
        }
        parts["model"].pop("threads")
        return {
            **parts,
            "agent": wiring.decisions(config.agent),
            "copies": config.copies,
            "observes": list(config.observes),
            "frame": config.frame,
            "trusted": config.trusted,
        }


def real_steps(model: WorldModel) -> int | None:
    """Return the environment steps of the data that a model was trained on; None: not recorded."""
    metadata = getattr(model, "metadata", None)
    data = metadata.get("data") if isinstance(metadata, Mapping) else None
    if not isinstance(data, Mapping) or not {"frames", "episodes"} <= set(data):
        return None
    # The last row of an episode is an observation after which nothing was done.
    return int(data["frames"]) - int(data["episodes"])
