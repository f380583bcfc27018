"""A predictor for planar pushing: a point that obeys commands, a rigid body that it pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .layers import FourierFeatures, ResidualMLP
from .points import PointLayout

if TYPE_CHECKING:
    from .predictors import PredictorConfig

_LONGEST = 1.5625  # the longest wave on the pusher's path [normalised units]: 400 px in PushT
_WORLD_OCTAVES = 3  # of the features that tell where in the world the body's points are


class Body(NamedTuple):
    """Where rigid bodies are."""

    origin: Float[Tensor, "rows 1 2"]
    """Mean of the points."""
    axes: Float[Tensor, "rows 2 2"]
    """Directions of the x and of the y axis."""
    points: Float[Tensor, "rows points 2"]
    """Those that they are known by."""


def axes_of(direction: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows 2 2"]:
    """Return the two axes of frames whose x axis points along `direction`, a unit vector."""
    x, y = direction.unbind(-1)
    return torch.unflatten(torch.stack([x, y, -y, x], dim=-1), -1, (2, 2))


def fit_frame(
    points: Float[Tensor, "*rows points 2"], template: Float[Tensor, "points 2"]
) -> tuple[Float[Tensor, "*rows 2"], Float[Tensor, "*rows 2 2"]]:
    """Return origin and axes of the body whose shape is `template`.

    They are those of least squared distance between the points and the turned and moved template,
    whose mean is zero; exact for points of a rigid body.
    """
    origin = points.mean(dim=-2)
    offset = points - origin.unsqueeze(-2)
    # How far the points agree with the template, and with the template turned by a right angle.
    both = axes_of(template).transpose(0, 1)
    agreement = (offset.unsqueeze(-3) * both).sum((-1, -2))
    length = torch.linalg.vector_norm(agreement, dim=-1, keepdim=True).clamp(min=1e-9)
    return origin, axes_of(agreement / length)


def turn(
    vectors: Float[Tensor, "*#rows 2"], axes: Float[Tensor, "*#rows 2 2"]
) -> Float[Tensor, "... 2"]:
    """Return vectors as the world sees them, which are seen from frames with the given axes."""
    # A product and a sum, because a matrix product would lose digits under autocast.
    return (vectors.unsqueeze(-1) * axes).sum(-2)


def turn_back(
    vectors: Float[Tensor, "*#rows 2"], axes: Float[Tensor, "*#rows 2 2"]
) -> Float[Tensor, "... 2"]:
    """Return vectors as they are seen from frames with the given axes."""
    return (vectors.unsqueeze(-2) * axes).sum(-1)


class PlanarContactPredictor(nn.Module):
    """What pushing does, with its two symmetries built in.

    The pusher is a controlled point that nothing deflects: after action `i` of a chunk it is at
    `p + sum_j W_ij (a_j - p)` over past and present commands `a`, whatever the place and the
    direction. The body moves as the pusher's path, seen from the body, makes it: a residual
    perceptron on Fourier features of the path in the body's frame returns the body's displacement
    and turn in that frame. Where the body is in the world is an input too, because of walls.

    Friction holds a body that nothing touches. A perceptron lets it creep, a fraction of a pixel an
    action, and a search finds that and waits for the body to creep to the goal. So motions below
    `config.least_motion` are none, and beyond `config.reach` nothing is computed: in a plan, most
    decisions lead round the body and not against it.

    The first point set is the pusher, one point; the second is the rigid body. Actions are two
    numbers, an affine function of the place that the pusher is commanded to.
    """

    remembers = 1
    template: Tensor

    def __init__(
        self, config: PredictorConfig, layout: PointLayout, latent: int, action: int, chunk: int
    ) -> None:
        super().__init__()
        counts = [each.count for each in layout.sets]
        if len(counts) != 2 or counts[0] != 1 or counts[1] < 2 or action != 2:
            raise ValueError(
                "planar_contact predicts one pusher point and one body of two points or more, "
                f"under actions of 2 numbers; it is given point sets of {counts} points and "
                f"actions of {action} numbers. Choose the predictor residual or transformer."
            )
        self.body = counts[1]
        self.points = 1 + self.body
        self.least_motion = config.least_motion / layout.scale
        self.reach = None if config.reach is None else config.reach / layout.scale
        features = latent - 2 * self.points
        commands = config.history + chunk
        self.response = nn.Parameter(torch.zeros(chunk, commands))
        with torch.no_grad():
            self.response[:, config.history :] = torch.tril(torch.ones(chunk, chunk)) / (2 * chunk)
        self.path = FourierFeatures(_LONGEST, config.octaves)
        self.world = FourierFeatures(2.0 * _WORLD_OCTAVES, _WORLD_OCTAVES + 1)
        coordinates, corners = 2 * (chunk + 1), 2 * self.body
        inputs = coordinates + self.path.size(coordinates) + self.world.size(corners) + 6 + features
        self.network = ResidualMLP(inputs, 3 + features, config.width, config.depth, scale=0.1)
        nn.init.zeros_(self.network.skip.weight)
        nn.init.zeros_(self.network.skip.bias)
        self.register_buffer("template", torch.zeros(self.body, 2))

    def fit(self, points: Float[Tensor, "points 2"]) -> None:
        """Take the body's shape from the normalised points of one frame.

        Its frame has its origin at their mean, and its x axis from the first to the second.
        """
        body = points[1:] - points[1:].mean(0)
        axis = body[1] - body[0]
        self.template.copy_(turn_back(body, axes_of(axis / torch.linalg.vector_norm(axis))))

    def forward(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        chunks: Float[Tensor, "rows horizon chunk action"],
    ) -> Float[Tensor, "rows horizon latent"]:
        """Return the latents after each chunk of actions."""
        newest = latents[:, -1]
        points = torch.unflatten(newest[:, : 2 * self.points], 1, (self.points, 2))
        features = newest[:, 2 * self.points :]
        origin, axes = fit_frame(points[:, 1:], self.template)
        body = Body(origin[:, None], axes, points[:, 1:])
        paths = self._paths(points[:, :1], past, chunks)
        bodies, others = [], []
        for path in paths:
            change = self._change(path, body, features)
            moved = self._moved(body, change)
            if not self.training:
                motion = torch.linalg.vector_norm(moved.points - body.points, dim=-1).mean(1)
                rests = (motion < self.least_motion)[:, None, None]
                pairs = zip(body, moved, strict=True)
                moved = Body(*(torch.where(rests, old, new) for old, new in pairs))
            body, features = moved, features + change[:, 3:]
            bodies.append(body.points)
            others.append(features)
        ends = torch.stack([path[:, -1] for path in paths], dim=1)
        return torch.cat([ends, torch.stack(bodies, 1).flatten(2), torch.stack(others, 1)], dim=2)

    def _paths(
        self,
        pusher: Float[Tensor, "rows 1 2"],
        past: Float[Tensor, "rows history action"],
        chunks: Float[Tensor, "rows horizon chunk action"],
    ) -> list[Float[Tensor, "rows times 2"]]:
        """Return where the pusher is before and after each action of each chunk."""
        commands = torch.cat([past, chunks.flatten(1, 2)], dim=1)
        known = commands.unfold(1, self.response.shape[1], chunks.shape[2])
        drawn = (known.unsqueeze(2) * self.response[:, None]).sum(-1)
        stays = (1.0 - self.response.sum(1))[:, None]
        paths = []
        for towards in drawn.unbind(1):
            path = torch.addcmul(towards, stays, pusher)
            paths.append(torch.cat([pusher, path], dim=1))
            pusher = path[:, -1:]
        return paths

    def _moved(self, body: Body, change: Float[Tensor, "rows change"]) -> Body:
        """Return bodies that were displaced and turned as they see it, their points made rigid."""
        angle = change[:, 2:3]
        cos, sin = angle.cos(), angle.sin()
        local = torch.cat([change[:, :2], cos, sin, -sin, cos], dim=1)
        moved = turn(torch.unflatten(local, 1, (3, 2)), body.axes[:, None])
        origin, axes = body.origin + moved[:, :1], moved[:, 1:]
        return Body(origin, axes, origin + turn(self.template, axes[:, None]))

    def _change(
        self,
        path: Float[Tensor, "rows times 2"],
        body: Body,
        features: Float[Tensor, "rows features"],
    ) -> Float[Tensor, "rows change"]:
        """Return displacement, turn, and change of the features; zero for bodies out of reach."""
        if self.reach is None or self.training:
            return self._pushed(path, body, features)
        far = (path - body.origin).square().sum(-1).amin(1) > self.reach**2  # not where it is NaN
        near = (~far).nonzero().flatten()
        if len(near) == len(path):
            return self._pushed(path, body, features)
        seen_by = Body(*(each[near] for each in body))
        change = self._pushed(path[near], seen_by, features[near])
        return change.new_zeros(len(path), change.shape[1]).index_copy(0, near, change)

    def _pushed(self, path: Tensor, body: Body, features: Tensor) -> Float[Tensor, "rows change"]:
        """Return what the network makes of each path, seen from the body."""
        offset = path - body.origin
        seen = turn_back(offset, body.axes[:, None]).flatten(1)
        inputs = torch.cat(
            [
                5.0 * seen,
                self.path(seen),
                self.world(body.points.flatten(1)),
                2.0 * body.origin[:, 0],
                body.axes[:, 0],
                2.0 * offset[:, 0],
                features,
            ],
            dim=1,
        )
        change: Tensor = self.network(inputs).to(path.dtype)
        return change
