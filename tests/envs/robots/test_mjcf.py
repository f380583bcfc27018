import mujoco
import pytest

from dexworld.assets import asset_path
from dexworld.envs.robots import allegro_hand, franka_allegro
from dexworld.envs.robots.mjcf import read_mjcf
from dexworld.envs.robots.robosuite_assets import robosuite_asset

HAND = "allegro/right_hand.xml"


def test_a_file_is_read_as_mujoco_reads_it():
    read = read_mjcf(asset_path(HAND)).compile()
    expected = mujoco.MjModel.from_xml_path(str(asset_path(HAND)))
    assert (read.nq, read.nu, read.ngeom) == (expected.nq, expected.nu, expected.ngeom)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<mujoco><worldbody><bodi/></worldbody></mujoco>", "unrecognized element Element 'bodi'"),
        ("this is no XML", "XML parse error"),
        ("", "empty file"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong_and_what_to_do(tmp_path, text, said):
    path = tmp_path / "broken.xml"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"broken\.xml is no valid MJCF: .*Mend the file"
    ) as raised:
        read_mjcf(path)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_no_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nowhere\.xml"):
        read_mjcf(tmp_path / "nowhere.xml")


@pytest.mark.parametrize(
    ("module", "asset", "make"),
    [
        (allegro_hand, "asset_path", allegro_hand.right_hand),
        (franka_allegro, "robosuite_asset", franka_allegro.franka_allegro),
    ],
)
def test_robots_say_so_of_their_own_files(tmp_path, monkeypatch, module, asset, make):
    """A file that was cut off while it was downloaded."""
    whole = {
        "asset_path": asset_path(HAND),
        "robosuite_asset": robosuite_asset("robots/panda/robot.xml"),
    }
    path = tmp_path / "cut.xml"
    path.write_text(whole[asset].read_text()[:5000])
    monkeypatch.setattr(module, asset, lambda name: path)
    with pytest.raises(ValueError, match=r"cut\.xml is no valid MJCF"):
        make()
