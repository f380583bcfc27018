"""Sentences say what the figures say, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from dexworld.experiments.diagnosis import diagnose, difference_interval
from dexworld.experiments.statistics import wilson_interval


def rate(successes: int, trials: int = 100, **rest: Any) -> dict[str, Any]:
    interval = list(wilson_interval(successes, trials))
    return {"success_rate": successes / trials, "success_interval": interval, **rest}


def episodes(won: int, lost: int, cost: float = 9.0) -> list[dict[str, Any]]:
    each: dict[str, Any] = {"success": True, "success_at_end": True, "errors": {}}
    good = [{**each, "pairs": [[0.0, 5.0], [1.0, float(i % 4)]]} for i in range(won)]
    bad = {**each, "success": False, "success_at_end": False, "pairs": [[1.0, None], [1.0, cost]]}
    return good + [bad] * lost


def said(successes: int, **changes: Any) -> str:
    metrics = rate(successes, plans=10, ceiling={}) | changes
    return "\n".join(diagnose(metrics, episodes(successes, 100 - successes)))


def test_newcombes_example() -> None:
    """56 of 70 against 48 of 80: the interval of his table II, method 10."""
    low, high = difference_interval(rate(56, 70), rate(48, 80))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(
    ("run", "ceiling", "expected"),
    [
        (70, 97, "27 points [17, 37] are the model's; 3 points are the planner's, the objective's"),
        (95, 97, "the difference, +2 points [-4, 8], may be chance; 3 points are the planner's"),
        (99, 80, "the model's errors cost nothing here; 20 points are"),
        (60, 100, "are the model's; without its errors none fails."),
        (60, 99, "are the model's; 1 point is the planner's"),
    ],
)
def test_the_ceiling_tells_the_share_of_the_model(run, ceiling, expected) -> None:
    oracle = rate(ceiling, same_as_run=False, same_episodes=True)
    text = said(run, ceiling=oracle)
    head = f"{run} % with this model, {ceiling} % with the simulator in its place: "
    assert text.startswith(head) and expected in text
    other = said(run, ceiling=oracle | {"same_episodes": False})
    assert "in other episodes of the same seeds" in other and expected in other


def test_without_a_ceiling_nobody_is_accused() -> None:
    text = said(50)
    assert text.startswith("No ceiling was evaluated, so it is not known what the model's errors")
    text = said(50, no_ceiling="nothing can")
    assert text.startswith("There is no ceiling, since nothing can, so it is not known what")


def test_the_simulator_is_not_accused() -> None:
    text = said(94, ceiling=rate(94, same_as_run=True))
    assert text.startswith("The model is the simulator itself, so 6 points are the planner's")
    assert said(100, ceiling=rate(100, same_as_run=True)) == "No episode failed."


def test_goals_that_were_left_again() -> None:
    some = episodes(5, 5)
    some[0] = {**some[0], "success_at_end": False}
    assert "1 of the 5 that reached the goal did not stay there." in diagnose(
        rate(5, 10, plans=1), some
    )


def test_an_objective_that_is_content_with_failures() -> None:
    metrics = rate(8, 10, plans=1)
    content = diagnose(metrics, [*episodes(8, 1, 0.5), *episodes(0, 1, 50.0)])
    assert any(text.startswith("1 of 2 failures cost as little") for text in content)
    seen = diagnose(metrics, episodes(8, 2, 50.0))
    assert any("0 of 2 failures" in text and "saw them all" in text for text in seen)
    assert not any("cost as little" in text for text in diagnose(metrics, episodes(2, 2)))


@pytest.mark.parametrize(
    ("predicted", "gap", "expected"),
    [
        (10.0, 0.001, "was predicted exactly"),
        (9.0, 1.1, "mean error of 1.1, too low by 1: plans promise more than comes."),
        (11.0, 1.1, "mean error of 1.1, too high by 1: plans promise less than comes."),
        (9.9, 1.1, "mean error of 1.1."),
    ],
)
def test_promises(predicted, gap, expected) -> None:
    error = {"mean_predicted_cost": predicted, "mean_real_cost": 10.0, "mean_absolute_gap": gap}
    assert expected in said(50, model_error=error)


ERRORS: dict[str, Any] = {
    "steps": [0, 5, 10, 15],
    "median": [0.1, 4.0, 6.0, 7.0],
    "p90": [2.0, 5.0, None, None],
    "static": [0.0, 10.0, 20.0, 30.0],
    "episodes": [6, 6, 6, 2],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "10 steps ahead: 6 off (median; 90th percentile infinity), where they move by 20."),
        ({"static": [0.0, 1.0, 2.0, 3.0]}, "no better than if nothing moved (2)."),
        ({"median": [3.0, 4.0, 6.0, 7.0]}, "where they move by 20; 3 off when they are seen"),
        ({"median": [0.0, 0.01, 0.01, 0.0]}, "Predicted points, 10 steps ahead: exact."),
        ({"median": [0.0, 5.0, None, None]}, "Predicted points, 10 steps ahead: not finite."),
    ],
)
def test_predictions_at_the_end_that_all_episodes_reach(changes, expected) -> None:
    assert expected in said(50, prediction_error={"points": ERRORS | changes})


def test_errors_of_failed_episodes_beside_those_of_the_others() -> None:
    some = episodes(3, 3)
    for episode in some:
        last = 2.0 if episode["success"] else 40.0
        episode["errors"] = {"points": {"open_loop": [0.0, 1.0, last]}}
    text = diagnose(rate(3, 6, plans=1, prediction_error={"points": ERRORS}), some)[-1]
    assert text.endswith("; in failed episodes 40, in the others 2.")


def test_agents_that_do_not_plan_and_worlds_without_success() -> None:
    assert diagnose(rate(0, plans=0), episodes(0, 3)) == []
    unknown = [{**each, "success": None} for each in episodes(0, 3)]
    assert diagnose(rate(0, plans=3, ceiling={}), unknown) == []


def test_what_can_be_lifted_is_said_where_anything_can() -> None:
    lifted = said(90, lift_rate=0.8, lift_interval=[0.71, 0.87])
    assert "can be lifted in 80 % [71, 87] of the episodes." in lifted
    assert "lifted" not in said(90) + said(90, lift_rate=0.0, lift_interval=[0.0, 0.04])
