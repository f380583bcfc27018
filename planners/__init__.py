"""Planners: searches for the decisions of least cost through any world model."""

from .base import Clock, Objective, Plan, Planner, Search, WarmStart
from .cem import CEM
from .cem_gradient import CEMGradient
from .gradient import GradientPlanner
from .grip import Grip, Slip
from .icem import ICEM
from .mppi import MPPI
from .objectives import (
    Disagreement,
    KeypointDistance,
    LatentDistance,
    NegativeReturn,
    NegativeReward,
    PoseError,
    Reach,
    Smoothness,
)
from .pose_terms import Drift, Fall, PoseTerm, Tilt
from .receding_horizon import shift
from .search import SearchPlanner
from .shooting import RandomShooting
from .terms import Addable, Keyed, Sum, Term

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Addable",
    "CEMGradient",
    "Clock",
    "Disagreement",
    "Drift",
    "Fall",
    "GradientPlanner",
    "Grip",
    "Keyed",
    "KeypointDistance",
    "LatentDistance",
    "NegativeReturn",
    "NegativeReward",
    "Objective",
    "Plan",
    "Planner",
    "PoseError",
    "PoseTerm",
    "RandomShooting",
    "Reach",
    "Search",
    "SearchPlanner",
    "Slip",
    "Smoothness",
    "Sum",
    "Term",
    "Tilt",
    "WarmStart",
    "shift",
]
