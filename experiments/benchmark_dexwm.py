"""What an iteration of a search in DexWM costs: the public controller's way, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from statistics import median

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor, nn

from dexworld.envs.robots.franka_allegro import ARM_HOME, JOINTS, franka_allegro
from dexworld.experiments.benchmark_push_t import FirstPlans, first_plans
from dexworld.experiments.benchmark_tables import Row
from dexworld.experiments.plain_dexwm import (
    PlainDexWM,
    Search,
    count_operations,
    plain_flops,
    shared_flops,
    vision_transformer_flops,
)
from dexworld.planners.base import Plan
from dexworld.planners.cem import CEM
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.gradient import GradientPlanner
from dexworld.planners.icem import ICEM
from dexworld.planners.objectives import LatentDistance
from dexworld.planners.search import SearchPlanner
from dexworld.world_models.actions import JointsToKeypoints
from dexworld.world_models.base import COMMAND, State
from dexworld.world_models.cameras import Camera
from dexworld.world_models.cdit import CDiTConfig
from dexworld.world_models.dexwm import LATENT, DexWM, DexWMConfig
from dexworld.world_models.dexwm_config import dexwm_size
from dexworld.world_models.hand_keypoints import hand_action, hand_frames
from dexworld.world_models.keypoint_head import KeypointHeadConfig
from dexworld.world_models.kinematic_model import KEYPOINTS
from dexworld.world_models.kinematics import Kinematics

SIZES = CDiTConfig(features=192, patches=64, context=8, width=192, depth=4, heads=6)
GRID, PATCH = (8, 8), 14
HEAD = KeypointHeadConfig(width=48, depth=2, heads=4, resize="none")
ENCODER_DEPTH = 3
"""To the predictor's 4 blocks, as DINOv2-L's 24 are to the 32 of XL."""
SEARCH = Search(candidates=128, horizon=3, seen=1)
ITERATIONS, ELITES = 10, 10
OBJECTIVE = LatentDistance(terminal=0.0, running=1.0, discount=1 / 0.6) + LatentDistance(
    key=KEYPOINTS, weight=1e-3, terminal=0.0, running=1.0, discount=1 / 0.6
)
"""DexWM's: features and keypoints, later decisions counting more."""

TASK = "counter_reach_dexwm"
SOFT = ("objective.hand.key=soft_keypoints",)
"""Keypoints through which gradients flow: all searches have the same objective."""
BASELINE = "CEM"
SEARCHES: dict[str, SearchPlanner] = {
    # That of planner=dexwm, with 48 candidates of its 512.
    BASELINE: CEM(
        3, 10, samples=48, elites=10, kept=0, initial_std=0.4, std_floor=0.0, smoothing=0.0
    ),
    "iCEM": ICEM(3, 12, samples=24, elites=4, decay=1.05, initial_std=0.4, std_floor=0.0),
    "gradient": GradientPlanner(3, 40, restarts=1, learning_rate=0.1, noise=0.0),
    "hybrid": CEMGradient(
        3, 2, samples=4, elites=1, kept=1, refinement_steps=14, initial_std=0.1, std_floor=0.0
    ),
}
"""Gradients within a quarter of the baseline's evaluations, of which a gradient counts as three; samples
within three quarters, so that how many they take to reach its cost can be told. Chosen on 6 to 8 problems
of the stage `tune`."""


def dexwm_search(problems: int = 20, seed: int = 0, stage: str = "evaluate") -> list[Row]:
    """Plan from starts of the reach task towards pictures of its goals, with each search.

    What is drawn follows from the arguments and `SEARCHES` alone: problem `i` is searched with seed
    `i`. Rows are those of `search_rows`.
    """
    task = first_plans(TASK, problems, seed, stage=stage, settings=SOFT)
    plans = {name: _searched(planner, task) for name, planner in SEARCHES.items()}
    return [
        {"search": row["search"], "settings": settings_of(SEARCHES[str(row["search"])]), **row}
        for row in search_rows(plans)
    ]


def search_rows(plans: Mapping[str, Plan]) -> list[Row]:
    """Compare searches with the first one, the baseline.

    Rows give medians over the problems: of the final cost over the baseline's; of the evaluations after
    which the baseline's final cost is reached, infinite where it never is; and of how many times fewer
    these are than those that the baseline made, 0 where it never is. `together` is that times how many
    times fewer operations an evaluation has at XL than in the public controller's way.
    """
    baseline = next(iter(plans.values()))
    goal, made = baseline.cost, baseline.search.evaluations
    _, at_xl = zip(*_operations(SEARCH).values(), strict=True)
    rows: list[Row] = []
    for name, plan in plans.items():
        search = plan.search
        reached = search.best_cost <= goal * (1 + 1e-6)
        at = torch.tensor(search.evaluations_at, dtype=torch.float64)
        needed = torch.where(reached.any(0), at[reached.to(torch.uint8).argmax(0)], torch.inf)
        fewer = median((made / needed).tolist())
        rows.append(
            {
                "search": name,
                "problems": len(goal),
                "evaluations": search.evaluations,
                "cost_over_baseline": median((plan.cost / goal).tolist()),
                "reach_it": f"{int(reached.any(0).sum())} of {len(goal)}",
                "evaluations_to_reach": median(needed.tolist()),
                "times_fewer": fewer,
                "together": fewer * at_xl[0] / at_xl[-1],
                "s_per_plan": search.seconds / len(goal),
            }
        )
    return rows


def settings_of(planner: SearchPlanner) -> str:
    """Return a planner as what is to be written to have it: settings other than its defaults."""
    changed = [
        f"{part.name}={getattr(planner, part.name)}"
        for part in fields(planner)
        if getattr(planner, part.name) != part.default
    ]
    return f"{type(planner).__name__}({', '.join(changed)})"


def _searched(planner: SearchPlanner, task: FirstPlans) -> Plan:
    seeds = torch.arange(len(task.goal["latent"]))
    return planner.plan(task.model, task.objective, task.state, task.goal, seeds=seeds)


def dexwm_speed(rounds: int = 3, search: Search = SEARCH) -> list[Row]:
    """Time an iteration, in turns, on the threads of now (of the command: one); the best counts.

    Rows give seconds, operations by formula and as counted, the operations of the same at XL (512
    candidates, 224 x 392 pixels, DINOv2-L), the largest relative difference of the costs from the
    first row's, and whether the elites are the same.
    """
    bench = _Iteration(search)
    sizes = _operations(search)
    ways: dict[str, Callable[[], Tensor]] = {
        "public controller's way": bench.plain,
        "the same, features kept": bench.plain_with_features,
        "DexWM.rollout": bench.shared,
    }
    counted, costs = {}, {}
    for name, way in ways.items():
        costs[name] = way()
        counted[name] = count_operations(way)
    spent = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            before = time.perf_counter()
            way()
            spent[name] = min(spent[name], time.perf_counter() - before)
    first = next(iter(ways))
    rows: list[Row] = []
    for name in ways:
        small, large = sizes[name]
        elites = [set(each.topk(ELITES, largest=False).indices.tolist()) for each in costs.values()]
        repeats = ITERATIONS if name == "DexWM.rollout" else 1
        rows.append(
            {
                "way": name,
                "seconds_per_iteration": spent[name] / repeats,
                "times_faster": spent[first] * repeats / spent[name],
                "GFLOP": small / 1e9,
                "counted": counted[name] / repeats / 1e9,
                "PFLOP_at_XL": large / 1e15,
                "times_fewer_at_XL": sizes[first][1] / large,
                "largest_difference": float(
                    ((costs[name] - costs[first]) / costs[first]).abs().max()
                ),
                "same_elites": str(all(each == elites[0] for each in elites)),
            }
        )
    return rows


def _operations(search: Search) -> dict[str, tuple[float, float]]:
    """Return operations of an iteration, here and at the paper's size."""
    paper = Search(candidates=512, horizon=3, seen=1)
    found = []
    for sizes, head, tokens, each, depth in (
        (SIZES, HEAD, SIZES.patches, search, ENCODER_DEPTH),
        (dexwm_size("XL"), KeypointHeadConfig(), 256, paper, 24),
    ):
        # Only the large one has a token of its own for the whole image.
        extra = int(depth == 24)
        encoder = vision_transformer_flops(
            sizes.width, depth, sizes.patches + extra, PATCH, ratio=4.0
        )
        found.append(
            (
                plain_flops(sizes, head, tokens, each, encoder),
                plain_flops(sizes, head, tokens, each, 0.0),
                shared_flops(sizes, head, tokens, each, maps=head.maps // 2, iterations=ITERATIONS),
            )
        )
    names = ("public controller's way", "the same, features kept", "DexWM.rollout")
    return dict(zip(names, zip(*found, strict=True), strict=True))


@dataclass
class _Encoder:
    """A vision transformer, which an image encoder is to what follows it."""

    name = "benchmark"
    image_size = (GRID[0] * PATCH, GRID[1] * PATCH)
    grid = GRID
    width = SIZES.width

    def __post_init__(self) -> None:
        layer = nn.TransformerEncoderLayer(
            self.width, SIZES.heads, 4 * self.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.enter = nn.Conv2d(3, self.width, PATCH, PATCH)
        self.blocks = nn.TransformerEncoder(layer, ENCODER_DEPTH, enable_nested_tensor=False).eval()

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Return the features of frames `[R, height, width, 3]`."""
        patches = self.enter(frames.movedim(-1, 1) / 255 - 0.5).flatten(2).transpose(1, 2)
        found: Tensor = self.blocks(patches)
        return found


class _Iteration:
    """The costs of the same candidates, in three ways."""

    def __init__(self, search: Search) -> None:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.encoder = _Encoder()
            self.model = DexWM(
                DexWMConfig(
                    predictor=SIZES,
                    head=HEAD,
                    grid=GRID,
                    patch=PATCH,
                    frames="pixels",
                    least_peak=0.0,  # noise shows no hand
                ),
                self.encoder,
            ).eval()
            for parameter in self.model.parameters():
                if not parameter.any():  # What training begins with, but not what it leaves.
                    nn.init.normal_(parameter, std=0.05)
            frames = torch.rand(2, *self.encoder.image_size, 3) * 255
            noise = torch.randn(search.candidates, search.horizon, len(JOINTS))
        self.seen, self.goal_frame = frames.byte()[:1], frames.byte()[1:]
        self.arm = franka_allegro().compile()
        rest = torch.zeros(len(JOINTS))
        rest[: len(ARM_HOME)] = torch.tensor(ARM_HOME, dtype=torch.float32)
        spread = torch.full((len(JOINTS),), 0.1)
        spread[: len(ARM_HOME)] = 0.3
        self.rest, self.joints = rest, rest + spread * noise
        camera = Camera.from_view(torch.zeros(3), torch.eye(3), 80.0, *self.encoder.image_size)
        kinematics = Kinematics(self.arm, hand_frames(), JOINTS)
        low, high = (each.float().numpy() for each in (kinematics.low, kinematics.high))
        self.map = JointsToKeypoints(Box(low, high), kinematics, camera)
        self.goal = self.model.encode({"pixels": self.goal_frame})

    @torch.no_grad()
    def shared(self) -> Tensor:
        """Return the costs by our way, encoding and all iterations of a plan included."""
        state = self.model.encode({"pixels": self.seen})
        mapped = {**state, COMMAND: self.rest[None]}
        costs = torch.empty(0)
        for _ in range(ITERATIONS):
            moved = self.map.to_model(self.joints[None], mapped)
            predictions = self.model.rollout(state, moved, OBJECTIVE.reads)
            costs = OBJECTIVE.cost(predictions, self.joints[None], state, self.goal)
        return costs[0]

    def plain(self) -> Tensor:
        """Return the costs by the public controller's way."""
        return self._plain(PlainDexWM(self.model, self.encoder.features), self.seen)

    def plain_with_features(self) -> Tensor:
        """Return the costs by the same way, the frames being encoded once."""
        return self._plain(PlainDexWM(self.model), self.encoder.features(self.seen))

    @torch.no_grad()
    def _plain(self, way: PlainDexWM, seen: Tensor) -> Tensor:
        places = torch.from_numpy(self._keypoints())
        moved = hand_action(places.diff(dim=1).float())
        latents, points = way.rollout(seen, moved)
        predictions: State = {
            LATENT: latents[None],
            KEYPOINTS: points[None, :, :, list(self.model.config.maps)],
        }
        return OBJECTIVE.cost(predictions, self.joints[None], predictions, self.goal)[0]

    def _keypoints(self) -> NDArray[np.float64]:
        """Return the keypoints of the start and after each decision, by a new `MjData` for each."""
        joints = np.concatenate(
            [np.broadcast_to(self.rest.numpy(), (len(self.joints), 1, len(JOINTS))), self.joints],
            axis=1,
        )
        found = np.empty((*joints.shape[:2], 21, 3))
        names = hand_frames()
        for candidate, time_ in np.ndindex(joints.shape[:2]):
            data = mujoco.MjData(self.arm)
            data.qpos[:] = joints[candidate, time_]
            mujoco.mj_kinematics(self.arm, data)
            for place, name in enumerate(names):
                site = mujoco.mj_name2id(self.arm, mujoco.mjtObj.mjOBJ_SITE, name)
                found[candidate, time_, place] = (
                    data.site_xpos[site] if site >= 0 else data.body(name).xpos
                )
        return found
