"""The latent world model: observations encoded once, and then predicted action by action."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from .anti_collapse import variance_covariance
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
from .decoder import BroadcastDecoder, DecoderConfig
from .encoders import ENCODERS, EncoderConfig, VectorEncoder
from .layers import ResidualMLP
from .planar_contact import PlanarContactPredictor
from .points import PointLayout
from .predictors import PREDICTORS, PredictorConfig
from .pretrained import Pretrained

LATENT = "latent"
"""Prediction, and key of training frames that a frozen encoder has already encoded."""
DISAGREEMENT = "disagreement"
LATENTS, PAST = "latents", "past_actions"


@dataclass(frozen=True)
class LossConfig:
    """What a latent world model is trained for."""

    horizons: tuple[int, ...] = (1, 5, 10)
    """Frames to predict without looking, one after another in equal parts of the training."""
    latent: float = 1.0
    """Weight of the squared error of predicted features."""
    consistency: float = 0.1
    """Weight of the error of keypoints that predicted and encoded latents give back [1 / label
    unit]. At 0 nothing but their readout learns from labels."""
    variance: float = 1.0
    """Weight of the deviations of features that fall short of 1."""
    covariance: float = 0.04
    """Weight of the covariances between features."""
    picture: float = 1.0
    """Weight of the decoder's error; it teaches nothing but the decoder."""


@dataclass(frozen=True)
class LatentConfig:
    """Everything that a latent world model is made from."""

    observes: dict[str, tuple[int, ...]]
    """Shape of each observation; those of one dimension are flattened."""
    action_low: tuple[float, ...]
    """Least action of the environment."""
    action_high: tuple[float, ...]
    """Greatest action of the environment."""
    chunk: int = 1
    """Environment actions that make up one action of the model."""
    features: int = 16
    """Learned numbers of a latent, beside its points."""
    points: PointLayout = field(default_factory=PointLayout)
    """Keypoints that latents must give back."""
    points_in_latent: bool = True
    """Whether a latent begins with its points, or a readout has to find them in its features."""
    hold_point: str | None = None
    """Point set of one point whose normalised place is the action that keeps still."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    decoder: DecoderConfig | None = None
    """How latents become pictures; not at all where None."""

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.features < 0:
            raise ValueError(
                f"LatentConfig(chunk={self.chunk}, features={self.features}): "
                "chunk must be at least 1 and features at least 0."
            )
        if self.latent_size < 1:
            raise ValueError("LatentConfig: a latent needs features or points.")
        for name, kind, kinds in (
            ("encoder", self.encoder.kind, ENCODERS),
            ("predictor", self.predictor.kind, PREDICTORS),
        ):
            if kind not in kinds:
                raise ValueError(f"LatentConfig({name}.kind={kind!r}): one of {sorted(kinds)}.")
        if self.hold_point is not None:
            self.points.part(self.hold_point)

    @property
    def points_size(self) -> int:
        """Numbers of a latent that are coordinates of points."""
        return 2 * self.points.count if self.points_in_latent else 0

    @property
    def latent_size(self) -> int:
        """Numbers in a latent."""
        return self.points_size + self.features


@dataclass(frozen=True)
class Memory:
    """What a prediction starts from, a row for each candidate."""

    latents: Float[Tensor, "rows remembered latent"]
    """Newest last."""
    past: Float[Tensor, "rows history action"]
    """Environment actions that led there, newest last."""


class LatentWorldModel(Pretrained, nn.Module):
    """Encodes an observation to a latent, and predicts latents under actions.

    A latent is `[points, features]`: normalised coordinates of keypoints, then learned numbers.
    All is trained together: predicted features match encoded ones over several steps, features
    keep their variance, and points, predicted or encoded, are where the labels say (the hand
    consistency of DexWM, section 3, here for whatever has keypoints). Nothing is random.

    With several predictors each goes its own way from the same encoded latent; predictions are
    their mean, and `disagreement` is their variance, averaged over the latent.

    The belief, `encode`, is the encoded latent, the actions of the last steps, and, where the
    predictor remembers latents, the predicted ones of the steps that nothing was seen of.
    """

    config_class: ClassVar[type[Any]] = LatentConfig
    differentiable = True

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        low = np.tile(np.asarray(config.action_low, np.float32), config.chunk)
        high = np.tile(np.asarray(config.action_high, np.float32), config.chunk)
        self.action_space = Box(low, high, dtype=np.float32)
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

    # The protocol

    @property
    def env_action_space(self) -> Box:
        """Bounds of one environment action, of which the model takes `chunk` at once."""
        low, high = (np.asarray(bound, np.float32) for bound in self._bounds)
        return Box(low, high, dtype=np.float32)

    @property
    def observes(self) -> frozenset[str]:
        """Observations that are encoded."""
        return frozenset(self.config.observes)

    @property
    def predicts(self) -> frozenset[str]:
        """`latent`, the point sets, and `disagreement` where there are several predictors."""
        several = {DISAGREEMENT} if len(self.predictors) > 1 else set()
        return frozenset({LATENT, *self.config.points.names, *several})

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
            fresh = self._start(latent, None, None)
            if previous is None or actions is None:
                return self._state(latent, fresh)
            remembered = self._remember(latent, previous, actions)
            if episode_start is not None and bool(episode_start.any()):
                remembered = [
                    Memory(
                        *(
                            torch.where(episode_start[:, None, None], new, old)
                            for new, old in (
                                (fresh[0].latents, each.latents),
                                (fresh[0].past, each.past),
                            )
                        )
                    )
                    for each in remembered
                ]
            return self._state(latent, remembered)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict `[B, N, T, ...]` after each action; gradients flow to the actions."""
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        self._check_state(state)
        wanted = self.predicts if keys is None else frozenset(keys)
        check_keys(wanted, self, "rollout")
        batch, candidates = actions.shape[:2]
        chunks = actions.to(self.device).float().flatten(0, 1).unflatten(2, (self.config.chunk, -1))
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            ways = []
            for predictor, memory in zip(self.predictors, self._memories(state), strict=True):
                memory = Memory(
                    memory.latents.repeat_interleave(candidates, 0),
                    memory.past.repeat_interleave(candidates, 0),
                )
                way = self._roll(predictor, memory, chunks)[0]
                ways.append(way.unflatten(0, (batch, candidates)))
            return self._predictions(torch.stack(ways), wanted)

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one action later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        self._check_state(state)
        chunks = actions.to(self.device).float()[:, None].unflatten(2, (self.config.chunk, -1))
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            memories = [
                self._roll(predictor, memory, chunks)[1]
                for predictor, memory in zip(self.predictors, self._memories(state), strict=True)
            ]
        latents = torch.stack([each.latents[:, -1] for each in memories])
        return self._state(latents, memories)

    # Beliefs

    def _tensors(self, observation: Observation) -> dict[str, Tensor]:
        tensors = {}
        for key, shape in self.config.observes.items():
            tensor = torch.as_tensor(observation[key]).to(self.device)
            flat = len(shape) == 1 and tensor.flatten(1).shape[1] == shape[0]
            if tuple(tensor.shape[1:]) != tuple(shape) and not flat:
                expected = ", ".join(["B", *map(str, shape)])
                raise ValueError(
                    f"observation['{key}'] has shape {tuple(tensor.shape)}; the model was trained "
                    f"on ({expected}). Make the environment with the arguments of its data."
                )
            tensors[key] = tensor
        return tensors

    def _start(self, latent: Tensor, past: Tensor | None, known: Tensor | None) -> list[Memory]:
        """Return memories of an episode that begins with `latent` `[R, D]`.

        Actions that are not known are those that hold still. `past` is `[R, H, A]`, `known` the
        mask `[R, H]` of the actions in it that were really taken.
        """
        history = self.config.predictor.history
        hold = self.hold_action(latent)[:, None].expand(-1, history, -1)
        if past is not None and known is not None:
            hold = torch.where(known[..., None], past, hold)
        return [Memory(latent[:, None].expand(-1, each.remembers, -1), hold) for each in self._each]

    def hold_action(self, latent: Float[Tensor, "rows latent"]) -> Float[Tensor, "rows action"]:
        """Return the environment action that keeps still: that of the hold point, or zero."""
        if self.config.hold_point is None:
            return latent.new_zeros(len(latent), self.action_size)
        place = self.points(latent.detach())[:, self.config.points.part(self.config.hold_point)]
        low, high = (latent.new_tensor(b[: self.action_size]) for b in self._bounds)
        return torch.clamp(place[:, 0], low, high)

    @property
    def _bounds(self) -> tuple[Sequence[float], Sequence[float]]:
        return self.config.action_low, self.config.action_high

    @property
    def _each(self) -> list[Any]:
        return list(self.predictors)

    def _remember(self, latent: Tensor, previous: State, actions: Tensor) -> list[Memory]:
        """Return memories in which `latent` follows `previous` and `actions` `[B, K, A]`."""
        check_actions(actions, self.action_space, dims="BKA", state=previous)
        self._check_state(previous)
        chunks = actions.to(self.device).float().unflatten(2, (self.config.chunk, -1))
        memories = []
        for predictor, memory in zip(self._each, self._memories(previous), strict=True):
            if predictor.remembers > 1:
                memory = self._roll(predictor, memory, chunks)[1]
                older = memory.latents[:, :-1]
                past = memory.past
            else:
                older = memory.latents[:, :0]
                past = torch.cat([memory.past, chunks.flatten(1, 2)], dim=1)
            past = past[:, -self.config.predictor.history :]
            memories.append(Memory(torch.cat([older, latent[:, None]], dim=1), past))
        return memories

    def _memories(self, state: State) -> list[Memory]:
        latents = state[LATENTS].unbind(1)
        return [Memory(each, state[PAST]) for each in latents]

    def _state(self, latent: Tensor, memories: list[Memory]) -> State:
        """Return the state of latents `[R, D]`, or of those of each member `[M, R, D]`."""
        past = memories[0].past
        several = latent if latent.ndim == 3 else latent.expand(len(memories), *latent.shape)
        state = {
            LATENTS: torch.stack([each.latents for each in memories], dim=1),
            PAST: past,
            COMMAND: past[:, -1],
        }
        return {**state, **self._predictions(several, self.predicts)}

    def _check_state(self, state: State) -> None:
        shape = (len(self.predictors), self._each[0].remembers, self.config.latent_size)
        history = (self.config.predictor.history, self.action_size)
        check_state(state, {LATENTS: shape, PAST: history}, self)

    # Predictions

    def _roll(
        self,
        predictor: nn.Module,
        memory: Memory,
        chunks: Float[Tensor, "rows horizon chunk action"],
    ) -> tuple[Float[Tensor, "rows horizon latent"], Memory]:
        """Return the latents after each chunk, and the memory after the last."""
        latents, past = memory.latents, memory.past
        remembered, history = latents.shape[1], past.shape[1]
        way = []
        for chunk in chunks.unbind(1):
            latent = predictor(latents, past, chunk)
            way.append(latent)
            latents = torch.cat([latents[:, 1:], latent[:, None]], dim=1)
            past = torch.cat([past, chunk], dim=1)[:, -history:]
        assert latents.shape[1] == remembered
        return torch.stack(way, dim=1), Memory(latents, past)

    def points(self, latent: Float[Tensor, "*rows latent"]) -> Float[Tensor, "*rows points 2"]:
        """Return the normalised points that latents give back."""
        if self.readout is None:
            flat = latent[..., : self.config.points_size]
        else:
            flat = self.readout(latent).float()
        return flat.unflatten(-1, (-1, 2))

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
        return found

    def pictures(self, latent: Float[Tensor, "*rows latent"]) -> Tensor:
        """Return frames `[..., height, width, 3]`, uint8, of latents.

        Raises:
            ValueError: the model was made without a decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train one with model.decoder={}.")
        with torch.no_grad():
            frames: Tensor = self.decoder(latent.flatten(0, -2)).clamp(-1.0, 1.0)
        return ((frames + 1.0) * 127.5).round().byte().unflatten(0, latent.shape[:-1])

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
        `LossConfig.horizons` says at this stage, `progress` in [0, 1].
        """
        loss = self.config.loss
        stage = min(int(progress * len(loss.horizons)), len(loss.horizons) - 1)
        horizon = min(loss.horizons[stage], windows.actions.shape[1])
        frames = {key: value[:, : horizon + 1] for key, value in windows.frames.items()}
        encoded = self._encode_windows(frames)
        predicted = self.predict_windows(encoded[:, 0], windows, horizon)
        terms: dict[str, Tensor] = {}
        split = self.config.points_size
        if self.config.features:
            features = encoded[..., split:]
            error = predicted[..., split:].float() - features[:, 1:].float()
            terms["latent"] = loss.latent * error.square().mean()
            if LATENT not in frames:
                short, shared = variance_covariance(features.flatten(0, 1))
                terms["variance"] = loss.variance * short
                terms["covariance"] = loss.covariance * shared
        if self.config.points.count and self._labelled(frames):
            terms |= self._consistency(encoded, predicted, frames)
        if self.decoder is not None and "pixels" in frames:
            few = encoded.detach()[: len(encoded) // 4 + 1, -1]
            truth = frames["pixels"][: len(few), -1].float() / 127.5 - 1.0
            terms["picture"] = loss.picture * functional.l1_loss(self.decoder(few), truth)
        return torch.stack(list(terms.values())).sum(), terms

    def _encode_windows(self, frames: Mapping[str, Tensor]) -> Float[Tensor, "batch frames latent"]:
        if LATENT in frames:
            return frames[LATENT].float()
        shape = next(iter(frames.values())).shape[:2]
        flat = {key: frames[key].flatten(0, 1) for key in self.config.observes}
        encoded: Tensor = self.encoder(flat)
        return encoded.unflatten(0, shape)

    def predict_windows(
        self, latent: Float[Tensor, "batch latent"], windows: Windows, horizon: int
    ) -> Float[Tensor, "members batch horizon latent"]:
        """Return what each predictor says of the frames that follow the first one."""
        gap = windows.actions.shape[2]
        if gap % self.config.chunk:
            raise ValueError(
                f"windows whose frames are {gap} steps apart, but the model's actions last "
                f"{self.config.chunk} steps; gaps must be multiples."
            )
        chunks = windows.actions[:, :horizon].flatten(1, 2)
        chunks = chunks.unflatten(1, (-1, self.config.chunk))
        every = gap // self.config.chunk
        memories = self._start(latent, windows.past, windows.past_known)
        return torch.stack(
            [
                self._roll(predictor, memory, chunks)[0][:, every - 1 :: every]
                for predictor, memory in zip(self.predictors, memories, strict=True)
            ]
        )

    def _labelled(self, frames: Mapping[str, Tensor]) -> bool:
        return all(each.label in frames for each in self.config.points.sets)

    def _consistency(
        self, encoded: Tensor, predicted: Tensor, frames: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the terms of the keypoints; without consistency only their readout learns."""
        layout, weight = self.config.points, self.config.loss.consistency
        truth = layout.normalise(frames, rows=2)
        if weight == 0.0:
            if self.readout is None:
                return {}
            return {"readout": 0.1 * layout.loss(self.points(encoded.detach()), truth)}
        later = truth[:, 1:].expand(len(predicted), *truth[:, 1:].shape)
        terms = {"predicted_points": weight * layout.loss(self.points(predicted), later)}
        if LATENT not in frames and not self._copies:
            terms["encoded_points"] = weight * layout.loss(self.points(encoded), truth)
        return terms

    @property
    def _copies(self) -> bool:
        return isinstance(self.encoder, VectorEncoder) and self.encoder.copies
