"""What all tests share: checked shapes, one torch thread, repeatable property tests, no window."""

from __future__ import annotations

import os

# Read at import by the libraries below, and handed on to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on small tensors more threads only wait
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import sys
from collections.abc import Generator
from types import ModuleType

import beartype
import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

# From here on every annotated function of the library checks the types and shapes it is called
# with. The hook names its checker as a module's attribute; ours takes an int for a float, as the
# static types do. It sees only modules imported after it: nothing above may import dexworld.
checker = ModuleType("shape_checker")
checker.check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
sys.modules[checker.__name__] = checker
install_import_hook("dexworld", "shape_checker.check")

torch.set_num_threads(1)

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Skip what draws where nothing can be drawn with; the message says what to install."""
    try:
        return (yield)
    except Exception as error:
        if type(error).__name__ == "RenderingUnavailableError":
            pytest.skip(str(error))
        raise
