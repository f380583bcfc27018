"""A predictor for planar pushing: a point that obeys commands, a rigid body that it pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from .layers import FourierFeatures, ResidualMLP
from .points import PointLayout

if TYPE_CHECKING:
    from .predictors import PredictorConfig

_LONGEST = 1.5625  # the longest wave on the pusher's path [normalised units]: 400 px in PushT
_WORLD_OCTAVES = 3  # of the features that tell where in the world the body's points are


def as_complex(points: Float[Tensor, "*rows 2"]) -> Complex[Tensor, "*rows"]:
    """Return places or movements in the plane as complex numbers, which turn by multiplication."""
    points = points.to(torch.promote_types(points.dtype, torch.float32))  # no complex bfloat16
    return torch.complex(points[..., 0], points[..., 1])


def as_numbers(places: Complex[Tensor, "*rows points"]) -> Float[Tensor, "*rows coordinates"]:
    """Return places as coordinates `x, y, x, y, ...`."""
    return as_vectors(places).flatten(-2)


def as_vectors(places: Complex[Tensor, "*rows"]) -> Float[Tensor, "*rows 2"]:
    """Return places or movements as `x, y`."""
    # No view, whose gradients would have to lie at even addresses.
    return torch.stack([places.real, places.imag], dim=-1)


def fit_frame(
    points: Complex[Tensor, "*rows points"], template: Complex[Tensor, " points"]
) -> tuple[Complex[Tensor, "*rows 1"], Complex[Tensor, "*rows 1"]]:
    """Return origin and direction `cos + i sin` of the body whose shape is `template`.

    They are those of least squared distance between the points and the turned and moved template,
    whose mean is zero; exact for points of a rigid body.
    """
    origin = points.mean(dim=-1, keepdim=True)
    along = ((points - origin) * template.conj()).sum(-1, keepdim=True)
    return origin, along / along.abs().clamp(min=1e-9)


def turn(
    vectors: Float[Tensor, "*rows 2"], direction: Float[Tensor, "*#rows 2"]
) -> Float[Tensor, "*rows 2"]:
    """Return vectors turned by the angle whose cosine and sine are `direction`."""
    return as_vectors(as_complex(vectors) * as_complex(direction))


def turn_back(
    vectors: Float[Tensor, "*rows 2"], direction: Float[Tensor, "*#rows 2"]
) -> Float[Tensor, "*rows 2"]:
    """Return vectors turned by minus that angle."""
    return as_vectors(as_complex(vectors) * as_complex(direction).conj())


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
        self.template.copy_(turn_back(body, axis / torch.linalg.vector_norm(axis)))

    def forward(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        actions: Float[Tensor, "rows chunk action"],
    ) -> Float[Tensor, "rows latent"]:
        """Return the latents after `actions`."""
        newest = latents[:, -1]
        places, features = newest[:, : 2 * self.points], newest[:, 2 * self.points :]
        points = as_complex(torch.unflatten(places, 1, (self.points, 2)))
        pusher, body = points[:, :1], points[:, 1:]
        commands = as_complex(torch.cat([past, actions], dim=1))
        # A product and a sum, because a matrix product would lose digits under autocast.
        way = (self.response * (commands - pusher)[:, None]).sum(2)
        path = torch.cat([pusher, pusher + way], dim=1)
        template = as_complex(self.template)
        origin, direction = fit_frame(body, template)
        change = self._change(path, origin, direction, body, features)
        origin = origin + direction * torch.complex(change[:, :1], change[:, 1:2])
        angle = change[:, 2:3]
        moved = origin + direction * torch.complex(angle.cos(), angle.sin()) * template
        if not self.training:
            rests = (moved - body).abs().mean(1, keepdim=True) < self.least_motion
            moved = torch.where(rests, body, moved)
        points = as_numbers(torch.cat([path[:, -1:], moved], dim=1))
        return torch.cat([points, features + change[:, 3:]], dim=1)

    def _change(
        self,
        path: Complex[Tensor, "rows times"],
        origin: Complex[Tensor, "rows 1"],
        direction: Complex[Tensor, "rows 1"],
        body: Complex[Tensor, "rows points"],
        features: Float[Tensor, "rows features"],
    ) -> Float[Tensor, "rows change"]:
        """Return displacement, turn, and change of the features; zero for bodies out of reach."""
        rows, offset, near = len(path), path - origin, None
        if self.reach is not None and not self.training:
            far = offset.abs().amin(1) > self.reach  # not where it is NaN
            near = (~far).nonzero().flatten()
            seen_by = (offset, origin, direction, body, features)
            offset, origin, direction, body, features = (each[near] for each in seen_by)
        seen = as_numbers(offset * direction.conj())
        inputs = torch.cat(
            [
                5.0 * seen,
                self.path(seen),
                self.world(as_numbers(body)),
                2.0 * as_numbers(origin),
                as_numbers(direction),
                2.0 * as_numbers(offset[:, :1]),
                features,
            ],
            dim=1,
        )
        change: Tensor = self.network(inputs).to(seen.dtype)
        if near is None:
            return change
        return change.new_zeros(rows, change.shape[1]).index_copy(0, near, change)
