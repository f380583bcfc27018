import pytest

from dexworld.assets import asset_path


def test_assets_are_found_by_name():
    assert asset_path("push_t.xml").read_text().startswith("<!-- PushT")


def test_an_unknown_asset_is_answered_with_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"push_t\.xml"):
        asset_path("push_tee.xml")
