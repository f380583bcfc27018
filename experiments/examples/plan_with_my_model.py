"""Plan with a world model of your own: any class with the attributes and methods below."""

import numpy as np
import torch
from gymnasium.spaces import Box

from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.objectives import LatentDistance


class Pendulum:
    """A differentiable model of a torque-driven pendulum, state `latent` = (angle, velocity)."""

    action_space = Box(-2.0, 2.0, (1,), np.float32)
    observes = predicts = frozenset({"latent"})
    differentiable = True
    device = torch.device("cpu")

    def encode(self, observation, previous=None, actions=None, episode_start=None):
        return {"latent": torch.as_tensor(observation["latent"], dtype=torch.float32)}

    def step(self, state, actions):
        angle, velocity = state["latent"].unbind(-1)
        velocity = velocity + 0.1 * (actions[..., 0] - 3.0 * torch.sin(angle))
        return {"latent": torch.stack([angle + 0.1 * velocity, velocity], -1)}

    def rollout(self, state, actions, keys=None):
        latent = {"latent": state["latent"][:, None].expand(-1, actions.shape[1], -1)}
        motion = []
        for action in actions.unbind(2):
            latent = self.step(latent, action)
            motion.append(latent["latent"])
        return {"latent": torch.stack(motion, 2)}


model = Pendulum()
start, goal = model.encode({"latent": [[0.0, 0.0]]}), model.encode({"latent": [[0.6, 0.0]]})
plan = CEMGradient(horizon=15, samples=64, iterations=8).plan(model, LatentDistance(), start, goal)
assert plan.cost.item() < 1e-2, plan.cost
