"""Plans in kinematics alone, from which a search in the simulator starts: for hands on arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dexworld.agents.staged_plans import StagedPlans
from dexworld.envs.counter.simulation import PERIOD, SPEED, CounterSimulation
from dexworld.envs.robots.allegro_hand import FINGERTIPS, PALM, WRIST
from dexworld.envs.robots.arm_kinematics import ArmKinematics
from dexworld.envs.robots.franka_allegro import ARM_JOINTS, JOINTS
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.planners.base import Objective
from dexworld.planners.cem import CEM
from dexworld.world_models.actions import COMMAND
from dexworld.world_models.base import ActionMap, Mapped, State, WorldModel
from dexworld.world_models.kinematic_model import KinematicModel
from dexworld.world_models.kinematics import Kinematics

ARM = len(ARM_JOINTS)


@dataclass
class RoughConfig:
    """A search in kinematics alone, whose plan the search in the model refines."""

    horizon: int = 3
    """Decisions of its plans."""
    samples: int = 256
    """Candidates of an iteration."""
    iterations: int = 8
    """Iterations."""
    elites: int = 20
    """Candidates that the next iteration is drawn around."""
    arm: float = 0.3
    """Spread that it starts with, of the targets of the arm [rad]."""
    hand: float = 0.0
    """The same of the targets of the hand, which stays as it is where 0 [rad]."""
    refined_arm: float = 0.05
    """Spread that the search in the model starts with, of the arm [rad]."""
    refined_hand: float = 0.0
    """The same of the hand [rad]."""
    press: float | None = None
    """Then close the hand in one decision: to the goal's joints, and beyond them by this share of
    the way, so that it presses; not at all where null."""
    lift: float | None = None
    """End every plan with two decisions that are only tried: lift the hand by so much [m], and
    wait."""


def make_staged_plans(
    config: RoughConfig,
    model: WorldModel,
    action_map: ActionMap,
    objective: Objective,
    execute: int,
    increment: float | None,
) -> StagedPlans:
    """Return what proposes plans of a hand on an arm.

    Args:
        config: the settings.
        model: the simulator of a counter.
        action_map: from decisions to actions.
        objective: what plans are for, in kinematics as in physics.
        execute: decisions carried out of every plan.
        increment: how far a decision of one moves a target, in units of the action.

    Raises:
        TypeError: `model` is not the simulator of a counter.
        ValueError: decisions are not increments.
    """
    simulation = model.simulation if isinstance(model, SimulatorModel) else None
    if not isinstance(simulation, CounterSimulation):
        raise TypeError(
            "agent.rough plans in the kinematics of the robot at the counter, and needs its "
            "simulator: model=simulator env=counter_reach (or _grasp, _place), or agent.rough=null."
        )
    if increment is None:
        raise ValueError("agent.rough plans in increments: set agent.increment, 0.5 for instance.")
    reach = _Reach(simulation, increment)
    return StagedPlans(
        Mapped(rough_model(model, simulation), action_map),
        CEM(
            horizon=config.horizon,
            samples=config.samples,
            iterations=config.iterations,
            elites=config.elites,
            std_floor=0.0,
        ),
        objective,
        rough_std=reach.spread(config.arm, config.hand),
        std=reach.spread(config.refined_arm, config.refined_hand),
        execute=execute,
        then=None if config.press is None else _Close(reach, config.press),
        trial=None if config.lift is None else _Lift(reach, config.lift),
    )


def rough_model(model: WorldModel, simulation: CounterSimulation) -> KinematicModel:
    """Return the kinematics of the robot of a simulation."""
    frames = [f"site:{site}" for site in (WRIST, *FINGERTIPS)]
    kinematics = Kinematics(simulation.model, [*frames, f"body:{PALM}"], JOINTS)
    joint_range = (simulation.low, simulation.high)
    return KinematicModel(model, kinematics, joint_range, SPEED * PERIOD)


class _Reach:
    """What decisions, increments of the actions, are in radians."""

    def __init__(self, simulation: CounterSimulation, increment: float) -> None:
        self.low, self.high = (torch.from_numpy(each) for each in (simulation.low, simulation.high))
        self.half = (self.high - self.low) / 2
        self.unit = increment * self.half
        """Radians of a decision of one."""

    def spread(self, arm: float, hand: float) -> Float[Tensor, " action"]:
        """Return spreads [rad] as those of decisions."""
        joints = torch.full_like(self.unit, hand)
        joints[:ARM] = arm
        return (joints / self.unit).float()

    def command(self, state: State) -> Float[Tensor, "batch action"]:
        """Return the targets of the joints [rad]."""
        return self.low + (state[COMMAND] + 1) * self.half


class _Close:
    """Closes the hand to where it is in the goal and beyond, so that it presses what is in it."""

    def __init__(self, reach: _Reach, press: float) -> None:
        self.reach, self.press = reach, press

    def __call__(self, state: State, goal: State) -> Float[Tensor, "batch 1 action"]:
        """Return one decision."""
        command = self.reach.command(state)
        beyond = command + (1 + self.press) * (goal["joints"].to(command) - command)
        change = torch.clamp(beyond, self.reach.low, self.reach.high) - command
        change[:, :ARM] = 0.0
        return (change / self.reach.unit).unsqueeze(1)


class _Lift:
    """Lifts the hand from where it is in the goal, as it is, and waits."""

    def __init__(self, reach: _Reach, height: float) -> None:
        self.reach, self.height = reach, height
        self._arm = ArmKinematics()

    def __call__(self, state: State, goal: State) -> Float[Tensor, "batch 2 action"]:
        """Return two decisions."""
        change = torch.zeros_like(goal["joints"])
        for row, joints in enumerate(goal["joints"][:, :ARM].numpy()):
            place, turn = self._arm.palm_pose(joints)
            above = place + np.array([0.0, 0.0, self.height])
            lifted = self._arm.solve(above, turn, start=joints, rest=joints).joints
            change[row, :ARM] = torch.from_numpy(lifted - joints)
        lift = change / self.reach.unit
        return torch.stack([lift, torch.zeros_like(lift)], dim=1)
