import numpy as np

from dexworld.envs.control import interpolated

START = np.array([[0.1, 0.2], [-0.3, 0.7]])
COMMANDS = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 3, 2))


def test_targets_move_in_equal_steps_and_end_exactly_on_the_command():
    targets = interpolated(COMMANDS, START, 4).reshape(2, 3, 4, 2)
    np.testing.assert_array_equal(targets[:, :, -1], COMMANDS)
    way = np.concatenate([START[:, None], COMMANDS], axis=1)
    steps = np.diff(np.concatenate([START[:, None], targets.reshape(2, 12, 2)], axis=1), axis=1)
    np.testing.assert_allclose(steps, np.repeat(np.diff(way, axis=1) / 4, 4, axis=1), atol=1e-15)


def test_commands_one_by_one_give_the_same_targets_to_the_last_bit():
    together = interpolated(COMMANDS, START, 7)
    at, parts = START, []
    for command in COMMANDS.swapaxes(0, 1):
        parts.append(interpolated(command[:, None], at, 7))
        at = parts[-1][:, -1]
    np.testing.assert_array_equal(together, np.concatenate(parts, axis=1))
