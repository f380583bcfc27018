"""Many control sequences through one MuJoCo model, in C, on all cores, exactly as `mj_step`.

Three traps lie between `mujoco.rollout` and an environment's states: it takes the full physics
state and not the integration state, the solver's warm start is a separate argument, and sensor
rows lag one physics step behind state rows. This file is where they are dealt with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import mujoco
import numpy as np
from mujoco import rollout as mujoco_rollout
from numpy.typing import NDArray

from .mujoco_env import EXACT, FloatArray, state_slices

_BIT = mujoco.mjtState
_SET_ASIDE = (
    _BIT.mjSTATE_QFRC_APPLIED,
    _BIT.mjSTATE_XFRC_APPLIED,
    _BIT.mjSTATE_EQ_ACTIVE,
    _BIT.mjSTATE_MOCAP_POS,
    _BIT.mjSTATE_MOCAP_QUAT,
    _BIT.mjSTATE_USERDATA,
)
"""Inputs that a rollout resets to the model's defaults unless they are passed as controls."""


class RolloutResult(NamedTuple):
    """What the physics did, at the end of every control period."""

    physics: FloatArray
    """Full physics states `(M, T, F)`, MuJoCo's order: time, positions, velocities, activations."""
    sensors: FloatArray
    """Sensor readings `(M, T, nsensordata)` of those same states; forces, accelerations and
    touch, which depend on the controls, are those at the beginning of the next control period."""


class Rollout:
    """Rolls control sequences out from exact states with a pool of threads.

    Rows may be of different `models`, one each, as long as these have the sizes of `model`.

    `threads` defaults to the cores this process may use. The states of one trajectory do not
    depend on the others, nor on the number of threads. A trajectory that diverges (MuJoCo warns),
    or meets a control or a state that is not finite, is NaN from there on, whichever way it is
    computed, so that no search takes it for a good one.
    """

    def __init__(self, model: mujoco.MjModel, threads: int | None = None) -> None:
        self.threads = len(os.sched_getaffinity(0)) if threads is None else threads
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}.")
        self.model = model
        self._data = [mujoco.MjData(model) for _ in range(self.threads)]
        self._pool = mujoco_rollout.Rollout(nthread=self.threads if self.threads > 1 else 0)
        self._workers = ThreadPoolExecutor(self.threads)  # starts a thread when it has work for it
        self._slices = state_slices(model)
        self._default = np.empty(mujoco.mj_stateSize(model, EXACT))
        mujoco.mj_getState(model, mujoco.MjData(model), self._default, EXACT)

    def __call__(
        self,
        physics: FloatArray,
        controls: FloatArray,
        substeps: int,
        models: Sequence[mujoco.MjModel] | None = None,
    ) -> RolloutResult:
        """Apply `controls` `(M, T * substeps, nu)` from exact states `(M, P)`."""
        steps = controls.shape[1]
        finite = _finite(physics, controls)
        if not finite.all():
            physics, controls = self._harmless(physics, controls, finite)
        spec, inputs = self._inputs(physics, controls)
        states, sensors = self._pool.rollout(
            self._models(models),
            self._data,
            self._part(physics, _BIT.mjSTATE_FULLPHYSICS),
            # Sensor row i shows the state before step i: one more step reveals the last state's.
            np.concatenate([inputs, inputs[:, -1:]], axis=1),
            control_spec=spec,
            initial_warmstart=self._part(physics, _BIT.mjSTATE_WARMSTART),
            skip_checks=False,
        )
        # After a warning of MuJoCo (a divergence) the rest of a trajectory is filled up: time stops.
        elapsed = states[:, substeps : steps + 1 : substeps, 0] - physics[:, :1]
        due = self.model.opt.timestep * np.arange(substeps + 1, steps + 2, substeps)
        failed = elapsed < due - 0.5 * self.model.opt.timestep
        failed = (failed | ~finite[:, substeps - 1 : steps : substeps])[..., None]
        return RolloutResult(
            np.where(failed, np.nan, states[:, substeps - 1 : steps : substeps]),
            np.where(failed, np.nan, sensors[:, substeps : steps + 1 : substeps]),
        )

    def sensors(
        self, physics: FloatArray, models: Sequence[mujoco.MjModel] | None = None
    ) -> FloatArray:
        """Return the sensor readings `(M, nsensordata)` of exact states `(M, P)`."""
        finite = np.isfinite(physics).all(axis=1, keepdims=True)
        physics = np.where(finite, physics, self._default)
        spec, inputs = self._inputs(physics, self._part(physics, _BIT.mjSTATE_CTRL)[:, None])
        _, sensors = self._pool.rollout(
            self._models(models),
            self._data,
            self._part(physics, _BIT.mjSTATE_FULLPHYSICS),
            inputs,
            control_spec=spec,
            initial_warmstart=self._part(physics, _BIT.mjSTATE_WARMSTART),
        )
        return np.where(finite, sensors[:, 0], np.nan)

    def advance(
        self,
        physics: FloatArray,
        controls: FloatArray,
        models: Sequence[mujoco.MjModel] | None = None,
    ) -> FloatArray:
        """Return the exact states `(M, P)` after `controls` `(M, S, nu)`, warm start included.

        `mujoco.rollout` does not give the warm start back, so each row is stepped on its own; the
        rows are shared among the threads, which run in parallel because `mj_step` frees the GIL.
        """
        result = np.full_like(physics, np.nan)
        finite = _finite(physics, controls).all(axis=1)
        parts = np.array_split(np.flatnonzero(finite), max(1, min(self.threads, finite.sum())))

        def run(data: mujoco.MjData, rows: NDArray[np.intp]) -> None:
            for row in rows.tolist():
                model = self.model if models is None else models[row]
                mujoco.mj_setState(model, data, physics[row], EXACT)
                data.warning.number[:] = 0
                for control in controls[row]:
                    data.ctrl[:] = control
                    mujoco.mj_step(model, data)
                if not data.warning.number.any():
                    mujoco.mj_getState(model, data, result[row], EXACT)

        if len(parts) == 1:
            run(self._data[0], parts[0])
        else:
            list(self._workers.map(run, self._data, parts))
        return result

    def slice(self, component: mujoco.mjtState) -> slice:
        """Return where one component (`mjSTATE_QPOS`, ...) stands in an exact state."""
        return self._slices[int(component)]

    def close(self) -> None:
        """End the threads."""
        self._pool.close()
        self._workers.shutdown()

    def _models(
        self, models: Sequence[mujoco.MjModel] | None
    ) -> mujoco.MjModel | list[mujoco.MjModel]:
        return self.model if models is None else list(models)

    def _harmless(
        self, physics: FloatArray, controls: FloatArray, finite: NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray]:
        """Return states and controls with something finite to step through where there is nothing.

        MuJoCo would do the same, by a reset or by zeros, and write a log file about it.
        """
        known = np.isfinite(physics).all(axis=1, keepdims=True)
        physics = np.where(known, physics, self._default)
        return physics, np.where(finite[..., None], controls, 0.0)

    def _part(self, physics: FloatArray, component: mujoco.mjtState) -> FloatArray:
        wanted = [part for bit, part in self._slices.items() if bit & int(component)]
        if len(wanted) == 1:
            return physics[:, wanted[0]]
        return np.concatenate([physics[:, part] for part in wanted], axis=1)

    def _inputs(self, physics: FloatArray, controls: FloatArray) -> tuple[int, FloatArray]:
        """Return the controls, followed by the inputs that differ from the model's defaults."""
        spec, columns = int(_BIT.mjSTATE_CTRL), [controls]
        for component in _SET_ASIDE:
            part = self._slices.get(int(component))
            if part is None or np.array_equal(
                physics[:, part], np.broadcast_to(self._default[part], physics[:, part].shape)
            ):
                continue
            spec |= int(component)
            columns.append(np.repeat(physics[:, None, part], controls.shape[1], axis=1))
        return spec, np.concatenate(columns, axis=2) if len(columns) > 1 else controls


def _finite(physics: FloatArray, controls: FloatArray) -> NDArray[np.bool_]:
    """Return `(M, S)`: whether a state and its controls up to each of `S` steps are all finite."""
    if np.isfinite(controls).all() and np.isfinite(physics).all():
        return np.ones(controls.shape[:2], np.bool_)
    finite = np.isfinite(controls).all(axis=2) & np.isfinite(physics).all(axis=1)[:, None]
    return np.logical_and.accumulate(finite, axis=1)
