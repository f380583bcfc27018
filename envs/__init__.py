"""Simulators as Gymnasium environments; importing this registers the ids `dexworld/...`.

Ids: `dexworld/PushT-v0`, `dexworld/PushTGoal-v0`, `dexworld/PushTMulti-v0`,
`dexworld/AllegroReorient-v0`,
`dexworld/CounterReach-v0`, `dexworld/CounterGrasp-v0`, `dexworld/CounterPlace-v0`.
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
register(
    "dexworld/AllegroReorient-v0",
    "dexworld.envs.allegro.env:AllegroReorientEnv",
    max_episode_steps=100,
)
for _task in ("reach", "grasp", "place"):
    register(
        f"dexworld/Counter{_task.capitalize()}-v0",
        "dexworld.envs.counter.env:CounterEnv",
        max_episode_steps=50,
        kwargs={"task": _task},
    )
