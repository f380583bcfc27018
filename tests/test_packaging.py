"""The package as it is shipped: what the wheel holds, what imports cost, what files may say."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import dexworld

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ("agents", "assets", "envs", "experiments", "planners", "world_models")
SOURCES = sorted(path for folder in LIBRARY for path in (ROOT / folder).rglob("*.py"))
MODULES = sorted(
    found.name
    for folder in LIBRARY
    for found in pkgutil.walk_packages([str(ROOT / folder)], f"dexworld.{folder}.")
) + [f"dexworld.{folder}" for folder in LIBRARY]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def distribution_name(requirement: str) -> str:
    """`Foo_Bar[extra]>=1` is `foo-bar`."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """Files that are committed or about to be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_folder_is_listed(pyproject: dict[str, Any]) -> None:
    folders = {"dexworld"} | {
        ".".join(("dexworld", *path.parent.relative_to(ROOT).parts))
        for path in SOURCES
        if path.name == "__init__.py"
    }
    assert set(pyproject["tool"]["setuptools"]["packages"]) == folders


def test_every_module_lies_in_a_package() -> None:
    orphans = [
        relative(path)
        for path in SOURCES
        if not (path.parent / "__init__.py").exists() and "examples" not in path.parts
    ]
    assert not orphans, "these are importable from the root and missing from the wheel"


def test_no_stray_module_at_the_root() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"], "these leak into the wheel"


def test_every_data_file_is_in_the_wheel(
    pyproject: dict[str, Any], project_files: list[Path]
) -> None:
    patterns = pyproject["tool"]["setuptools"]["package-data"]["dexworld"]
    shipped = {path for pattern in patterns for path in ROOT.glob(pattern)}
    left_out = [
        relative(path)
        for path in project_files
        if path.relative_to(ROOT).parts[0] in LIBRARY
        and path.suffix not in {".py", ".md"}
        and path not in shipped
    ]
    assert not left_out


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("dependencies = [")
    end = lines.index("[project.scripts]")
    requirements = [line for line in lines[start:end] if re.match(r'\s+"', line)]
    assert len(requirements) > 20
    assert not [line.strip() for line in requirements if "# " not in line]


def test_every_pin_satisfies_its_bounds(pyproject: dict[str, Any]) -> None:
    requirements = pytest.importorskip("packaging.requirements")
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version
    project = pyproject["project"]
    listed = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        listed += extra
    for text in listed:
        requirement = requirements.Requirement(text)
        if requirement.name == "dexworld":
            assert requirement.extras <= project["optional-dependencies"].keys()
        else:
            assert requirement.name in pins, f"{requirement.name} has no tested pin"
            assert requirement.specifier.contains(pins[requirement.name]), text


def test_every_import_is_declared(pyproject: dict[str, Any]) -> None:
    """Modules import the core at their head, and what extras bring only where they use it."""
    distributions = metadata.packages_distributions()
    project = pyproject["project"]
    core = {distribution_name(text) for text in project["dependencies"]}
    extras = {
        distribution_name(text)
        for texts in project["optional-dependencies"].values()
        for text in texts
    }
    undeclared = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported = [node.module or ""]
            else:
                continue
            allowed = core if node in tree.body else core | extras
            for top in {name.split(".")[0] for name in imported}:
                if top in sys.stdlib_module_names or top == "dexworld":
                    continue
                homes = {distribution_name(home) for home in distributions.get(top, [top])}
                if not homes & allowed:
                    undeclared.append(f"{relative(path)}:{node.lineno}: {top}")
    assert not undeclared


def test_the_extra_named_all_holds_every_extra(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    (line,) = extras["all"]
    named = set(line.removeprefix("dexworld[").removesuffix("]").split(","))
    assert named == extras.keys() - {"all", "dev"}


def test_version_is_in_the_changelog() -> None:
    assert f"[{dexworld.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_import_is_light() -> None:
    program = (
        "import sys, time; began = time.perf_counter(); import dexworld; "
        "print(time.perf_counter() - began); "
        "print(*sys.modules.keys() & {'torch', 'numpy', 'mujoco', 'gymnasium', 'cv2', 'hydra'})"
    )
    seconds = []
    for _ in range(3):  # the fastest: other processes only ever slow an import down
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        elapsed, heavy = run.stdout.split("\n")[:2]
        assert heavy == "", "import dexworld loads heavy libraries"
        seconds.append(float(elapsed))
    assert min(seconds) < 0.2


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_resolves(name: str) -> None:
    module = importlib.import_module(name)
    missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
    assert not missing


def test_environment_is_sound() -> None:
    """OpenCV draws although two builds of it are installed, and torchvision is absent."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "check_environment.py"), "interpreter", "packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_shapes_are_checked_while_testing() -> None:
    """The import hook of conftest.py reaches the modules of the editable install."""
    module = importlib.import_module("dexworld.world_models.base")
    assert type(module.__spec__.loader).__name__ == "_JaxtypingLoader"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_follow_the_folder(path: Path) -> None:
    """The library imports itself relatively; experiments, like users, by the full name."""
    by_name = path.relative_to(ROOT).parts[0] == "experiments"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and by_name:
            assert node.level == 0, f"line {node.lineno}: import dexworld.… by its full name"
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != "dexworld", f"line {node.lineno}: use dots"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500, "split it: one noun a file"


def test_no_file_names_a_machine_or_an_index(project_files: list[Path]) -> None:
    """Paths and package indexes belong to a machine's configuration, not to the project."""
    folders = "|".join(["wor" + "k", "roo" + "t", "op" + "t", "hom" + "e"])
    hosts = ["pypi" + r"\.org", "python" + r"hosted\.org", "download" + r"\.pytorch\.org"]
    forbidden = re.compile(rf"(?<![\w.~/-])/(?:{folders})/|" + "|".join(hosts))
    found = []
    for path in project_files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image, a video or an array
        found += [
            f"{relative(path)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if forbidden.search(line)
        ]
    assert not found
