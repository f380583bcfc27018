"""Checkpoints of the public DexWM code as models of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .cdit import CDiTConfig
from .dexwm import DexWM
from .dexwm_config import SIZES, DexWMConfig
from .frame_encoder import FrameEncoder
from .hand_keypoints import LINK_ORIGINS
from .keypoint_head import KeypointHeadConfig

NAMES = (
    (r"^pos_embed$", "predictor.positions"),
    (r"^input_proj\.", "predictor.enter."),
    (r"^output_proj\.", "predictor.leave."),
    (r"^final_layer\.adaLN_modulation\.1\.", "predictor.last_modulation."),
    (r"^final_layer\.linear\.", "predictor.last."),
    (r"^blocks\.(\d+)\.adaLN_modulation\.1\.", r"predictor.blocks.\1.modulation."),
    (r"^blocks\.(\d+)\.attn\.packed_proj\.", r"predictor.blocks.\1.within.packed."),
    (r"^blocks\.(\d+)\.attn\.out_proj\.", r"predictor.blocks.\1.within.out."),
    (r"^blocks\.(\d+)\.cttn\.packed_proj\.", r"predictor.blocks.\1.across.packed."),
    (r"^blocks\.(\d+)\.cttn\.out_proj\.", r"predictor.blocks.\1.across.out."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"predictor.blocks.\1.enlarge."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"predictor.blocks.\1.reduce."),
    (r"^kp_layer\.", "head."),
)
"""What parameters are called there, and here."""
ENCODER = "dinov2 * official positions"
"""What the encoder of the published weights is called (see `frame_encoder.FrameEncoder.name`)."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that data parallelism and compilation leave."""
INSIDE = ("model", "ema", "state_dict")
"""Where a checkpoint of a training may keep the weights."""


def from_official(
    path: str | Path | Mapping[str, Tensor],
    *,
    grid: tuple[int, int] = (16, 28),
    patch: int = 14,
    heads: int | None = None,
    encoder: FrameEncoder | None = None,
    encoder_prefix: str = "encoder.",
    strict: bool = True,
    device: torch.device | str = "cpu",
    **settings: Any,
) -> DexWM:
    """Return the model of a checkpoint of the public DexWM code, ready to be used.

    Its sizes are read off the shapes. It keeps that code's ways: the table of positions by slots,
    the resizing heatmap head, executed actions that are not fed back, and the origins of links as
    keypoints of a robot's hand.

    Args:
        path: A safetensors file, a checkpoint of torch (of which tensors alone are read, no code),
            or the tensors by name.
        grid: Rows and columns of patches.
        patch: Side of a patch [px].
        heads: Of the predictor's attentions; by default those of the size with that width.
        encoder: Gives the features: DINOv2 with `official` positions. For weights that were trained
            on others, allow them by the setting `encoder="*"` and `attach` theirs.
        encoder_prefix: Tensors whose names start with it are the frozen encoder's, and left out.
        strict: Whether everything has to fit; otherwise what is missing stays as it is initialised,
            and what is too much is left out.
        device: Where the weights go.
        **settings: Further fields of `DexWMConfig`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such checkpoint, or does not fit: every name is listed. Or the encoder is
            another one.
    """
    where = "the tensors" if isinstance(path, Mapping) else str(path)
    tensors = {}
    for name, tensor in (path if isinstance(path, Mapping) else _read(Path(path))).items():
        while name.startswith(WRAPPERS):
            name = name.split(".", 1)[1]
        if not name.startswith(encoder_prefix):
            tensors[_renamed(name)] = tensor
    told = {"encoder": ENCODER, "feeds_actions": False, "finger": LINK_ORIGINS, **settings}
    config = replace(_config(tensors, where, grid, patch, heads), **told)
    model = DexWM(config, encoder)
    _load(model, tensors, where, strict)
    return model.to(device).eval()


def _renamed(name: str) -> str:
    for old, new in NAMES:
        name, changed = re.subn(old, new, name)
        if changed:
            break
    return name


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}. Check the path.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        contents: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zipfile, unpickler: each has errors of its own
        raise ValueError(
            f"{path} is not a checkpoint whose tensors can be read safely ({error}). Save its "
            "state dict as safetensors."
        ) from error
    for key in INSIDE:
        if isinstance(contents, Mapping) and isinstance(contents.get(key), Mapping):
            contents = contents[key]
    if not isinstance(contents, Mapping) or not all(
        isinstance(each, Tensor) for each in contents.values()
    ):
        raise ValueError(
            f"{path} holds no state dict. Save one, as safetensors or with torch.save."
        )
    return contents


def _config(
    tensors: Mapping[str, Tensor],
    where: str,
    grid: tuple[int, int],
    patch: int,
    heads: int | None,
) -> DexWMConfig:
    """Return the configuration that the shapes of a checkpoint tell."""
    needed = {"predictor.positions", "predictor.last.weight"} | {
        f"predictor.blocks.0.{name}.weight" for name in ("modulation", "enlarge")
    }
    if not needed <= set(tensors):
        raise ValueError(
            f"{where} is no checkpoint of DexWM: it lacks {sorted(needed - set(tensors))} (in our "
            f"names), and has {sorted(tensors)[:5]}, ..."
        )
    rows, patches, width = tensors["predictor.positions"].shape
    enter = tensors.get("predictor.enter.weight")
    known = {width: heads for width, _, heads in SIZES.values()}
    if heads is None and width not in known:
        raise ValueError(f"{where} has width {width}, which is no size of DexWM: give heads=...")
    if patches != grid[0] * grid[1]:
        raise ValueError(
            f"{where} predicts {patches} patches, and grid={grid} has {grid[0] * grid[1]}."
        )
    blocks = {name.split(".")[2] for name in tensors if name.startswith("predictor.blocks.")}
    predictor = CDiTConfig(
        features=width if enter is None else enter.shape[1],
        patches=patches,
        context=rows - 1,
        condition=tensors["predictor.blocks.0.modulation.weight"].shape[1],
        width=width,
        depth=len(blocks),
        heads=heads or known[width],
        ratio=tensors["predictor.blocks.0.enlarge.weight"].shape[0] / width,
    )
    return DexWMConfig(predictor=predictor, head=_head(tensors, patch), grid=grid, patch=patch)


def _head(tensors: Mapping[str, Tensor], patch: int) -> KeypointHeadConfig | None:
    prefix = "head.vit_decoder."
    last = tensors.get(prefix + "head.0.weight")
    if last is None:
        return None
    blocks = {
        name.removeprefix(prefix).split(".")[1]
        for name in tensors
        if name.startswith(prefix + "blocks.")
    }
    return KeypointHeadConfig(
        width=last.shape[1], depth=len(blocks), maps=last.shape[0] // patch**2, resize="official"
    )


def _load(model: DexWM, tensors: Mapping[str, Tensor], where: str, strict: bool) -> None:
    expected = model.state_dict()
    missing = sorted(set(expected) - set(tensors))
    unknown = sorted(set(tensors) - set(expected))
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    if shapes or (strict and (missing or unknown)):
        listed = [
            f"{title}: {', '.join(names)}"
            for title, names in (("missing", missing), ("unknown", unknown), ("shapes", shapes))
            if names
        ]
        raise ValueError(
            f"{where} does not fit. {'; '.join(listed)}. Names are ours; strict=False takes what "
            "fits by name."
        )
    model.load_state_dict(
        {name: tensors[name] for name in expected if name in tensors}, strict=False
    )
