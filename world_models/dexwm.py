"""DexWM: a world model of frozen visual features that moves with the keypoints of hands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
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
from .cdit import CDiT
from .cdit_rollout import Context, closed_loop
from .dexwm_config import DexWMConfig
from .frame_encoder import FrameEncoder
from .heatmaps import confidence, hard_argmax, soft_argmax
from .keypoint_head import KeypointHead
from .kinematic_model import JOINTS, KEYPOINTS, PALM, quaternion_of
from .kinematics import Kinematics
from .observation_warnings import ObservationWarnings
from .pretrained import Pretrained
from .shared_attention import copies

__all__ = ["DexWM", "DexWMConfig"]

LATENT, SOFT_KEYPOINTS = "latent", "soft_keypoints"
FRAMES, INTO = "frames", "into"
"""State keys: features of the context's frames `[B, C, P, E]`, actions into them `[B, C, A]`."""


class DexWM(Pretrained, nn.Module):
    """Predicts the patch features of frames from those seen, and how the keypoints of hands move.

    The belief is a context of frames, the first one repeated where there were fewer, and of the
    actions that led into them. `rollout` predicts frame after frame; what all candidates share, the
    keys and values of frames that were seen, is computed once for a belief, and only the tokens of
    the newest frame run through the blocks.

    It predicts `latent` `[P, E]`; with a head `keypoints`, pixels `[6, 2]` of wrist and fingertips of
    the hand that acts, where heatmaps are highest, and `soft_keypoints`, through which gradients
    flow; and `joints` where actions say the joint targets, with the pose of the `palm` there where
    kinematics are attached.

    Args:
        config: Sizes, and what is observed.
        encoder: Gives the features of frames, by the name that the configuration remembers. It is
            no part of the model: neither trained nor saved with it, but moved to its device. Without
            one the model observes features, `[B, P, E]`, in the place of frames.

    Raises:
        ValueError: The encoder does not fit.

    Source: Goswami et al. 2025, "World Models Can Leverage Human Videos for Dexterous
    Manipulation", sections 3 and 4.
    """

    config_class: ClassVar[type[Any]] = DexWMConfig
    differentiable = True

    def __init__(self, config: DexWMConfig, encoder: FrameEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.predictor = CDiT(config.predictor)
        self.head = (
            None
            if config.head is None
            else KeypointHead(config.head, config.predictor.features, config.grid, config.patch)
        )
        self.precision = torch.float32
        """What rollouts compute in: torch.bfloat16 halves their memory."""
        # In a tuple, that its weights are neither trained nor saved with the predictor's.
        self._encoder: tuple[FrameEncoder, ...] = ()
        self._palm: Kinematics | None = None
        self._context: Context | None = None
        self._warnings = ObservationWarnings()
        if encoder is not None:
            self.attach(encoder)

    def attach(self, encoder: FrameEncoder) -> None:
        """Encode frames with `encoder` from now on, and remember its name.

        Raises:
            ValueError: it is not the one of the training, or gives features of another shape.
        """
        config = self.config
        if config.encoder is not None and not fnmatchcase(encoder.name, config.encoder):
            raise ValueError(
                f"the model predicts features of '{config.encoder}', and the encoder is "
                f"'{encoder.name}': give it that one, or train anew on these features."
            )
        width = config.predictor.features
        if tuple(encoder.grid) != tuple(config.grid) or encoder.width != width:
            raise ValueError(
                f"the model predicts {config.grid[0]} x {config.grid[1]} patches of {width} "
                f"numbers, and '{encoder.name}' gives {encoder.grid[0]} x {encoder.grid[1]} of "
                f"{encoder.width}: choose its image size and its size accordingly."
            )
        self.config = replace(config, encoder=encoder.name)
        self._encoder = (encoder,)
        self._follow()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DexWM:
        """Change the weights as `nn.Module` does; the encoder keeps its own type of numbers."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._follow()
        return self

    def _follow(self) -> None:
        for encoder in self._encoder:
            if isinstance(encoder, nn.Module):
                encoder.to(self.device)

    def attach_palm(self, kinematics: Kinematics) -> None:
        """Predict the pose of one frame, the palm, from the joint targets of actions from now on.

        Joints that are observed beyond the limits of the kinematics are then told, too.

        Raises:
            ValueError: the kinematics are of other joints, or of several frames.
        """
        if kinematics.size != self.config.joints or len(kinematics.frames) != 1:
            raise ValueError(
                f"actions say {self.config.joints} joint targets, and {kinematics!r} are of "
                f"{kinematics.size} joints and {len(kinematics.frames)} frames: give those of the "
                "palm alone, by the joints that are commanded."
            )
        self._palm = kinematics

    # The protocol

    @property
    def action_space(self) -> Box:
        """How far keypoints and the camera move, and joint targets where there are some.

        Targets are bounded by the limits of the joints where kinematics are attached, and by a whole
        turn each way otherwise.
        """
        config, turn = self.config, torch.full((self.config.joints,), 2 * torch.pi)
        low, high = -turn, turn
        if self._palm is not None:
            low, high = (
                self._palm.low.to(turn).clamp(min=low),
                self._palm.high.to(turn).clamp(max=high),
            )
        moves = torch.full((config.predictor.condition,), config.furthest)
        least, most = torch.cat([-moves, low]), torch.cat([moves, high])
        return Box(least.numpy(), most.numpy(), dtype=np.float32)

    @property
    def observes(self) -> frozenset[str]:
        """Frames, what is carried along, and the joints where actions say their targets."""
        joints = {self.config.command} if self.config.joints else set()
        return frozenset({self.config.frames, *self.config.carries, *joints})

    @property
    def predicts(self) -> frozenset[str]:
        """`latent`; `keypoints` and `soft_keypoints` with a head; `joints` where they are told, and
        then `palm` with kinematics.
        """
        points = {KEYPOINTS, SOFT_KEYPOINTS} if self.head is not None else set()
        told = {JOINTS} if self.config.joints else set()
        return frozenset({LATENT, *points, *told, *({PALM} if self._palm is not None else set())})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.predictor.positions.device

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Return the belief after `observation`: the context, with the new frame in its last slot.

        Several actions that were executed without looking are one: movements add up.

        Raises:
            KeyError: the observation lacks a key that the model observes.
            ValueError: frames have another size than the encoder's.

        Warns:
            UserWarning: once, joints beyond their limits; once, a goal (or a first frame) in which
                heatmaps find no hand.
        """
        check_observation(observation, self)
        with torch.no_grad():
            latent = self._features(observation[self.config.frames])
            frames = latent[:, None].repeat(1, self.config.predictor.context, 1, 1)
            into = frames.new_zeros(*frames.shape[:2], self.config.predictor.condition)
            if previous is not None and actions is not None:
                check_actions(actions, self.action_space, dims="BKA", state=previous)
                self._check(previous)
                moved = self._split(actions.to(frames))[0].sum(1)
                seen = self._moved_on(previous, latent, moved * self.config.feeds_actions)
                if episode_start is None:
                    frames, into = seen
                else:
                    fresh = episode_start.to(self.device)
                    frames = torch.where(fresh[:, None, None, None], frames, seen[0])
                    into = torch.where(fresh[:, None, None], into, seen[1])
            told = {
                key: torch.as_tensor(observation[key]).to(self.device)
                for key in self.config.carries
            }
            if self.config.joints:
                told[COMMAND] = torch.as_tensor(observation[self.config.command]).to(latent)
                if self._palm is not None:
                    self._warnings.of_joints(told[COMMAND], self._palm, self.config.command)
            if previous is None and self.head is not None and self.config.least_peak > 0:
                peaks = confidence(self.head(latent, self.config.maps)).mean(-1)
                self._warnings.of_hands(peaks, self.config.least_peak, self.config.hand)
            return self._state(frames, into, told)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict `[B, N, T, ...]` after each action; gradients flow to the actions.

        Candidates are computed together as far as `config.memory` allows.
        """
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        wanted = self.predicts if keys is None else frozenset(keys)
        check_keys(wanted, self, "rollout")
        self._check(state)
        grad = torch.is_grad_enabled() and actions.requires_grad
        with torch.set_grad_enabled(grad):
            parts = [
                self._predictions(self._roll(state, moved), joints, wanted)
                for moved, joints in map(
                    self._split, torch.split(actions, self._at_once(actions), 1)
                )
            ]
        if len(parts) == 1:
            return parts[0]
        return {key: torch.cat([part[key] for part in parts], dim=1) for key in wanted}

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one action later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        self._check(state)
        moved, joints = self._split(actions)
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            latent = self._roll(state, moved[:, None, None])[:, 0, 0]
            frames, into = self._moved_on(state, latent, moved.to(latent))
            told = {key: state[key] for key in self.config.carries}
            if joints is not None:
                told[COMMAND] = joints.to(latent)
            return self._state(frames, into, told)

    # Beliefs

    def _features(self, frames: Any) -> Tensor:
        config = self.config
        shape = (config.predictor.patches, config.predictor.features)
        tensor = torch.as_tensor(frames).to(self.device)
        for encoder in self._encoder:
            return encoder.features(tensor).to(self.predictor.positions)
        if tuple(tensor.shape[1:]) != shape:
            raise ValueError(
                f"observation['{config.frames}'] has shape {tuple(tensor.shape)}; without an "
                f"encoder it must be features, [B, {shape[0]}, {shape[1]}]. Attach "
                f"{config.encoder or 'the encoder of the training'}."
            )
        return tensor.to(self.predictor.positions)

    def _moved_on(self, state: State, latent: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat([state[FRAMES][:, 1:], latent[:, None]], dim=1)
        return frames, torch.cat([state[INTO][:, 1:], moved[:, None]], dim=1)

    def _check(self, state: State) -> None:
        sizes = self.config.predictor
        context = {
            FRAMES: (sizes.context, sizes.patches, sizes.features),
            INTO: (sizes.context, sizes.condition),
        }
        check_state(state, context, self)

    def _split(self, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return movements and joint targets; one number that is not finite spoils all."""
        actions = actions.masked_fill(~actions.isfinite().all(-1, keepdim=True), torch.nan)
        if not self.config.joints:
            return actions, None
        sizes = [self.config.predictor.condition, self.config.joints]
        moved, joints = torch.split(actions, sizes, dim=-1)
        return moved, joints

    def _state(self, frames: Tensor, into: Tensor, told: Mapping[str, Tensor]) -> State:
        latent = frames[:, -1]
        joints = told.get(COMMAND)
        now = self._predictions(
            latent[:, None, None],
            None if joints is None else joints[:, None, None],
            self.predicts,
        )
        return {FRAMES: frames, INTO: into, **told, **{k: v[:, 0, 0] for k, v in now.items()}}

    # Predictions

    def _roll(self, state: State, moved: Tensor) -> Float[Tensor, "b n t patches features"]:
        """Return the frames that follow, one after each movement `[B, N, T, A]`."""
        context = self._context
        frames, into = state[FRAMES], state[INTO]
        if context is None or not context.of(frames, into, self.precision):
            context = self._context = Context(frames, into, self.predictor, self.precision)
        moved = moved.to(self.predictor.positions)
        with torch.autocast(self.device.type, self.precision, self.precision != torch.float32):
            return closed_loop(self.predictor, context, moved).to(self.predictor.positions)

    def _predictions(
        self,
        latents: Float[Tensor, "b n t patches features"],
        joints: Tensor | None,
        keys: Collection[str],
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        known = latents[..., :1, 0].isfinite()  # one NaN is in all features, and in all later ones
        if LATENT in keys:
            found[LATENT] = latents
        if JOINTS in keys and joints is not None:
            found[JOINTS] = torch.where(known, joints.to(latents), torch.nan)
        if PALM in keys and joints is not None and self._palm is not None:
            palm = self._palm.poses(torch.where(known, joints.to(latents), torch.nan))
            turn = quaternion_of(palm.rotation[..., 0, :, :])
            found[PALM] = torch.cat([palm.position[..., 0, :], turn], dim=-1)
        if self.head is not None and {KEYPOINTS, SOFT_KEYPOINTS} & set(keys):
            heatmaps, stride = self.head(latents, self.config.maps), self.head.config.stride
            if KEYPOINTS in keys:
                places = hard_argmax(heatmaps, stride).to(latents)
                found[KEYPOINTS] = torch.where(known[..., None], places, torch.nan)
            if SOFT_KEYPOINTS in keys:
                found[SOFT_KEYPOINTS] = soft_argmax(heatmaps, stride).to(latents)
        return found

    def _at_once(self, actions: Tensor) -> int:
        """Return how many candidates fit into the memory that rollouts may take."""
        sizes, batch, horizon = self.config.predictor, actions.shape[0], actions.shape[2]
        number = 2 if self.precision == torch.bfloat16 else actions.element_size()
        # Tokens, their projections and perceptron; keys and values of what is predicted.
        wide = sizes.width * (6 + sizes.ratio) + 2 * sizes.width * sizes.depth * (horizon - 1)
        wide += sizes.features * horizon
        copied = 2 * sizes.width * sizes.context * (horizon > 1 and copies(self.device))
        kept = sizes.depth * (4 * wide + copied) if torch.is_grad_enabled() else wide + copied
        each = batch * sizes.patches * kept * number
        return max(1, min(actions.shape[1], int(self.config.memory * 2**30 / each)))
