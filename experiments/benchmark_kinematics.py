"""How fast joints become keypoints, and gradients by keypoints gradients by joints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexworld.envs.robots.franka_allegro import JOINTS, franka_allegro
from dexworld.envs.robots.robosuite_assets import robosuite_asset
from dexworld.experiments.benchmark_tables import Row
from dexworld.world_models.hand_keypoints import hand_frames
from dexworld.world_models.kinematics import Kinematics

Array = NDArray[Any]
LOOP = "mj_kinematics loop"


def require_franka() -> None:
    """Raise `ImportError` with what to install if the arm's files are missing."""
    robosuite_asset("robots/panda/robot.xml")


def kinematics_speed(samples: int = 4096, rounds: int = 5) -> dict[str, list[Row]]:
    """Time 21 keypoints of Franka and Allegro (23 joints), in turns; the best round counts.

    Rows give samples per second of CPU time of one thread, the ratio to a loop over one `MjData`,
    and the largest difference from that loop's results. What is slow is timed on fewer samples.
    """
    bench = _Keypoints(samples)
    joints = {str(kind)[6:]: bench.joints.to(kind) for kind in (torch.float32, torch.float64)}
    chain: dict[str, _Way] = {
        f"Kinematics, {name}": _Way(samples, lambda given=given: bench.chain(given))  # type: ignore[misc]
        for name, given in joints.items()
    }
    pull: dict[str, _Way] = {
        f"Kinematics, {name}": _Way(samples, lambda given=given: bench.pull(given))  # type: ignore[misc]
        for name, given in joints.items()
    }
    few = max(1, samples // 32)
    places = {
        LOOP: _Way(samples, lambda: bench.loop(samples)),
        "a fresh MjData for each sample": _Way(few, lambda: bench.fresh(few)),
    }
    gradients = {LOOP + ", mj_jac": _Way(few, lambda: bench.jacobians(few))}
    return {
        "21 keypoints of 23 joints": _rows({**places, **chain}, rounds, "m"),
        "keypoints and a gradient by the joints": _rows({**gradients, **pull}, rounds, "m/rad"),
    }


class _Way:
    """Something to time: `run` returns an array with a row for each of the `samples`."""

    def __init__(self, samples: int, run: Callable[[], Array]) -> None:
        self.samples = samples
        self.run = run


def _rows(ways: Mapping[str, _Way], rounds: int, unit: str) -> list[Row]:
    results = {name: way.run() for name, way in ways.items()}
    spent = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            before = time.process_time()
            way.run()
            spent[name] = min(spent[name], time.process_time() - before)
    speeds = {name: way.samples / spent[name] for name, way in ways.items()}
    first = next(iter(ways))
    rows: list[Row] = []
    for name, found in results.items():
        both = min(len(found), len(results[first]))
        rows.append(
            {
                "way": name,
                "samples_per_s": float(speeds[name]),
                "ratio": float(speeds[name] / speeds[first]),
                f"largest_difference_{unit}": float(
                    np.abs(found[:both] - results[first][:both]).max()
                ),
            }
        )
    return rows


class _Keypoints:
    """The ways from random joint positions to keypoints, and back."""

    def __init__(self, samples: int) -> None:
        self.model = franka_allegro().compile()
        self.data = mujoco.MjData(self.model)
        frames = hand_frames()
        self.kinematics = Kinematics(self.model, frames, JOINTS)
        rng = np.random.default_rng(0)
        low, high = self.model.jnt_range.T
        drawn = rng.uniform(low, high, (samples, self.model.nq)).astype(np.float32)
        self.joints = torch.from_numpy(drawn)
        self.forces = rng.normal(size=(samples, len(frames), 3)).astype(np.float32)
        names = {self.model.site(index).name: index for index in range(self.model.nsite)}
        self.sites = [(place, names[name]) for place, name in enumerate(frames) if name in names]
        self.bodies = [
            (place, self.model.body(name).id)
            for place, name in enumerate(frames)
            if name not in names
        ]

    def chain(self, joints: Tensor) -> Array:
        """Return keypoints by the chain."""
        with torch.no_grad():
            return self.kinematics.positions(joints).numpy()

    def pull(self, joints: Tensor) -> Array:
        """Return the gradients by the chain, forward and backward."""
        joints = joints.detach().requires_grad_()
        keypoints = self.kinematics.positions(joints)
        forces = torch.from_numpy(self.forces).to(keypoints)
        (gradient,) = torch.autograd.grad(keypoints, joints, forces)
        return gradient.numpy()

    def loop(self, samples: int) -> Array:
        """Return keypoints by one `MjData`, whose arrays are copied whole: that is fastest."""
        qpos, xpos, site_xpos = self.data.qpos, self.data.xpos, self.data.site_xpos
        bodies, sites = np.empty((samples, *xpos.shape)), np.empty((samples, *site_xpos.shape))
        for index, joints in enumerate(self.joints[:samples].double().numpy()):
            qpos[:] = joints
            mujoco.mj_kinematics(self.model, self.data)
            bodies[index], sites[index] = xpos, site_xpos
        return self._picked(bodies, sites)

    def fresh(self, samples: int) -> Array:
        """Return keypoints by a new `MjData` for each sample."""
        found = []
        for joints in self.joints[:samples].double().numpy():
            data = mujoco.MjData(self.model)
            data.qpos[:] = joints
            mujoco.mj_kinematics(self.model, data)
            found.append(self._picked(data.xpos[None], data.site_xpos[None]))
        return np.concatenate(found)

    def jacobians(self, samples: int) -> Array:
        """Return the gradients by MuJoCo's Jacobians of all keypoints."""
        data, nv = self.data, self.model.nv
        jacobian, found = np.empty((len(self.kinematics.frames), 3, nv)), np.empty((samples, nv))
        for index, joints in enumerate(self.joints[:samples].double().numpy()):
            data.qpos[:] = joints
            mujoco.mj_kinematics(self.model, data)
            mujoco.mj_comPos(self.model, data)
            for place, site in self.sites:
                mujoco.mj_jacSite(self.model, data, jacobian[place], None, site)
            for place, body in self.bodies:
                mujoco.mj_jacBody(self.model, data, jacobian[place], None, body)
            found[index] = np.einsum("fxj,fx->j", jacobian, self.forces[index])
        return found

    def _picked(self, bodies: Array, sites: Array) -> Array:
        keypoints = np.empty((len(bodies), len(self.kinematics.frames), 3))
        for pairs, found in ((self.sites, sites), (self.bodies, bodies)):
            places, indices = map(list, zip(*pairs, strict=True))
            keypoints[:, places] = found[:, indices]
        return keypoints
