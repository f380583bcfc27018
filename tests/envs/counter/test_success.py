import numpy as np
import pytest

from dexworld.envs.counter.success import GraspRule, PlaceRule, ReachRule, SuccessRule


def features(shift=0.0, touching=0):
    keypoints = np.zeros((5, 3)) + np.array([0.4, 0.0, 0.2])
    contact = np.array([0, touching, 0, 0, touching])
    return {
        "keypoints": keypoints + np.array([shift, 0.0, 0.0]),
        "object": np.array([0.5 + shift, 0.1, 0.1, 1.0, 0.0, 0.0, 0.0]),
        "contact": contact.astype(float),
    }


@pytest.mark.parametrize("rule", [ReachRule(), GraspRule(), PlaceRule()])
def test_they_are_rules(rule):
    assert isinstance(rule, SuccessRule)
    assert "held for 10 steps" in rule.name and f"< {rule.tolerance:g} m" in rule.name
    many = {key: np.stack([value] * 4) for key, value in features(touching=1).items()}
    goal = features()
    assert rule.distance(many, goal).shape == rule(many, goal).shape == (4,)
    total = sum(rule.rewards(many, goal).values())
    assert (total <= 1.0).all() and (total > 0.0).all()


def test_reaching_compares_the_mean_distance_of_five_points():
    rule, goal = ReachRule(), features()
    assert rule(features(0.149), goal) and not rule(features(0.151), goal)
    uneven = features()
    uneven["keypoints"][0, 1] += 0.7
    assert rule.distance(uneven, goal) == pytest.approx(0.14)
    assert rule(uneven, goal)


def test_grasping_asks_for_both_whatever_the_goal():
    rule, goal = GraspRule(), features(9.0)
    near = features(touching=1)
    assert rule.distance(near, goal) == pytest.approx(np.sqrt(0.03))
    assert rule(near, goal) and not rule(features(), goal)
    far = features(touching=1)
    far["object"][0] += 0.2
    assert not rule(far, goal)
    assert rule.rewards(near, goal)["contact"] == 0.5


def test_placing_compares_the_objects_place():
    rule, goal = PlaceRule(), features()
    assert rule(features(0.099), goal) and not rule(features(0.101), goal)
    turned = features()
    turned["object"][3:] = (0.0, 1.0, 0.0, 0.0)
    assert rule.distance(turned, goal) == 0.0


def test_far_away_earns_nothing():
    assert PlaceRule().rewards(features(0.6), features())["distance"] == 0.0
    assert PlaceRule().rewards(features(0.0), features())["distance"] == 1.0
