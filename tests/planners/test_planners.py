"""What `dexworld.planners` hands on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from dexworld import planners


def test_every_public_name_resolves() -> None:
    for name in planners.__all__:
        assert getattr(planners, name) is not None


def test_every_planner_and_every_term_is_public() -> None:
    modules = [
        importlib.import_module(f"dexworld.planners.{module.name}")
        for module in pkgutil.iter_modules(planners.__path__)
    ]
    public = {
        name
        for module in modules
        for name, kind in vars(module).items()
        if inspect.isclass(kind)
        and issubclass(kind, (planners.SearchPlanner, planners.Addable))
        and not inspect.isabstract(kind)
    }
    assert public >= {"CEM", "Reach"}
    assert public <= set(planners.__all__)
