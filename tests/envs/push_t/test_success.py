import numpy as np
import pytest

from dexworld.envs.push_t.success import CoverageRule, PoseRule

GOAL = np.array([100.0, 100.0, 256.0, 256.0, 0.5])


@pytest.mark.parametrize(
    ("difference", "with_agent", "without"),
    [
        ((0, 0, 0, 0, 0), True, True),
        ((0, 0, 19.9, 0, 0), True, True),
        ((0, 0, 20, 0, 0), False, False),
        ((15, 0, 0, 15, 0), False, True),  # the norm of all four numbers is 21.2 px
        ((100, 0, 0, 0, 0), False, True),
        ((0, 0, 0, 0, np.pi / 9 - 1e-9), True, True),
        ((0, 0, 0, 0, np.pi / 9 + 1e-9), False, False),
        ((0, 0, 0, 0, 4 * np.pi), True, True),
    ],
)
def test_the_rule_in_pixels(difference, with_agent, without):
    state = GOAL + np.array(difference, float)
    assert PoseRule()(state, GOAL) == with_agent
    assert PoseRule(includes_agent=False)(state, GOAL) == without


def test_the_rule_of_coverage():
    states = GOAL + np.array([[0, 0, 0, 0, 0], [300, 0, 1, 0, 0], [0, 0, 10, 0, 0]], float)
    assert CoverageRule()(states, GOAL).tolist() == [True, True, False]
    assert CoverageRule(0.5)(states, GOAL).tolist() == [True, True, True]


def test_what_was_measured_elsewhere_meets_a_rule_alike():
    states = GOAL + np.random.default_rng(0).normal(0.0, [9, 9, 9, 9, 0.3], (200, 5))
    rule = PoseRule()
    assert np.array_equal(rule.met(*rule.errors(states, GOAL)), rule(states, GOAL))
    assert 0 < rule(states, GOAL).sum() < 200
    assert CoverageRule().met(0.951) and not CoverageRule().met(0.95)


def test_rules_are_batched_and_named():
    states = np.zeros((3, 4, 5)) + GOAL
    for rule in (PoseRule(), CoverageRule()):
        assert rule(states, GOAL).shape == (3, 4)
    assert PoseRule().name == "20 px and pi/9 (agent and block)"
    assert PoseRule(includes_agent=False).name == "20 px and pi/9 (block)"
    assert CoverageRule().name == "coverage > 0.95"
