"""A few steps of gradient descent of a small latent world model: `latent_steps.py FILE --strategy ddp`.

Everything that a learned model can have is in it: a convolutional encoder, features with their
variance and covariance, an ensemble of transformers, keypoints and a decoder. The optimiser alone
is not the one of a training: see `test_parallel_latents.py`.
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import save_file

from dexworld.world_models.data.windows import Windows
from dexworld.world_models.decoder import DecoderConfig
from dexworld.world_models.distributed import rank
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.latent_loss import LossConfig
from dexworld.world_models.parallelism import make_fabric
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig
from dexworld.world_models.training_settings import TrainingSettings
from dexworld.world_models.training_state import TrainingState
from dexworld.world_models.training_step import LossModule, TrainingStep

SIZE, FRAMES, HISTORY, STEPS = 32, 4, 2, 4
ROWS = (12, 8)
"""Windows of even and of odd batches; shared by two, of the latter one process draws no picture."""
CONFIG = LatentConfig(
    observes={"pixels": (SIZE, SIZE, 3)},
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    features=6,
    points=PointLayout((PointSet("agent", 1, "proprio"), PointSet("block", 2, "block")), 0.0, 1.0),
    hold_point="agent",
    encoder=EncoderConfig("convolutional", width=8, depth=1, maps=4),
    predictor=PredictorConfig(
        "transformer", width=16, depth=2, heads=2, history=HISTORY, members=2
    ),
    loss=LossConfig(horizons=(1, 3)),
    decoder=DecoderConfig(SIZE, 8),
)


def batch(number: int, rank: int, world_size: int) -> Windows:
    """Return the windows of a process, of a batch that the number decides."""
    random = torch.Generator().manual_seed(number)
    size = ROWS[number % 2]
    coarse = torch.randint(256, (size, FRAMES, 4, 4, 3), generator=random)
    pixels = coarse.repeat_interleave(SIZE // 4, 2).repeat_interleave(SIZE // 4, 3)
    known = torch.rand(size, HISTORY, generator=random) > 0.3
    whole = Windows(
        frames={
            "pixels": pixels.to(torch.uint8),
            "proprio": torch.rand(size, FRAMES, 2, generator=random) - 0.5,
            "block": torch.rand(size, FRAMES, 4, generator=random) - 0.5,
        },
        actions=2.0 * torch.rand(size, FRAMES - 1, 1, 2, generator=random) - 1.0,
        past=torch.rand(size, HISTORY, 2, generator=random) * known[..., None],
        past_known=known,
        start=torch.arange(size),
    )
    share = size // world_size
    return whole._each(lambda tensor: tensor[rank * share : (rank + 1) * share])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = TrainingSettings(
        steps=STEPS,
        learning_rate=0.2,
        warmup=0.0,
        schedule="constant",
        ema=0.5,
        precision="32-true",
        accelerator="cpu",
        strategy=given.strategy,
        devices=given.devices,
    )
    torch.manual_seed(0)
    model = LatentWorldModel(CONFIG)
    with torch.no_grad():  # as wide as features are meant to be, so that their covariance counts
        model.encoder.features.weight.mul_(10.0)
    fabric = make_fabric(settings)
    loss = fabric.setup_module(LossModule(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
    state = TrainingState(model, optimizer, settings.ema)
    step = TrainingStep(fabric, loss, state, settings)
    batches = (batch(number, fabric.global_rank, fabric.world_size) for number in count())
    told = {}
    for number in range(STEPS):
        report = step(batches)
        for name, value in {**report.terms, "norm": report.gradient_norm}.items():
            told[f"{number}.{name}"] = torch.tensor(value, dtype=torch.float64)
    files = state.files()
    if rank() == 0:
        weights = {
            f"{file}.{k}": v for file in ("model", "average") for k, v in files[file].items()
        }
        save_file({k: v.contiguous().clone() for k, v in {**told, **weights}.items()}, given.file)


if __name__ == "__main__":
    main()
