import numpy as np
import pytest

from dexworld.experiments.benchmark_data import ACTION, BATCH, PIXELS, open_sources, window_speed
from dexworld.world_models.data.windows import WindowSettings


def test_all_sources_give_the_same_windows(tmp_path):
    sources = open_sources(tmp_path, WindowSettings(frames=3, gaps=(2, 2)), episodes=3, length=12)
    read, windows = sources["cache"]
    cached = read(0)
    assert len(cached) == windows == BATCH
    for name in ("parquet with PNG", "mp4"):
        read, windows = sources[name]
        assert windows == 1
        for number in range(0, BATCH, 7):
            (window,) = read(number)
            assert window[ACTION].shape == (4, 2)
            for key, values in cached[number].items():
                tolerance = 8 if (name, key) == ("mp4", PIXELS) else 0
                difference = np.abs(window[key].astype(float) - values).mean()
                assert difference <= tolerance, (name, key)


@pytest.mark.slow
def test_the_cache_is_timed_beside_the_files():
    rows = window_speed(seconds=0.2, rounds=1, episodes=4, length=40)
    assert [row["read_from"] for row in rows] == ["cache", "parquet with PNG", "mp4"]
    assert rows[0]["cache_is_faster_by"] == 1.0
    assert all(row["windows_per_second"] > 0 and row["cache_is_faster_by"] > 0 for row in rows)
