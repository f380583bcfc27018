"""What the command lines share: configurations that fail with one clear sentence, and provenance."""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib.metadata
import inspect
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import mujoco
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dexworld.envs.rendering import RenderingUnavailableError

PACKAGE = Path(__file__).resolve().parent.parent
CONF = str(PACKAGE / "experiments" / "conf")
PACKAGES = ("numpy", "torch", "mujoco", "gymnasium", "hydra-core", "pymunk", "pyarrow", "dexworld")

USER_ERRORS = (
    *(ValueError, KeyError, TypeError, OSError),
    *(gym.error.Error, OmegaConfBaseException, RenderingUnavailableError),
)
"""What a wrong argument raises, or a machine that cannot draw; a command line prints its message, not
its traceback."""

_GROUPS = (
    *("experiment", "recipe", "agent_recipe", "collector"),
    *("env", "model", "planner", "objective", "agent"),
)
_TAKES_A_VALUE = {"--cfg", "-c", "--package", "-p", "--info", "-i"}
_LOOKS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
_LEFT_TO_HYDRA = {"--multirun", "-m", "--config-dir", "-cd", "--config-name", "-cn"}
_LEFT_TO_HYDRA |= {"--config-path", "-cp", "--experimental-rerun"}


def check_overrides(config_name: str, arguments: Sequence[str]) -> None:
    """End the program with one clear sentence if the configuration cannot be composed."""
    options = {argument.partition("=")[0] for argument in arguments}
    if _LEFT_TO_HYDRA & options:
        return  # sweeps and other folders of configurations
    overrides = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in _TAKES_A_VALUE
    ]
    try:
        compose_config(config_name, overrides)
    except OverrideParseException as error:
        fail(f"{error.override!r} cannot be read: give settings as key=value.")
    except MissingMandatoryValue as error:
        if not _LOOKS & options:
            fail(f"{error.full_key} is not given, and has no default: add {error.full_key}=....")
    # OmegaConf asserts or stumbles where a setting lies below one that is null.
    except (AssertionError, AttributeError, HydraException, *USER_ERRORS) as error:
        fail(_explain(error, config_name, overrides))


def compose_config(config_name: str, overrides: Sequence[str]) -> Any:
    """Return the configuration that the overrides describe, as the objects of its schemas."""
    return OmegaConf.to_object(_compose(config_name, overrides))


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            group, choice = override.key_or_group, override.value()
            if group not in _GROUPS or not isinstance(choice, str):
                continue
            options = GlobalHydra.instance().config_loader().get_group_options(group)
            if choice not in options:
                raise ValueError(f"there is no {group} {choice!r}. {nearest(choice, options)}")
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
        if parent.endswith("kwargs"):
            return f"{path!r} is not there yet; to give this argument, write +{path}=..."
        valid = _valid_keys(config_name, overrides, parent)
        return f"there is no setting {path!r}. {nearest(key, valid)}"
    if isinstance(error, (AssertionError, AttributeError)):
        return _explain_null(config_name, overrides) or repr(error)
    merging = re.match(r"Error merging override (.+)\n(.+)", text)
    if merging:
        return f"{merging.group(1)}: {merging.group(2)}."
    return text.strip()


def _explain_null(config_name: str, overrides: Sequence[str]) -> str | None:
    """Return what to do about an override that lies below a null setting, or is to fill one."""
    config = _compose(config_name, _groups(overrides))
    for override in overrides:
        path, _, value = override.lstrip("+").partition("=")
        above, _, key = path.rpartition(".")
        for whole, settings in ((path, value.strip("{}")), (above, f"{key}: {value}")):
            filled = whole == above or value.startswith("{")
            parent, _, name = whole.rpartition(".")
            if parent and filled and OmegaConf.select(config, whole) is None:
                advice = f"'{parent}={{{name}: {{{settings}}}}}'"
                return f"{override}: {whole} is null; set it as a whole, {advice}."
    return None


def _groups(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that choose an option of a group."""
    return [item for item in overrides if re.fullmatch(rf"({'|'.join(_GROUPS)})=\w+", item)]


def _valid_keys(config_name: str, overrides: Sequence[str], parent: str) -> list[str]:
    """Return the keys that stand beside a misspelt one."""
    node: Any = _compose(config_name, _groups(overrides))
    if parent:
        node = OmegaConf.select(node, parent)
    return [str(key) for key in node] if isinstance(node, DictConfig) else []


def nearest(given: str, valid: Iterable[str]) -> str:
    """Return what could have been meant, and all that is valid."""
    valid = sorted(valid)
    near = difflib.get_close_matches(given, valid, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Valid: {', '.join(valid)}."


def settings_help(schemas: Mapping[str, type[Any]]) -> str:
    """Return a line for each setting that has a docstring, of schemas by what comes before."""
    lines = []
    for prefix, schema in schemas.items():
        (tree,) = ast.parse(inspect.getsource(schema)).body
        assert isinstance(tree, ast.ClassDef)
        for setting, text in pairwise(tree.body):
            if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
                words = " ".join(ast.literal_eval(text.value).split())
                name = prefix + ast.unparse(setting.target)
                lines.append(f"  {name:<25} {words}")
    return "\n".join(lines)


def fail(problem: Exception | str) -> NoReturn:
    """End the program with a message and status 2; with HYDRA_FULL_ERROR set, with a traceback."""
    if isinstance(problem, Exception) and os.environ.get("HYDRA_FULL_ERROR"):
        raise problem
    # str() of a KeyError is the repr of its message.
    message = problem.args[0] if isinstance(problem, KeyError) else problem
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)


def log_simulator_warnings() -> None:
    """Send MuJoCo's warnings to `logging`, each once, instead of MUJOCO_LOG.TXT in the folder.

    A search tries thousands of candidates, and each that makes the simulation unstable warns.
    """
    said = set()

    def warn(text: str) -> None:
        kind, _, _ = text.partition(" Time = ")
        if kind not in said:
            said.add(kind)
            logging.getLogger("mujoco").warning("MuJoCo: %s (said once)", kind)

    mujoco.set_mju_user_warning(warn)


def provenance(seed: int) -> dict[str, Any]:
    """Return what a result depends on beside its configuration."""
    return {
        "seed": seed,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "code_fingerprint": code_fingerprint(),
    }


def version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def code_fingerprint() -> str:
    """Return the digest of the package as it is when this is first called.

    Later edits do not change what this process runs, and must not be taken for it.
    """
    return fingerprint(PACKAGE)


def fingerprint(package: Path) -> str:
    """Return a digest of a package's sources: the same digest, the same behaviour."""
    digest = hashlib.sha256()
    for folder in ("agents", "assets", "envs", "experiments", "planners", "world_models"):
        for path in sorted((package / folder).rglob("*")):
            if path.suffix in {".py", ".xml"}:
                digest.update(path.relative_to(package).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _git_commit() -> str | None:
    if not (PACKAGE / ".git").exists():
        return None  # installed into somebody else's repository, perhaps
    try:
        command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
