"""Models that go into a folder come out as they were; other folders are refused with a reason."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from dexworld import assets
from dexworld.world_models.pretrained import Pretrained, find_pretrained, read_contents


@dataclass(frozen=True)
class Layers:
    widths: tuple[int, ...] = (3, 4, 2)


@dataclass(frozen=True)
class NetworkConfig:
    layers: Layers = Layers()
    tied: bool = True


class Network(nn.Module, Pretrained):
    config_class = NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        pairs = itertools.pairwise(config.layers.widths)
        self.layers = nn.Sequential(*(nn.Linear(n, m) for n, m in pairs), nn.Dropout(0.5))
        if config.tied:
            self.tied = nn.Linear(*config.layers.widths[:2])
            self.tied.weight = self.layers[0].weight
        self.register_buffer("mean", torch.rand(3))


class OtherNetwork(Network):
    pass


CONFIG = NetworkConfig(Layers((3, 5, 1)))


def saved(folder: Path, config: NetworkConfig = CONFIG) -> Network:
    network = Network(config)
    network.save_pretrained(folder, {"seed": 3, "data": ["a"]})
    return network


def assert_same(found: Network, expected: Network) -> None:
    assert found.config == expected.config
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    network = saved(tmp_path / "above" / "model")
    found = Network.from_pretrained(str(tmp_path / "above" / "model"), device=torch.device("cpu"))
    assert_same(found, network)
    assert found.tied.weight is found.layers[0].weight
    assert not found.training
    assert found.metadata == {"seed": 3, "data": ["a"]}
    names = sorted(path.name for path in (tmp_path / "above").rglob("*"))
    assert names == ["config.json", "model", "model.safetensors"]


def test_saving_again_replaces_the_two_files_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved(folder)
    (folder / "README.md").write_text("mine")
    left = tmp_path / ".model.new"
    left.mkdir()
    (left / "half").write_text("left by a killed process")
    network = saved(folder, NetworkConfig(Layers((3, 2)), tied=False))
    assert_same(Network.from_pretrained(folder), network)
    assert (folder / "README.md").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    network = Network(CONFIG)
    network.mean[1] = torch.nan
    with pytest.raises(ValueError, match="mean is not finite"):
        network.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def edit(change: dict[str, Any]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return act


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (edit({"class": "Tower"}), ValueError, "holds a Tower, not a Network: load it with Tower"),
        (edit({"config": {"tied": True}}), ValueError, r"lacks \['layers'\].*another version"),
        (
            edit({"config": {"tied": True, "layers": {"widths": [3, 5, 1]}, "tide": 1}}),
            ValueError,
            "unknown key 'tide'. Did you mean 'tied'",
        ),
        (
            edit({"config": {"tied": True, "layers": {"widths": [3, 6, 1]}}}),
            ValueError,
            r"weights of another model: layers.0.weight has shape \(5, 3\), the model's \(6, 3\)",
        ),
        (
            edit({"config": {"tied": False, "layers": {"widths": [3, 5, 1]}}}),
            ValueError,
            "tied.weight is not the model's.*must be of the same save",
        ),
        (edit({"format": 7}), ValueError, "format 7, and this version of dexworld reads 1"),
        (lambda f: (f / "config.json").write_text("[]"), ValueError, "must have the keys"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "is not JSON"),
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "has no model.safet"),
        (cut, ValueError, "model.safetensors is damaged"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, damage: Callable[[Path], object], kind: type[Exception], message: str
) -> None:
    saved(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(kind, match=message):
        Network.from_pretrained(tmp_path / "model")


def test_a_subclass_is_another_class(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a Network, not a OtherNetwork"):
        OtherNetwork.from_pretrained(tmp_path / "model")


def test_shipped_checkpoints_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "__init__.py"))
    network = saved(tmp_path / "checkpoints" / "push")
    assert_same(Network.from_pretrained("push"), network)
    with pytest.raises(FileNotFoundError, match=r"pull is no folder, .*ships.*\['push'\]"):
        Network.from_pretrained("pull")


def test_a_hub_name_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the hub is somebody else's: here, one that knows a single repository."""
    network = saved(tmp_path / "fetched")

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        assert allow_patterns == ["config.json", "model.safetensors"]
        if name != "somebody/push":
            raise ConnectionError("404")
        return str(tmp_path / "fetched")

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert_same(Network.from_pretrained("somebody/push"), network)
    with pytest.raises(FileNotFoundError, match="hub did not give it: 404"):
        find_pretrained("somebody/pull")


def test_without_the_client_of_the_hub_its_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        find_pretrained("somebody/push")


def test_the_contents_can_be_read_without_a_class(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    contents = read_contents(tmp_path / "model")
    assert (contents["class"], contents["metadata"]["seed"]) == ("Network", 3)
