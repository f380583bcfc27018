"""A folder is there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dexworld.world_models.atomic_folder import atomic_folder, remove_folder, remove_leftovers


def test_it_appears_when_everything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "above" / "folder"
    with atomic_folder(path) as unfinished:
        (unfinished / "one").write_text("1")
        assert not path.exists()
        (unfinished / "two").write_text("2")
    assert sorted(each.name for each in path.parent.rglob("*")) == ["folder", "one", "two"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_folder(tmp_path / "folder") as unfinished:
            (unfinished / "one").write_text("1")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    for name in (".folder.unfinished", ".folder.removed", ".other.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("?")
    (tmp_path / ".hidden").write_text("somebody else's")
    with atomic_folder(tmp_path / "folder") as unfinished:
        (unfinished / "one").write_text("1")
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["one"]
    remove_folder(tmp_path / "folder")
    remove_leftovers(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [".hidden"]
