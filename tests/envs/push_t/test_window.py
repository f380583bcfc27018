import sys

import numpy as np
import pytest

from dexworld.envs.push_t.window import NoDisplayError, Window


def test_a_window_shows_frames_of_any_size_and_sees_keys():
    pygame = pytest.importorskip("pygame")
    window = Window(64, "test", 1000.0)
    try:
        pointer = window.show(np.zeros((64, 64, 3), np.uint8))
        assert 0.0 <= pointer.x <= 1.0
        assert not pointer.closed
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_r))
        assert window.show(np.zeros((32, 32, 3), np.uint8)).key == "r"
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        assert window.show(np.zeros((64, 64, 3), np.uint8)).closed
    finally:
        window.close()


def test_without_pygame_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match=r"dexworld\[window\]"):
        Window(64, "test", 10.0)


@pytest.mark.parametrize("chosen", [None, ""])
def test_without_a_display_no_invisible_window_is_opened(monkeypatch, chosen):
    pygame = pytest.importorskip("pygame")
    # SDL itself falls back on an invisible driver; what the user chose is looked up by Python.
    pygame.display.quit()
    monkeypatch.delenv("SDL_VIDEODRIVER")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if chosen is not None:
        monkeypatch.setenv("SDL_VIDEODRIVER", chosen)
    with pytest.raises(NoDisplayError, match=r"there is no display .* Run this where"):
        Window(64, "test", 10.0)
    assert not pygame.display.get_init()


def test_a_driver_that_does_not_exist_is_named(monkeypatch):
    pygame = pytest.importorskip("pygame")
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    with pytest.raises(NoDisplayError, match=r"\(nonsense not available\)"):
        Window(64, "test", 10.0)
