import hashlib

import numpy as np

from dexworld.envs.push_t.scripted_pusher import SCRIPTED_PUSHER_VERSION, ScriptedPusher
from dexworld.envs.push_t.twin import PushTTwin

FINGERPRINT = {1: "af978c"}
"""Of the targets below, by version: a change of the script must come with a new version."""


def drive(seed: int, steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    twin, pusher = PushTTwin(), ScriptedPusher(np.random.default_rng(seed))
    twin.set_task_state(np.array([100.0, 100.0, 256.0, 230.0, 0.5]))
    states, targets = [twin.get_task_state()], []
    for _ in range(steps):
        targets.append(pusher.act(states[-1]))
        twin.step(targets[-1])
        states.append(twin.get_task_state())
    return np.array(states), np.array(targets)


def test_it_moves_the_block_about_in_most_episodes():
    moved = [np.ptp(drive(seed)[0][:, 2:4], axis=0).max() for seed in range(12)]
    assert np.median(moved) > 80.0


def test_targets_stay_on_the_board_and_do_not_jump():
    _, targets = drive(0)
    assert targets.min() >= 24.0
    assert targets.max() <= 488.0
    assert np.linalg.norm(np.diff(targets, axis=0), axis=-1).max() < 28.0 + 30.0


def test_targets_are_exact_as_float32_actions():
    _, targets = drive(1)
    actions = (targets / 256.0 - 1.0).astype(np.float32)
    assert np.array_equal((actions.astype(np.float64) + 1.0) * 256.0, targets)


def test_the_motion_belongs_to_the_version():
    state = np.array([100.0, 100.0, 256.0, 230.0, 0.5])
    pusher = ScriptedPusher(np.random.default_rng(0))
    targets = np.rint([pusher.act(state) for _ in range(200)]).astype(np.int64)
    digest = hashlib.sha256(targets.tobytes()).hexdigest()[:6]
    assert digest == FINGERPRINT[SCRIPTED_PUSHER_VERSION]
