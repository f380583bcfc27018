import pytest

from dexworld.envs.arguments import check_choice, checked_numbers


def test_a_choice():
    check_choice("colour", None, (None, "red"))
    with pytest.raises(
        ValueError, match=r"colour='blue' is unknown; choose one of \[None, 'red'\]"
    ):
        check_choice("colour", "blue", (None, "red"))


def test_numbers():
    assert checked_numbers({"goal": (1, 2.5)}, "goal", 2, "x and y").tolist() == [1.0, 2.5]
    for wrong in ([1.0], [[1.0, 2.0]], [1.0, float("nan")], "far", None, [[1.0], 2.0]):
        with pytest.raises(ValueError, match=r"options\['goal'\]=.*give 2 finite numbers, x and y"):
            checked_numbers({"goal": wrong}, "goal", 2, "x and y")
