"""Planners: searches for the decisions of least cost through any world model."""

from .base import Clock, Objective, Plan, Planner, Search, WarmStart
from .cem import CEM
from .cem_gradient import CEMGradient
from .gradient import GradientPlanner
from .icem import ICEM
from .mppi import MPPI
from .objectives import (
    KeypointDistance,
    LatentDistance,
    NegativeReward,
    PoseError,
    Smoothness,
    Sum,
)
from .receding_horizon import shift
from .shooting import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "CEMGradient",
    "Clock",
    "GradientPlanner",
    "KeypointDistance",
    "LatentDistance",
    "NegativeReward",
    "Objective",
    "Plan",
    "Planner",
    "PoseError",
    "RandomShooting",
    "Search",
    "Smoothness",
    "Sum",
    "WarmStart",
    "shift",
]
