"""Plan in an environment of your own: it needs get_state and set_state, nothing else."""

import gymnasium as gym
import numpy as np

from dexworld.agents.planning import PlanningAgent
from dexworld.envs.gymnasium_model import ExactState, GymnasiumModel
from dexworld.planners import CEM, NegativeReward


class Puck(gym.Env):
    """A puck on ice, to be pushed to rest at x = 1."""

    action_space, observation_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(-9, 9, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.set_state(self.np_random.uniform(-0.5, 0.5, 2))
        return np.float32(self.state), {}

    def step(self, action):
        velocity = self.state[1] + 0.3 * float(action[0])
        self.set_state([self.state[0] + 0.2 * velocity, velocity])
        reward = -((self.state[0] - 1.0) ** 2) - 0.1 * velocity**2
        return np.float32(self.state), reward, False, False, {}

    def get_state(self):
        return self.state.copy()

    def set_state(self, state):
        self.state = np.array(state, np.float64)


agent = PlanningAgent(GymnasiumModel(Puck), CEM(8, samples=32, iterations=4), NegativeReward())
env, memory = ExactState(Puck()), None
observation, _ = env.reset(seed=0)
for _ in range(25):
    action, memory = agent.predict({key: value[None] for key, value in observation.items()}, memory)
    observation, reward, *_ = env.step(action[0])
assert reward > -0.01, f"the puck is at {observation}"
