"""Simulators as Gymnasium environments; importing this registers the ids `dexworld/...`.

Ids: `dexworld/PushT-v0`, `dexworld/PushTGoal-v0`, `dexworld/PushTMulti-v0`.
"""

from gymnasium.envs.registration import register

_PUSH_T = "dexworld.envs.push_t.env:PushTEnv"  # imported when the first one is made

register("dexworld/PushT-v0", _PUSH_T, max_episode_steps=300)
register(
    "dexworld/PushTGoal-v0",
    _PUSH_T,
    max_episode_steps=50,
    kwargs={"goal": "trajectory", "goal_in_pixels": False},
)
register("dexworld/PushTMulti-v0", _PUSH_T, max_episode_steps=300, kwargs={"goal": "random"})
