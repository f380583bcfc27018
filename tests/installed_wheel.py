"""Try the installed wheel. `make build` runs this in a clean environment, far from the sources."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import gymnasium
import numpy as np

import dexworld


def import_every_module() -> list[str]:
    """Every module of the wheel imports with the core dependencies alone."""
    names = [found.name for found in pkgutil.walk_packages(dexworld.__path__, "dexworld.")]
    for name in names:
        importlib.import_module(name)
    return names


def step_push_t() -> None:
    """One environment is made by its id, reset and stepped."""
    env = gymnasium.make("dexworld.envs:dexworld/PushT-v0")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation), "the first observation is outside its space"
    _, reward, *_ = env.step(env.action_space.sample())
    assert np.isfinite(reward), f"the reward is {reward}"
    env.close()


def load_checkpoints() -> list[str]:
    """Every checkpoint of the wheel loads by its name, whatever model it holds."""
    from dexworld.world_models.pretrained import CONFIG, Pretrained, shipped_checkpoints

    # All of them, since every module has been imported.
    classes = {model.__name__: model for model in Pretrained.__subclasses__()}
    shipped = shipped_checkpoints()
    assert shipped, "the wheel ships no checkpoint"
    for name, folder in shipped.items():
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["class"]
        classes[kind].from_pretrained(name)
    return sorted(shipped)


def ask_scripts_for_help() -> list[str]:
    """Every console script of the wheel starts, finds its configuration and explains itself."""
    scripts = [
        script.name
        for script in metadata.entry_points(group="console_scripts")
        if script.value.startswith("dexworld.")
    ]
    for name in scripts:
        result = subprocess.run(
            [str(Path(sys.executable).with_name(name)), "--help"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, f"{name} --help failed:\n{result.stderr}"
        assert result.stdout.strip(), f"{name} --help said nothing"
    return scripts


def main() -> None:
    """Run every trial; the first that fails ends the script with a traceback."""
    home = Path(dexworld.__file__).resolve()
    assert home.is_relative_to(Path(sys.prefix).resolve()), f"this is not the wheel: {home}"
    assert metadata.version("dexworld") == dexworld.__version__
    assert resources.files("dexworld").joinpath("py.typed").is_file(), "py.typed is missing"
    modules = import_every_module()
    strays = {name.split(".")[1] for name in modules} & {"tests", "build", "dist", "conftest"}
    assert not strays, f"the wheel holds what is not the library: {strays}"
    step_push_t()
    checkpoints = load_checkpoints()
    scripts = ask_scripts_for_help()
    sys.stdout.write(
        f"the wheel of dexworld {dexworld.__version__} works: "
        f"{len(modules)} modules imported, {', '.join(checkpoints)} loaded, "
        f"{', '.join(scripts)} answered\n"
    )


if __name__ == "__main__":
    main()
