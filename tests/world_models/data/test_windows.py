import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.data.windows import WindowSampler, WindowSettings, split

LENGTHS = [12, 30, 5, 21, 9]
FEATURES = {
    "observation.state": Feature("float32", (2,)),
    "observation.images.top": Feature("image", (8, 8, 3)),
    "action": Feature("float32", (2,)),
    "next.reward": Feature("float32", (1,)),
    "next.done": Feature("bool", (1,)),
}
KEYS = ["observation.state", "observation.images.top"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Every frame knows its episode and its number; the action of step t is (1 + t, episode)."""
    folder = tmp_path_factory.mktemp("windows")
    with DatasetWriter(folder, FEATURES, 10, robot_type="toy") as writer:
        for episode, length in enumerate(LENGTHS):
            step = np.arange(length)
            ones = np.full(length, episode)
            pictures = np.broadcast_to(step[:, None, None, None], (length, 8, 8, 3))
            frames = {
                "observation.state": np.stack([ones, step], 1).astype(np.float32),
                "observation.images.top": pictures.astype(np.uint8),
                "action": np.stack([1 + step, ones], 1).astype(np.float32),
                "next.reward": (1.0 + step).astype(np.float32),
                "next.done": step == length - 2,
            }
            writer.add_episode(frames, task="count")
    return Cache.open(folder, list(FEATURES))


@pytest.mark.parametrize("gaps", [(1, 1), (5, 5), (2, 6)])
def test_frames_and_actions_are_those_of_the_episode(cache, gaps):
    settings = WindowSettings(frames=4, gaps=gaps, past=6)
    sampler = WindowSampler(cache, settings, batch_size=64, seed=0)
    for index in range(8):
        windows = sampler.batch(index)
        gap = windows.actions.shape[2]
        assert gaps[0] <= gap <= gaps[1]
        assert windows.actions.shape == (64, 3, gap, 2)
        assert windows.actions.dtype == torch.float32
        state, picture = (windows.frames[key].numpy() for key in KEYS)
        assert (picture.dtype, picture.shape) == (np.uint8, (64, 4, 8, 8, 3))
        start = windows.start.numpy()
        episode = cache.episode_index[start]
        first = start - cache.starts[episode]
        steps = first[:, None] + gap * np.arange(4)
        np.testing.assert_array_equal(state[..., 1], steps)
        np.testing.assert_array_equal(picture[..., 3, 3, 1], steps)
        taken = first[:, None] + np.arange(3 * gap)
        actions = windows.actions.flatten(1, 2).numpy()
        np.testing.assert_array_equal(actions[..., 0], 1 + taken)
        for values in (state[..., 0], actions[..., 1]):  # never another episode
            np.testing.assert_array_equal(values, np.broadcast_to(episode[:, None], values.shape))


def test_every_interval_may_have_a_gap_of_its_own(cache):
    settings = WindowSettings(frames=4, gaps=(2, 6), multiple=2, past=3, irregular=True)
    sampler = WindowSampler(cache, settings, batch_size=64, seed=0)
    seen = []
    for index in range(8):
        windows = sampler.batch(index)
        assert windows.gaps.shape == (64, 3)
        assert windows.actions.shape == (64, 3, 6, 2) and windows.actions.dtype == torch.float32
        state = windows.frames["observation.state"].numpy()
        episode = cache.episode_index[windows.start.numpy()]
        first = windows.start.numpy() - cache.starts[episode]
        steps = first[:, None] + np.pad(windows.gaps.numpy().cumsum(1), ((0, 0), (1, 0)))
        np.testing.assert_array_equal(state[..., 1], steps)
        np.testing.assert_array_equal(state[..., 0], np.repeat(episode[:, None], 4, axis=1))
        taken = steps[:, :-1, None] + np.arange(6)
        within = np.arange(6) < windows.gaps.numpy()[..., None]
        expected = np.stack([1 + taken, np.broadcast_to(episode[:, None, None], taken.shape)], -1)
        np.testing.assert_array_equal(windows.actions, np.where(within[..., None], expected, 0))
        seen.append(windows.gaps)
        part = sampler.batch(index, 1, 4)
        assert torch.equal(part.gaps, windows.gaps[16:32])
        assert torch.equal(part.actions, windows.actions[16:32])
        assert torch.equal(windows.first(5).gaps, windows.gaps[:5])
    gaps = torch.cat(seen)
    counts = torch.stack([(gaps == gap).sum() for gap in (2, 4, 6)])
    assert counts.sum() == gaps.numel() and counts.min() > 0.8 * counts.max()
    assert (gaps != gaps[:, :1]).any(1).float().mean() > 0.8


def test_irregular_windows_are_drawn_equally_often(cache):
    # The shortest windows begin anywhere but in the last two steps of an episode.
    settings = WindowSettings(frames=3, gaps=(1, 2), past=0, irregular=True)
    sampler = WindowSampler(cache, settings, batch_size=4000, seed=0)
    windows = [sampler.batch(index) for index in range(5)]
    shortest = torch.cat([each.start[each.gaps.sum(1) == 2] for each in windows])
    starts = sum(length - 2 for length in LENGTHS)
    found, counts = shortest.unique(return_counts=True)
    assert len(found) == starts
    expected = len(shortest) / starts
    assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_one_gap_for_a_batch_is_drawn_as_ever(cache):
    # Recipes and recorded trainings mean these windows.
    windows = WindowSampler(
        cache, WindowSettings(frames=3, gaps=(2, 6)), batch_size=4, seed=3
    ).batch(2)
    assert windows.gaps is None and windows.actions.shape[2] == 6
    assert windows.start.tolist() == [12, 27, 49, 18]


def test_outcomes_are_those_of_the_action_before(cache):
    settings = WindowSettings(frames=3, gaps=(2, 2))
    windows = WindowSampler(cache, settings, batch_size=300, seed=0).batch(0)
    step = windows.frames["observation.state"][..., 1]
    episode = windows.frames["observation.state"][..., 0].long()
    reward, done = windows.frames["next.reward"], windows.frames["next.done"]
    assert reward.dtype == torch.float32 and done.dtype == torch.bool
    # Action t, whose reward is 1 + t, leads to frame t + 1; no action leads to the first frame.
    torch.testing.assert_close(reward, step)
    assert torch.equal(done, step == torch.tensor(LENGTHS)[episode] - 1)
    assert (step == 0).any() and done.any()


def test_the_past_ends_where_the_episode_begins(cache):
    settings = WindowSettings(frames=2, gaps=(1, 1), past=4)
    windows = WindowSampler(cache, settings, batch_size=500, seed=0).batch(0)
    start = windows.start.numpy()
    episode = cache.episode_index[start]
    step = (start - cache.starts[episode])[:, None] + np.arange(-4, 0)
    np.testing.assert_array_equal(windows.past_known, step >= 0)
    np.testing.assert_array_equal(windows.past[..., 0], np.where(step >= 0, 1 + step, 0))
    expected = np.where(step >= 0, episode[:, None], 0)
    np.testing.assert_array_equal(windows.past[..., 1], expected)
    none = WindowSettings(frames=2, past=0)
    assert WindowSampler(cache, none, batch_size=3, seed=0).batch(0).past.shape == (3, 0, 2)


def test_all_windows_are_drawn_equally_often(cache):
    settings = WindowSettings(frames=3, gaps=(4, 4))
    sampler = WindowSampler(cache, settings, batch_size=1000, seed=3)
    valid = [
        start + step
        for start, length in zip(cache.starts, LENGTHS, strict=True)
        for step in range(length - 8)
    ]
    assert sampler.windows_by_gap.tolist() == [len(valid)] == [4 + 22 + 13 + 1]
    starts = np.concatenate([sampler.batch(index).start.numpy() for index in range(40)])
    found, counts = np.unique(starts, return_counts=True)
    np.testing.assert_array_equal(found, valid)
    assert (np.abs(counts - 1000) < 5 * np.sqrt(1000)).all()


def test_gaps_are_drawn_equally_often(cache):
    settings = WindowSettings(frames=3, gaps=(2, 9), multiple=3)
    assert settings.choices.tolist() == [3, 6, 9]
    sampler = WindowSampler(cache, settings, batch_size=1, seed=4)
    gaps = [sampler.batch(index).actions.shape[2] for index in range(900)]
    found, counts = np.unique(gaps, return_counts=True)
    assert found.tolist() == [3, 6, 9]
    assert (np.abs(counts - 300) < 5 * np.sqrt(300)).all()


def test_a_batch_follows_from_seed_and_number(cache):
    settings = WindowSettings(frames=2, gaps=(1, 4))

    def starts(seed, index, **arguments):
        sampler = WindowSampler(cache, settings, batch_size=16, seed=seed)
        return sampler.batch(index, **arguments).start

    sampler = WindowSampler(cache, settings, batch_size=16, seed=5)
    later = sampler.batch(9)
    sampler.batch(0)
    assert torch.equal(sampler.batch(9).actions, later.actions)
    assert torch.equal(starts(5, 9), later.start)
    assert not torch.equal(starts(5, 8), later.start)
    assert not torch.equal(starts(6, 9), later.start)
    for world_size in (2, 4):
        ranks = [starts(5, 9, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert torch.equal(torch.cat(ranks), later.start)
    with pytest.raises(ValueError, match="16 windows is not divided among 3 processes"):
        starts(5, 9, rank=0, world_size=3)


def test_only_the_chosen_episodes_and_keys_are_used(cache):
    settings = WindowSettings(frames=2, gaps=(1, 3))
    sampler = WindowSampler(
        cache, settings, batch_size=200, seed=0, episodes=[1, 4], keys=["observation.state"]
    )
    windows = sampler.batch(0).to("cpu")
    assert list(windows.frames) == ["observation.state"]
    assert set(windows.frames["observation.state"][..., 0].unique().tolist()) == {1.0, 4.0}


def test_the_first_windows_are_whole(cache):
    windows = WindowSampler(cache, WindowSettings(frames=2), batch_size=5, seed=0).batch(0)
    some = windows.first(2)
    assert some.start.tolist() == windows.start[:2].tolist()
    for key, frames in some.frames.items():
        assert torch.equal(frames, windows.frames[key][:2])
    for name in ("actions", "past", "past_known"):
        assert torch.equal(getattr(some, name), getattr(windows, name)[:2])


def test_what_cannot_be_drawn_is_refused(cache):
    settings = WindowSettings(frames=5, gaps=(2, 8))
    with pytest.raises(ValueError, match="5 frames 8 steps apart need an episode of 33 frames"):
        WindowSampler(cache, settings, batch_size=4, seed=0)
    with pytest.raises(ValueError, match="the longest of the 0 has 0"):
        WindowSampler(cache, WindowSettings(), batch_size=4, seed=0, episodes=[])
    with pytest.raises(KeyError, match=r"opened without .*velocity"):
        WindowSampler(cache, WindowSettings(), batch_size=4, seed=0, keys=["velocity"])
    for batch_size, seed in ((0, 0), (4, -1)):
        with pytest.raises(ValueError, match="at least 1, at least 0"):
            WindowSampler(cache, WindowSettings(), batch_size=batch_size, seed=seed)
    for arguments in (
        {"frames": 1},
        {"past": -1},
        {"gaps": (3, 2)},
        {"gaps": (0, 2)},
        {"gaps": (6, 9), "multiple": 5},
    ):
        with pytest.raises(ValueError, match="WindowSettings"):
            WindowSettings(**arguments)


@given(st.integers(2, 200), st.floats(0.01, 0.4), st.integers(0, 10))
def test_a_split_divides_the_episodes(episodes, fraction, seed):
    train, validation = split(episodes, fraction, seed)
    assert sorted([*train, *validation]) == list(range(episodes))
    assert len(validation) == max(1, round(fraction * episodes))
    again, _ = split(np.arange(episodes), fraction, seed)
    np.testing.assert_array_equal(again, train)


def test_a_split_needs_both_sides():
    train, validation = split([3, 5, 8], 0.0, 0)
    assert (train.tolist(), validation.tolist()) == ([3, 5, 8], [])
    for episodes, fraction in ((1, 0.1), (0, 0.0), (3, 0.9)):
        with pytest.raises(ValueError, match="episodes are too few"):
            split(episodes, fraction, 0)
    with pytest.raises(ValueError, match="validation_fraction"):
        split(10, 1.0, 0)
