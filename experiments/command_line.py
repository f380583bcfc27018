"""What the command lines share: configurations that fail with one clear sentence, and provenance."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PACKAGE = Path(__file__).resolve().parent.parent
CONF = str(PACKAGE / "experiments" / "conf")
PACKAGES = ("numpy", "torch", "mujoco", "gymnasium", "hydra-core", "pymunk", "dexworld")


USER_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    FileExistsError,
    gym.error.Error,
    OmegaConfBaseException,
)
"""What a wrong argument raises; a command line prints its message, not its traceback."""


def check_overrides(config_name: str, arguments: Sequence[str]) -> None:
    """End the program with one clear sentence if the configuration cannot be composed."""
    if {"-m", "--multirun"} & set(arguments):
        return  # sweeps are expanded by Hydra
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    try:
        OmegaConf.to_object(_compose(config_name, overrides))
    except (HydraException, *USER_ERRORS) as error:
        fail(_explain(error, config_name, overrides))


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def _explain(error: Exception, config_name: str, overrides: Sequence[str]) -> str:
    """Return one sentence for the person who typed the overrides."""
    text = "\n".join(str(each) for each in (error, error.__cause__) if each)
    unknown = re.search(r"Key '([^']+)' (?:is not in struct|not in '[^']+')", text)
    if unknown:
        key = unknown.group(1)
        full = re.search(r"full_key: (\S+)", text)
        path = full.group(1) if full else key
        parent = path.rpartition(".")[0]
        return f"there is no setting {path!r}. {_nearest(key, _valid_keys(config_name, overrides, parent))}"
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing:
        group, _, choice = missing.group(1).rpartition("/")
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"there is no {group} {choice!r}. {_nearest(choice, options)}"
    return text.strip()


def _valid_keys(config_name: str, overrides: Sequence[str], parent: str) -> list[str]:
    """Return the keys that stand beside a misspelt one."""
    groups = [item for item in overrides if re.match(r"^[+~]?(experiment|planner|env)=", item)]
    node: Any = _compose(config_name, groups)
    if parent:
        node = OmegaConf.select(node, parent)
    return [str(key) for key in node] if isinstance(node, DictConfig) else []


def _nearest(given: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, valid, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Valid: {', '.join(sorted(valid))}."


def fail(problem: Exception | str) -> NoReturn:
    """End the program with a message and status 2."""
    # str() of a KeyError is the repr of its message.
    message = problem.args[0] if isinstance(problem, KeyError) else problem
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)


def provenance(seed: int) -> dict[str, Any]:
    """Return what a result depends on beside its configuration."""
    return {
        "seed": seed,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "code_fingerprint": code_fingerprint(),
    }


def code_fingerprint() -> str:
    """Return a digest of the package's sources: the same digest, the same behaviour."""
    digest = hashlib.sha256()
    for folder in ("agents", "assets", "envs", "experiments", "planners", "world_models"):
        for path in sorted((PACKAGE / folder).rglob("*")):
            if path.suffix in {".py", ".xml"}:
                digest.update(path.relative_to(PACKAGE).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
