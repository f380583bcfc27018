"""What a policy makes of a pusher, a body and their goals in the plane before its first layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gymnasium.spaces import Dict
from jaxtyping import Float
from torch import Tensor, nn

from ..world_models.base import COMMAND, GOAL_PREFIX
from ..world_models.body_frame import direction_of
from ..world_models.layers import FourierFeatures
from ..world_models.planar_contact import axes_of, turn_back

LONGEST = 1.6
"""The longest wave, in normalised units; places further apart than half of it look alike."""
CLOSE = 16.0
"""How much larger differences from the goal are shown a second time, cut off at one."""


class PlanarFeatures(nn.Module):
    """Sees all from the body: pusher, goals and command, wherever the body is and points.

    A features extractor of stable-baselines3. Places are also shown as waves of several lengths,
    without which a perceptron sees corners and contacts only vaguely. Where the body is in the
    world is shown too, because of walls. With decisions that are seen from the body
    (`world_models.body_frame`) what is learned somewhere holds everywhere.

    Args:
        space: observations of the pusher `agent` `(1, 2)`, of the body's points `(K, 2)`, of their
            goals, and perhaps of the last `command` `(2,)`, a place in normalised units.
        body: key of the body's points; the first two say where it points.
        agent: key of the pusher.
        centre: place that is 0 in normalised units.
        scale: distance that is 1 in normalised units.
        octaves: lengths of waves, each half the one before.

    Raises:
        KeyError: something is not observed.
    """

    def __init__(
        self,
        space: Dict,
        body: str = "keypoints",
        agent: str = "agent",
        centre: float = 256.0,
        scale: float = 256.0,
        octaves: int = 4,
    ) -> None:
        super().__init__()
        needed = [agent, body, GOAL_PREFIX + agent, GOAL_PREFIX + body]
        missing = sorted(set(needed) - set(space.spaces))
        if missing:
            raise KeyError(
                f"PlanarFeatures needs {missing}; {sorted(space.spaces)} are observed. Choose "
                "observes=[agent,keypoints,command] and goals, or algorithm.features=goal."
            )
        self.body, self.agent = body, agent
        self.centre, self.scale = centre, scale
        self.commanded = COMMAND in space.spaces
        self.waves = FourierFeatures(LONGEST, octaves)
        zeros = {key: torch.zeros(1, *each.shape or ()) for key, each in space.spaces.items()}
        self.features_dim = self(zeros).shape[1]
        """How many there are; stable-baselines3 asks for it."""

    def forward(self, observations: Mapping[str, Tensor]) -> Float[Tensor, "rows features"]:
        """Return the features of a batch."""
        points = self._places(observations, self.body)
        goals = self._places(observations, GOAL_PREFIX + self.body)
        agent = self._places(observations, self.agent)[:, 0]
        agent_goal = self._places(observations, GOAL_PREFIX + self.agent)[:, 0]
        place, goal_place = points.mean(1), goals.mean(1)
        direction = direction_of(points)

        world = [agent - place, agent_goal - place, goal_place - place]
        world += [goal - place for goal in goals.unbind(1)]
        near = len(world)
        world += [agent_goal - agent, direction_of(goals), 2 * place]
        if self.commanded:
            world.append(observations[COMMAND].float() - agent)
        seen = turn_back(torch.stack(world, dim=1), axes_of(direction).unsqueeze(1))

        places, others = seen[:, :near].flatten(1), seen[:, near:].unbind(1)
        features = [2 * places, self.waves(places), 4 * others[0]]
        features += [torch.clamp(CLOSE * move, -1.0, 1.0) for move in (seen[:, 2], others[0])]
        features += [others[1], 2 * place, direction, others[2]]
        features += [10 * command for command in others[3:]]
        return torch.cat(features, dim=1)

    def _places(self, observations: Mapping[str, Tensor], key: str) -> Tensor:
        flat = observations[key].float().flatten(1)
        return (torch.unflatten(flat, 1, (-1, 2)) - self.centre) / self.scale
