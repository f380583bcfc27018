"""Rolling a CDiT out: frame after frame, from a past that all candidates share."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .cdit import CDiT
from .shared_attention import Memory, attend


class Context:
    """What all futures of a belief share: keys and values of the frames that were seen.

    They are kept by how many frames were predicted since, because in DexWM's table of positions
    a frame is another one in another slot: the key is the frame, its slot, and the action into it.
    """

    def __init__(
        self,
        frames: Float[Tensor, "batch context patches features"],
        into: Float[Tensor, "batch context condition"],
        predictor: CDiT,
        precision: torch.dtype = torch.float32,
        *,
        training: bool = False,
    ) -> None:
        self.frames, self.into, self.predictor = frames, into, predictor
        self.training = training
        self._made_by = (precision, _version(predictor))
        self._known: dict[int, list[Memory]] = {}
        self._tokens: Tensor | None = None

    def of(self, frames: Tensor, into: Tensor, precision: torch.dtype) -> bool:
        """Return whether this is the context of these tensors, by the weights of now."""
        same = self.frames is frames and self.into is into
        return same and self._made_by == (precision, _version(self.predictor))

    @property
    def now(self) -> Float[Tensor, "batch patches width"]:
        """Tokens of the last frame in the last slot."""
        tokens = self._tokens
        if tokens is None:
            with torch.set_grad_enabled(self.training):
                slot = self.predictor.config.context - 1
                tokens = self._tokens = self.predictor.tokens(self.frames[:, -1:], [slot])[:, 0]
        return tokens

    def memories(self, predicted: int) -> list[Memory] | list[None]:
        """Return keys and values of frames seen, for each block, so many frames later."""
        size = self.predictor.config.context
        if predicted >= size:
            return [None] * len(self.predictor.blocks)
        if self.predictor.config.positions == "rotary":
            known, patches = self._memories(0), self.predictor.config.patches
            return [Memory(*(each[:, :, predicted * patches :] for each in one)) for one in known]
        return self._memories(predicted)

    def _memories(self, predicted: int) -> list[Memory]:
        if predicted not in self._known:
            with torch.set_grad_enabled(self.training):
                frames, into = self.frames[:, predicted:], self.into[:, predicted:]
                slots = range(frames.shape[1])
                size = self.predictor.config.context
                self._known[predicted] = self.predictor.memories(
                    self.predictor.tokens(frames, slots),
                    _without_first(into) if self.predictor.config.positions == "slots" else into,
                    [slot - size + 1 for slot in slots],
                )
        return self._known[predicted]


def closed_loop(
    predictor: CDiT, context: Context, moved: Float[Tensor, "batch candidates horizon condition"]
) -> Float[Tensor, "batch candidates horizon patches features"]:
    """Return predicted frames, each predicted from those before it."""
    size, table = predictor.config.context, predictor.config.positions == "slots"
    candidates = moved.shape[1]
    frames: list[Tensor] = []
    own: list[Memory | None] = [None] * len(predictor.blocks)
    for number in range(moved.shape[2]):
        if number == 0:
            tokens = context.now[:, None].expand(-1, candidates, -1, -1)
        else:
            if table:
                # In this scheme frames move down a slot, and are encoded anew there.
                first = max(0, number - size)
                slots = range(size - (number - first), size)
                entered = predictor.tokens(torch.stack(frames[first:], dim=2), slots)
                into = moved[:, :, first:number]
                into = _without_first(into) if slots[0] == 0 else into
                own = list(predictor.memories(entered, into, slots))
            else:
                entered = predictor.tokens(frames[-1][:, :, None], [0])
                newest = predictor.memories(entered, moved[:, :, number - 1 : number], [number])
                own = [_grown(old, new, size) for old, new in zip(own, newest, strict=True)]
            tokens = entered[:, :, -1]
        look_back = [
            partial(attend, shared=shared, own=each)
            for shared, each in zip(context.memories(number), own, strict=True)
        ]
        predicted = predictor.predict(tokens, moved[:, :, number], look_back, [number + 1])
        before = frames[-1] if frames else context.frames[:, None, -1]
        frames.append(predicted + before if predictor.config.residual else predicted)
    return torch.stack(frames, dim=2)


def _grown(old: Memory | None, new: Memory, frames: int) -> Memory:
    """Return what is remembered of at most so many frames."""
    if old is None:
        return new
    most = frames * new.keys.shape[-2]
    return Memory(*(torch.cat(both, dim=-2)[..., -most:, :] for both in zip(old, new, strict=True)))


def _without_first(into: Tensor) -> Tensor:
    """Return actions into frames, of which that into the first is not known: `[..., S, A]`."""
    return torch.cat([torch.zeros_like(into[..., :1, :]), into[..., 1:, :]], dim=-2)


def _version(predictor: CDiT) -> tuple[Any, ...]:
    """Return what changes when any of the weights does: where it lies, how often it was written."""
    return tuple((each.data_ptr(), each._version, each.dtype) for each in predictor.parameters())
