"""The latent world model: observations encoded once, and then predicted action by action."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .base import (
    COMMAND,
    ROLLOUT,
    STEP,
    Observation,
    State,
    check_actions,
    check_keys,
    check_observation,
    check_state,
)
from .data.windows import Windows
from .decoder import BroadcastDecoder
from .encoders import ENCODERS, VectorEncoder
from .heads import REWARD, VALUE, Heads
from .latent_config import DISAGREEMENT, LATENT, LATENTS, PAST, LatentConfig
from .latent_training import predict_windows, training_loss
from .layers import ResidualMLP
from .memory import Memory
from .planar_contact import PlanarContactPredictor
from .predictors import PREDICTORS
from .pretrained import Pretrained

__all__ = ["DISAGREEMENT", "LATENT", "LatentConfig", "LatentWorldModel"]


class LatentWorldModel(Pretrained, nn.Module):
    """Encodes an observation to a latent, and predicts latents under actions.

    A latent is `[points, features]`: normalised coordinates of keypoints, then learned numbers.
    All is trained together: predicted features match encoded ones over several steps, features
    keep their variance, and points, predicted or encoded, are where the labels say (the hand
    consistency of DexWM, section 3, here for whatever has keypoints). Nothing is random.

    With several predictors each goes its own way from the same encoded latent; predictions are
    their mean, and `disagreement` is their variance, averaged over the latent.

    The belief, `encode`, is the encoded latent, the actions of the last steps, and, where the
    predictor remembers latents, the predicted ones of the steps that nothing was seen of. An
    episode begins at rest: its past is the action that keeps still, and its latents are the first.
    """

    config_class: ClassVar[type[Any]] = LatentConfig
    differentiable = True

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.action_space = _box(config, config.chunk)
        self.action_size = len(config.action_low)
        points = config.points.count if config.points_in_latent else 0
        self.encoder = ENCODERS[config.encoder.kind](
            config.encoder, config.observes, config.points, points, config.features
        )
        self.predictors = nn.ModuleList(
            PREDICTORS[config.predictor.kind](
                config.predictor,
                config.points,
                config.latent_size,
                self.action_size,
                config.chunk,
            )
            for _ in range(config.predictor.members)
        )
        reads = config.points.count > 0 and not config.points_in_latent
        self.readout = (
            ResidualMLP(config.latent_size, 2 * config.points.count, 128, 1) if reads else None
        )
        self.decoder = (
            BroadcastDecoder(config.decoder, config.latent_size) if config.decoder else None
        )
        self.heads = Heads(config.heads, config.latent_size) if config.heads else None

    # The protocol

    @property
    def env_action_space(self) -> Box:
        """Bounds of one environment action, of which the model takes `chunk` at once."""
        return _box(self.config, 1)

    @property
    def observes(self) -> frozenset[str]:
        """Observations that are encoded."""
        return frozenset(self.config.observes)

    @property
    def predicts(self) -> frozenset[str]:
        """`latent`, the point sets, `disagreement` where there are several predictors, and
        `reward` and `value` where there are heads.
        """
        several = {DISAGREEMENT} if len(self.predictors) > 1 else set()
        worth = set() if self.heads is None else {REWARD, VALUE}
        return frozenset({LATENT, *self.config.points.names, *several, *worth})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Return the belief after `observation`: what was remembered, and what is seen.

        Raises:
            KeyError: the observation lacks a key that the model observes.
            ValueError: one has another shape.
        """
        check_observation(observation, self)
        with torch.no_grad():
            latent = self.encoder(self._tensors(observation))
            memories = fresh = self._start(latent)
            if previous is not None and actions is not None:
                memories = self._remember(latent, previous, actions)
                if episode_start is not None:
                    rows = episode_start.to(self.device)
                    pairs = zip(memories, fresh, strict=True)
                    memories = [seen.forget(rows, new) for seen, new in pairs]
            return self._state(latent.expand(len(memories), *latent.shape), memories)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict `[B, N, T, ...]` after each action; gradients flow to the actions."""
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        wanted = self.predicts if keys is None else frozenset(keys)
        check_keys(wanted, self, "rollout")
        memories, (batch, candidates) = self._memories(state), actions.shape[:2]
        chunks = self._chunks(actions.flatten(0, 1), state)
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            ways = [
                memory.repeat(candidates).roll(predictor, chunks)[0]
                for predictor, memory in zip(self.predictors, memories, strict=True)
            ]
            latents = torch.unflatten(torch.stack(ways), 1, (batch, candidates))
            return self._predictions(latents, wanted)

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one action later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        memories, chunks = self._memories(state), self._chunks(actions[:, None], state)
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            later = [
                memory.roll(predictor, chunks)[1]
                for predictor, memory in zip(self.predictors, memories, strict=True)
            ]
            return self._state(torch.stack([each.latents[:, -1] for each in later]), later)

    # Beliefs

    def _tensors(self, observation: Observation) -> dict[str, Tensor]:
        tensors = {}
        for key, shape in self.config.observes.items():
            tensor = torch.as_tensor(observation[key]).to(self.device)
            flat = len(shape) == 1 and tensor.numel() == len(tensor) * shape[0]
            if tuple(tensor.shape[1:]) != tuple(shape) and not flat:
                expected = ", ".join(["B", *map(str, shape)])
                raise ValueError(
                    f"observation['{key}'] has shape {tuple(tensor.shape)}; the model was trained "
                    f"on ({expected}). Make the environment with the arguments of its data."
                )
            tensors[key] = tensor.reshape(len(tensor), *shape)
        return tensors

    def _start(
        self, latent: Tensor, past: Tensor | None = None, known: Tensor | None = None
    ) -> list[Memory]:
        """Return memories of an episode that begins with `latent` `[R, D]`.

        Actions that are not known are those that hold still. `past` is `[R, H, A]`, `known` the
        mask `[R, H]` of the actions in it that were really taken.
        """
        hold = self.hold_action(latent)[:, None].repeat(1, self.config.predictor.history, 1)
        if past is not None and known is not None:
            hold = torch.where(known[..., None], past, hold)
        return [
            Memory(latent[:, None].expand(-1, predictor.remembers, -1), hold)
            for predictor in self._each
        ]

    @torch.no_grad()
    def hold_action(self, latent: Float[Tensor, "rows latent"]) -> Float[Tensor, "rows action"]:
        """Return the environment action that keeps still: that of the hold point, or zero."""
        low, high = map(latent.new_tensor, (self.config.action_low, self.config.action_high))
        if self.config.hold_point is None:
            return latent.new_zeros(len(latent), self.action_size).clamp(low, high)
        place = self.points(latent)[:, self.config.points.part(self.config.hold_point)]
        return torch.clamp(place[:, 0], low, high)

    @property
    def _each(self) -> list[Any]:
        return list(self.predictors)

    def _remember(self, latent: Tensor, previous: State, actions: Tensor) -> list[Memory]:
        """Return memories in which `latent` follows `previous` and `actions` `[B, K, A]`."""
        check_actions(actions, self.action_space, dims="BKA", state=previous)
        memories, chunks = self._memories(previous), self._chunks(actions, previous)
        return [
            memory.see(predictor, chunks, latent)
            for predictor, memory in zip(self.predictors, memories, strict=True)
        ]

    def _chunks(self, actions: Tensor, state: State) -> Tensor:
        """Return the model's actions `[R, T, A]` as environment actions `[R, T, chunk, A]`."""
        actions = actions.to(state[LATENTS])  # in their type, on their device
        # One number that is not finite spoils all, whichever of them a predictor looks at.
        broken = ~actions.isfinite().all(dim=2, keepdim=True)
        chunks = actions.masked_fill(broken, torch.nan)
        return torch.unflatten(chunks, 2, (self.config.chunk, -1))

    def _memories(self, state: State) -> list[Memory]:
        shape = (len(self.predictors), self._each[0].remembers, self.config.latent_size)
        history = (self.config.predictor.history, self.action_size)
        check_state(state, {LATENTS: shape, PAST: history}, self)
        return [Memory(latents, state[PAST]) for latents in state[LATENTS].unbind(1)]

    def _state(
        self, latents: Float[Tensor, "members batch latent"], memories: list[Memory]
    ) -> State:
        past = memories[0].past
        return {
            LATENTS: torch.stack([each.latents for each in memories], dim=1),
            PAST: past,
            COMMAND: past[:, -1],
            **self._predictions(latents, self.predicts),
        }

    # Predictions

    def points(self, latent: Float[Tensor, "*rows latent"]) -> Float[Tensor, "*rows points 2"]:
        """Return the normalised points that latents give back."""
        if self.readout is None:
            flat = latent[..., : self.config.points_size]
        else:
            flat = self.readout(latent).to(latent.dtype)
        return torch.unflatten(flat, -1, (-1, 2))

    def _predictions(
        self, latents: Float[Tensor, "members *rows latent"], keys: Collection[str]
    ) -> dict[str, Tensor]:
        """Return what latents `[M, ..., D]` predict."""
        found: dict[str, Tensor] = {}
        if LATENT in keys:
            found[LATENT] = latents.mean(0)
        if DISAGREEMENT in keys:
            found[DISAGREEMENT] = latents.var(0, unbiased=False).mean(-1)
        names = set(self.config.points.names) & set(keys)
        if names:
            points = self.config.points.split(self.points(latents).mean(0))
            found.update({name: points[name] for name in names})
        if self.heads is not None:
            worth = self.heads(latents, keys)
            found.update({name: numbers.mean(0) for name, numbers in worth.items()})
        return found

    def pictures(self, latent: Float[Tensor, "*rows latent"]) -> Tensor:
        """Return frames `[..., height, width, 3]`, uint8, of latents.

        Raises:
            ValueError: the model was made without a decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train one with model.decoder={}.")
        with torch.no_grad():
            frames: Tensor = self.decoder(latent.reshape(-1, latent.shape[-1])).clamp(-1.0, 1.0)
        return (
            ((frames + 1.0) * 127.5).round().byte().reshape(*latent.shape[:-1], *frames.shape[1:])
        )

    # Training

    def fit(self, observations: Mapping[str, Tensor]) -> None:
        """Take from observations `[F, ...]` what is measured and not learned.

        That is the normalisation of observed numbers and the shape of a rigid body.
        """
        if isinstance(self.encoder, VectorEncoder):
            self.encoder.fit(observations)
        for predictor in self.predictors:
            if isinstance(predictor, PlanarContactPredictor):
                predictor.fit(self.config.points.normalise(observations, rows=1)[0])

    def training_loss(
        self, windows: Windows, progress: float
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the loss of windows, and its terms.

        The first frame is encoded, and as many of the others are predicted from it as
        `LossConfig.horizon` says of `progress`, in [0, 1]. Windows hold the frames that are
        observed or, where the encoder is frozen, `latent`; and the labels of points.

        Raises:
            KeyError: they lack a label.
            ValueError: they are too short, or do not fit the model's actions.
        """
        return training_loss(self, windows, progress)

    def predict_windows(
        self, latent: Float[Tensor, "batch latent"], windows: Windows, horizon: int
    ) -> Float[Tensor, "members batch horizon latent"]:
        """Return what each predictor says of the frames that follow the first one.

        Raises:
            ValueError: the windows do not fit the model's actions, or its memory of them.
        """
        return predict_windows(self, latent, windows, horizon)

    def belief(self, latent: Float[Tensor, "batch latent"], windows: Windows) -> State:
        """Return the state at the first frame of windows, whose latent is known."""
        memories = self.memories_of(latent, windows)
        return self._state(latent.expand(len(memories), *latent.shape), memories)

    def memories_of(self, latent: Float[Tensor, "batch latent"], windows: Windows) -> list[Memory]:
        """Return what each predictor remembers at the first frame of windows.

        Raises:
            ValueError: the windows hold another number of past actions.
        """
        past, history = windows.past.shape[1], self.config.predictor.history
        if past != history:
            raise ValueError(
                f"windows that hold {past} past actions, but the model remembers {history}: draw "
                f"them with WindowSettings(past={history})."
            )
        return self._start(latent, windows.past, windows.past_known)


def _box(config: LatentConfig, chunk: int) -> Box:
    """Return the bounds of so many environment actions in a row."""
    low, high = (
        np.tile(np.asarray(bound, np.float32), chunk)
        for bound in (config.action_low, config.action_high)
    )
    return Box(low, high, dtype=np.float32)
