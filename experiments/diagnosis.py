"""Where failures come from, in words: the model, the planner, or what success is measured by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

ENOUGH = 3
"""Episodes of a kind from which on they are compared with others."""
EXACT = 1e-3
"""An error below this share of what it is compared with counts as none."""


def diagnose(metrics: Mapping[str, Any], episodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the figures say about failures, a sentence each; nothing where none planned.

    The rules: what the ceiling has beyond the run is lost to the model, and what it lacks is not,
    since it differs by the model alone. Where a failed episode costs as little as successful ones,
    the objective is content with what the success rule is not. The rest are errors as measured.

    Args:
        metrics: what `metrics.json` holds.
        episodes: the lines of `episodes.jsonl`.
    """
    if not metrics["plans"]:
        return []
    said = [_promises(metrics)]
    if any(episode["success"] is not None for episode in episodes):
        said = [_shares(metrics), _left(episodes), _lifted(metrics), _contented(episodes), *said]
    errors = metrics.get("prediction_error", {})
    return [
        *filter(None, said),
        *(_prediction(key, found, episodes) for key, found in errors.items()),
    ]


def _shares(metrics: Mapping[str, Any]) -> str:
    """Say what is lost to the model, and what is lost without its errors too."""
    ceiling, run = metrics.get("ceiling"), metrics["success_rate"]
    if not ceiling:
        why = metrics.get("no_ceiling")
        head = f"There is no ceiling, since {why}," if why else "No ceiling was evaluated,"
        return f"{head} so it is not known what the model's errors cost."
    best = ceiling["success_rate"]
    missing = f"{_points(1 - best)} the planner's, the objective's or the task's"
    if ceiling["same_as_run"]:
        if run == 1:
            return "No episode failed."
        return f"The model is the simulator itself, so {missing}, and not the model's."
    if ceiling.get("same_episodes"):
        head = f"{_percent(run)} with this model, {_percent(best)} with the simulator in its place"
    else:
        head = (
            f"{_percent(run)} here, {_percent(best)} where the model is its own world "
            "(in other episodes of the same seeds)"
        )
    low, high = difference_interval(ceiling, metrics)
    share = f"[{100 * low:.0f}, {100 * high:.0f}]"
    if low > 0:
        verdict = f"{_points(best - run, share)} the model's"
    elif high < 0:
        verdict = "the model's errors cost nothing here"
    else:
        verdict = f"the difference, {100 * (best - run):+.0f} points {share}, may be chance"
    return f"{head}: {verdict}; " + (
        f"{missing}." if best < 1 else "without its errors none fails."
    )


def difference_interval(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[float, float]:
    """Return the 95 % interval of the first success rate minus the second.

    Newcombe's, from the Wilson intervals of both. It takes the episodes for independent; those
    that share their seeds are not, which makes it wider than need be.
    """
    (p, (p_low, p_high)), (q, (q_low, q_high)) = (
        (each["success_rate"], each["success_interval"]) for each in (first, second)
    )
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def _left(episodes: Sequence[Mapping[str, Any]]) -> str:
    """Say how many did not stay where they had succeeded."""
    reached = [each for each in episodes if each["success"]]
    left = sum(not each["success_at_end"] for each in reached)
    return f"{left} of the {len(reached)} that reached the goal did not stay there." * (left > 0)


def _lifted(metrics: Mapping[str, Any]) -> str:
    """Say how often what is in the hand can be lifted."""
    if not metrics.get("lift_rate"):
        return ""
    low, high = metrics["lift_interval"]
    held = f"{_percent(metrics['lift_rate'])} [{100 * low:.0f}, {100 * high:.0f}]"
    return f"What the hand has at the end can be lifted in {held} of the episodes."


def _contented(episodes: Sequence[Mapping[str, Any]]) -> str:
    """Say how many failures cost as little as successes."""
    won, lost = _by_success(episodes, lambda each: each["pairs"][-1][1] if each["pairs"] else None)
    if len(won) < ENOUGH or not lost:
        return ""
    content = sum(cost <= np.percentile(won, 90) for cost in lost)
    end = f"{content} of {len(lost)} failures cost as little at their last plan as successes do"
    if content:
        return f"{end}: there the objective is content and the success rule is not."
    return f"{end}: the objective saw them all."


def _promises(metrics: Mapping[str, Any]) -> str:
    """Say how true the predicted costs are."""
    found = metrics.get("model_error")
    if not found:
        return ""
    gap, real = found["mean_absolute_gap"], found["mean_real_cost"]
    if gap <= EXACT * abs(real):
        return "The cost at the next plan was predicted exactly."
    said = f"The cost at the next plan, {real:.3g} on average, was predicted with a mean error of {gap:.3g}"
    bias = real - found["mean_predicted_cost"]
    if abs(bias) > gap / 2:
        promise = "more" if bias > 0 else "less"
        low = "low" if bias > 0 else "high"
        said += f", too {low} by {abs(bias):.3g}: plans promise {promise} than comes"
    return f"{said}."


def _prediction(key: str, found: Mapping[str, Any], episodes: Sequence[Mapping[str, Any]]) -> str:
    """Say how far predictions of `key` go astray by the end of the episodes."""
    place = found["episodes"].count(found["episodes"][0]) - 1  # the last that all came to
    head = f"Predicted {key}, {found['steps'][place]} steps ahead"
    middle, high, still = (found[name][place] for name in ("median", "p90", "static"))
    if middle is None:
        return f"{head}: not finite."
    if None not in found["median"] and max(found["median"]) <= EXACT * max(found["static"]):
        return f"{head}: exact."
    worst = "infinity" if high is None else f"{high:.3g}"
    said = f"{head}: {middle:.3g} off (median; 90th percentile {worst})"
    if middle >= still:
        said += f", no better than if nothing moved ({still:.3g})"
    else:
        said += f", where they move by {still:.3g}"
    if found["steps"][0] == 0 and found["median"][0] > 0.1 * middle:
        said += f"; {found['median'][0]:.3g} off when they are seen"
    won, lost = _by_success(episodes, lambda each: _error(each, key, place))
    if min(len(won), len(lost)) >= ENOUGH:
        said += f"; in failed episodes {median(lost):.3g}, in the others {median(won):.3g}"
    return f"{said}."


def _error(episode: Mapping[str, Any], key: str, place: int) -> float | None:
    found = episode["errors"].get(key, {}).get("open_loop", [])
    return found[place] if len(found) > place else None


def _by_success(
    episodes: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]
) -> tuple[list[float], list[float]]:
    """Return a value of successful and of failed episodes, of those that have it."""
    both: tuple[list[float], list[float]] = [], []
    for episode in episodes:
        found = value(episode)
        if found is not None:
            both[not episode["success"]].append(found)
    return both


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def _points(share: float, interval: str = "") -> str:
    """Return so many per cent points, with their verb."""
    number = round(100 * share)
    words = ("1 point", interval, "is") if number == 1 else (f"{number} points", interval, "are")
    return " ".join(filter(None, words))
