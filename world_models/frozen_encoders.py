"""Pretrained encoders of frames: DINOv2, DINOv3, Web-SSL, V-JEPA 2, SigLIP 2, through `transformers`."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from .frame_encoder import check_frames

DINOV2_LARGE: Final = "facebook/dinov2-large"
"""What DexWM sees with."""
DEFAULT_SIZE: Final = (224, 392)
"""DexWM's frames, height and width [px]; patches of 16 px leave 224 x 384 of them."""
PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Run = Callable[[Any, Tensor, tuple[int, int]], Tensor]
"""`(network, normalised pictures, grid)` -> the tokens of its last layer, after the final norm."""


def _plain(network: Any, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    tokens: Tensor = network(pixel_values=pictures).last_hidden_state
    return tokens


def _interpolated(network: Any, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    told = network(pixel_values=pictures, interpolate_pos_encoding=True)
    tokens: Tensor = told.last_hidden_state
    return tokens


def _cut(network: Any, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    """Give patches as rows of pixels, colours last."""
    patch, rows = network.config.patch_size, len(pictures)
    patches = torch.unflatten(torch.unflatten(pictures, 3, (-1, patch)), 2, (-1, patch))
    patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    told = network(
        pixel_values=patches,
        pixel_attention_mask=torch.ones(patches.shape[:2], device=pictures.device).long(),
        spatial_shapes=torch.tensor([grid], device=pictures.device).expand(rows, 2),
    )
    tokens: Tensor = told.last_hidden_state
    return tokens


def _shown_twice(network: Any, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    """Make a clip of one frame, at places counted in its own grid: the library's is a square."""
    places = torch.arange(grid[0] * grid[1], device=pictures.device)
    where = (torch.zeros_like(places), places // grid[1], places % grid[1])
    for layer in network.encoder.layer:
        layer.attention.get_position_ids = lambda _, masks=None: where
    clip = pictures.unsqueeze(1).expand(-1, network.config.tubelet_size, -1, -1, -1)
    told = network(pixel_values_videos=clip, skip_predictor=True)
    tokens: Tensor = told.last_hidden_state
    return tokens


@dataclass(frozen=True)
class Convention:
    """What is taken from a family of networks.

    Features of all of them are the patch tokens of the last layer after the final norm, with its
    learned scale and shift; class and register tokens are dropped.
    """

    network: str
    """Its class in `transformers`."""
    run: Run = _plain
    """How it is called."""
    colours: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET
    """Mean and deviation of the colours, in [0, 1], that it was trained with."""
    class_tokens: int = 1
    """Tokens before those of registers and patches."""


CONVENTIONS: Final[dict[str, Convention]] = {
    # `x_norm_patchtokens`. Web-SSL's DINO models are of this type. Positions: bicubic.
    "dinov2": Convention("Dinov2Model"),
    "dinov2_with_registers": Convention("Dinov2WithRegistersModel"),
    # Rotary positions, which fit any size.
    "dinov3_vit": Convention("DINOv3ViTModel"),
    # Tubelets of two frames: a single one is shown twice. Rotary positions, counted in patches.
    "vjepa2": Convention("VJEPA2Model", _shown_twice, class_tokens=0),
    # SigLIP 2 for squares of one size, whose files say `siglip`, and for any size (NaFlex). A whole
    # model of pictures and texts, or its half of pictures.
    "siglip": Convention("SiglipVisionModel", _interpolated, _HALF, 0),
    "siglip_vision_model": Convention("SiglipVisionModel", _interpolated, _HALF, 0),
    "siglip2": Convention("Siglip2VisionModel", _cut, _HALF, 0),
    "siglip2_vision_model": Convention("Siglip2VisionModel", _cut, _HALF, 0),
}
"""By the model type in `config.json`."""


class FrozenEncoder(nn.Module):
    """A pretrained network that is never trained: a `FrameEncoder`.

    Calling it with pictures in [0, 1] gives features through which gradients flow, as perceptual
    losses need them; `features` is what planning and training read.

    Args:
        network: A vision model of `transformers`, of one of the types in `CONVENTIONS`.
        image_size: Height and width of the frames [px]; by default what fits of 224 x 392.
        precision: What it computes in, float32 or bfloat16 (weights stay float32).
        official: Scale the positions of DINOv2 as its own code does, whose features DexWM's
            published weights were trained on; `transformers` scales them a little otherwise.

    Raises:
        ValueError: The type is unknown, the size no multiple of the patch, the precision unknown,
            or `official` asked of another family.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        image_size: tuple[int, int] | None = None,
        precision: str = "float32",
        official: bool = False,
    ) -> None:
        super().__init__()
        config: Any = network.config
        self._convention = _convention(config.model_type)
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r}: choose one of {list(PRECISIONS)}.")
        patch = int(config.patch_size)
        rows, columns = (size // patch for size in image_size or DEFAULT_SIZE)
        if image_size not in (None, (rows * patch, columns * patch)) or not rows * columns:
            raise ValueError(
                f"image_size={image_size}: the patches of {config.model_type} are {patch} x {patch} "
                f"pixels; choose multiples, {(max(rows, 1) * patch, max(columns, 1) * patch)} for "
                "instance."
            )
        self.network = network.eval().requires_grad_(False)
        self.precision = precision
        self.grid = (rows, columns)
        self.image_size = (rows * patch, columns * patch)
        self.width = int(config.hidden_size)
        self.name = (
            f"{config.model_type} {_digest(network)} {self.image_size[0]}x{self.image_size[1]} "
            "patches of the last layer after its norm"
        )
        if official:
            if config.model_type != "dinov2":
                raise ValueError(
                    f"official=True is about the positions of dinov2, not of {config.model_type}."
                )
            embeddings: Any = network.embeddings
            embeddings.interpolate_pos_encoding = lambda _, height, width: _official_positions(
                embeddings.position_embeddings, height // patch, width // patch
            )
            self.name += ", official positions"
        for name, colour in zip(("mean", "deviation"), self._convention.colours, strict=True):
            self.register_buffer(name, torch.tensor(colour)[:, None, None], persistent=False)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = DINOV2_LARGE,
        *,
        image_size: tuple[int, int] | None = None,
        precision: str = "float32",
        official: bool = False,
        device: torch.device | str = "cpu",
    ) -> FrozenEncoder:
        """Return the encoder with the weights of a folder, or of a repository on a hub.

        Args:
            source: Folder of `save_pretrained` of `transformers`, or `organisation/name`.
            image_size: As for the class.
            precision: As for the class.
            official: As for the class.
            device: Where the weights go.

        Raises:
            ImportError: `transformers` is not installed.
            FileNotFoundError: There is no such model.
            ValueError: It is of an unknown type, its weights do not fit, or as for the class.
        """
        try:
            library: Any = importlib.import_module("transformers")
        except ImportError:
            raise ImportError(
                f"the encoder {source} needs transformers: pip install 'dexworld[encoders]' "
                "(without torchvision)."
            ) from None
        kind = getattr(library, _convention(_model_type(library, source)).network)
        try:
            network, told = kind.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # whatever reads and fetches raises: no file, no network
            raise FileNotFoundError(
                f"{source}: no weights of {kind.__name__} ({_line(error)}). Give a folder with "
                "config.json and model.safetensors, or check the name."
            ) from error
        if told["missing_keys"]:
            raise ValueError(
                f"{source} lacks weights of {kind.__name__}, {sorted(told['missing_keys'])[:3]} for "
                "instance: they would be random. Save or fetch it again."
            )
        return cls(network, image_size, precision, official).to(device)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay as in use, whatever the mode."""
        return super().train(False)

    def forward(
        self, pictures: Float[Tensor, "rows 3 height width"]
    ) -> Float[Tensor, "rows patches numbers"]:
        """Return the features of pictures in [0, 1]; gradients flow to the pictures."""
        normal = (pictures - self.mean) / self.deviation
        enabled = self.precision != "float32"
        with torch.autocast(pictures.device.type, PRECISIONS[self.precision], enabled=enabled):
            tokens = self._convention.run(self.network, normal, self.grid)
        config: Any = self.network.config
        others = self._convention.class_tokens + int(getattr(config, "num_register_tokens", 0))
        return tokens[:, others:].float()

    @torch.no_grad()
    def features(
        self, frames: UInt8[Tensor, "rows height width 3"]
    ) -> Float[Tensor, "rows patches numbers"]:
        """Return the features of frames; raise `ValueError` for frames of another size."""
        check_frames(self, frames)
        features: Tensor = self(frames.to(self.mean.device).movedim(-1, 1).float() / 255.0)
        return features


def _official_positions(
    table: Float[Tensor, "1 places numbers"], rows: int, columns: int
) -> Float[Tensor, "1 tokens numbers"]:
    """Return positions scaled by `(rows + 0.1) / side`, as in facebookresearch/dinov2."""
    side = math.isqrt(table.shape[1] - 1)
    if (rows, columns) == (side, side):
        return table
    square = torch.unflatten(table[:, 1:], 1, (side, side)).permute(0, 3, 1, 2)
    scaled = functional.interpolate(
        square, scale_factor=((rows + 0.1) / side, (columns + 0.1) / side), mode="bicubic"
    )
    return torch.cat([table[:, :1], scaled.flatten(2).transpose(1, 2)], dim=1)


def _convention(model_type: str) -> Convention:
    if model_type not in CONVENTIONS:
        raise ValueError(
            f"no features are known of models of type {model_type!r}; there are "
            f"{', '.join(CONVENTIONS)}."
        )
    return CONVENTIONS[model_type]


def _model_type(library: Any, source: str | Path) -> str:
    name = not Path(source).is_absolute() and str(source).count("/") == 1
    if not name and not Path(source).is_dir():
        raise FileNotFoundError(
            f"{source} is no folder, and no name on a hub (organisation/name). Check the path."
        )
    # Not AutoConfig, which refuses types that it does not know in its own words.
    try:
        contents, _ = library.PreTrainedConfig.get_config_dict(source)
    except Exception as error:
        raise FileNotFoundError(
            f"{source} is no folder of a model and no repository that can be reached "
            f"({_line(error)}). Check the path or the name."
        ) from error
    if "model_type" not in contents:
        raise FileNotFoundError(
            f"{source} is no model of transformers: it has no config.json with a model_type. "
            "Check the path or the name."
        )
    return str(contents["model_type"])


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _digest(network: nn.Module) -> str:
    """Return what tells weights apart, wherever they lie."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
