"""Levenberg–Marquardt on r(θ) = 0, one step at a time.

Floor 13: knows a residual and its Jacobian, not where they come from. SciPy's ``least_squares`` keeps its
state to itself and has no second-order correction; the profiles need both: steps that can be stopped,
stored and gone on from, and the geodesic acceleration of Transtrum and Sethna ("Improvements to the
Levenberg–Marquardt algorithm for nonlinear least-squares minimization", arXiv 1201.5885).

The step comes from the singular value decomposition of the Jacobian, never from JᵀJ: the singular
values of a network's Jacobian fall over all sixteen digits, and squaring them loses the half of them
that the last digits of the solution live in. One decomposition serves every damping that is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import scipy.linalg

__all__ = ["Settings", "State", "System", "levenberg_marquardt"]

Array = Any

_SMALLEST_DAMPING = 1e-30
_RESCUE = tuple(5.0 * 8.0**trial for trial in range(1, 12))
"""Factors tried one after another, each a stronger damping, when none of the usual ones lowers the cost."""


class System(Protocol):
    """What is to be brought to zero."""

    def residual(self, theta: Array) -> Array: ...

    def residual_and_jacobian(self, theta: Array) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class Settings:
    """How to step and when to stop.

    ``steps`` at most; a cost r·r below ``tolerance`` stops, and so do two steps in a row that lower it by
    less than the share ``stall``. ``factors`` are the multiples of the damping tried at every step.
    ``acceleration`` adds the second-order correction a, refused where 2|a| > ``acceleration_limit``·|step|.
    ``scale`` multiplies the columns of the Jacobian; ``held`` marks the entries of θ that stay as they are;
    ``lower`` and ``upper`` bound θ (steps are clipped to them).
    """

    steps: int
    tolerance: float = 0.0
    stall: float = 0.0
    factors: tuple[float, ...] = (0.03, 0.2, 1.0, 5.0)
    acceleration: bool = True
    acceleration_limit: float = 0.75
    difference: float = 0.1
    scale: Array | None = None
    held: Array | None = None
    lower: Array = -np.inf
    upper: Array = np.inf


@dataclass(frozen=True)
class State:
    """Where the iteration stands: all that is needed to go on from here."""

    theta: Array
    damping: float = 1e-2
    cost: float = np.inf
    step: int = 0
    slow: int = 0
    """How many steps in a row, up to this one, lowered the cost by less than ``stall``."""
    finished: str = ""
    """Empty while it may go on, else why it ended: 'tolerance', 'stalled', 'no decrease' or 'steps'."""


@dataclass
class _Step:
    """Damped steps from one decomposition J = Q diag(s) Vᵀ of the scaled free columns."""

    jacobian: Array
    free: Array
    scale: Array
    size: int
    q: Array = field(init=False)
    s: Array = field(init=False)
    v_t: Array = field(init=False)

    def __post_init__(self) -> None:
        scaled = self.jacobian[:, self.free] * self.scale
        try:
            self.q, self.s, self.v_t = scipy.linalg.svd(scaled, full_matrices=False, check_finite=False)
        except scipy.linalg.LinAlgError:  # the divide-and-conquer driver can fail where QR iteration does not
            self.q, self.s, self.v_t = scipy.linalg.svd(scaled, full_matrices=False, lapack_driver="gesvd")

    def solve(self, r: Array, damping: float) -> Array:
        """The minimiser of |J d − r|² + damping·|d/scale|², zero in the held entries."""
        d = np.zeros(self.size)
        d[self.free] = self.scale * (self.v_t.T @ (self.s / (self.s**2 + damping) * (self.q.T @ r)))
        return d


def levenberg_marquardt(system: System, state: State, settings: Settings) -> Iterator[State]:
    """Yield the state after every step, until its ``finished`` says why it is the last.

    Going on from any yielded state gives the same states that would have followed it.
    """
    if state.finished:
        return
    size = len(state.theta)
    free = np.ones(size, bool) if settings.held is None else ~np.asarray(settings.held, bool)
    scale = np.ones(size) if settings.scale is None else np.asarray(settings.scale, float)
    while not state.finished:
        r, jacobian = system.residual_and_jacobian(state.theta)
        cost = float(r @ r)
        # An entry at its bound that the gradient pushes outwards stays there, and leaves the others their step.
        downhill = -(r @ jacobian)
        stuck = ((state.theta <= settings.lower) & (downhill < 0)) | ((state.theta >= settings.upper) & (downhill > 0))
        movable = free & ~stuck
        step = _Step(jacobian, movable, scale[movable], size)
        best = _best_trial(system, state, settings, r, cost, step)
        if best is None:
            state = replace(state, cost=cost, finished="no decrease")
        else:
            new_cost, theta, damping = best
            slow = state.slow + 1 if new_cost > (1 - settings.stall) * cost else 0
            done = state.step + 1
            finished = (
                "tolerance"
                if new_cost < settings.tolerance
                else "stalled"
                if slow >= 2
                else "steps"
                if done >= settings.steps
                else ""
            )
            state = State(theta, max(damping, _SMALLEST_DAMPING), new_cost, done, slow, finished)
        yield state


def _best_trial(
    system: System, state: State, settings: Settings, r: Array, cost: float, step: _Step
) -> tuple[float, Array, float] | None:
    """(cost, θ, damping) of the best of the usual dampings, or of the first stronger one that helps."""

    def trial(damping: float) -> tuple[float, Array, float] | None:
        d = -step.solve(r, damping)
        if settings.acceleration:
            a = _acceleration(system.residual, state.theta, d, r, step, damping, settings.difference)
            if not 2 * np.linalg.norm(a) <= settings.acceleration_limit * np.linalg.norm(d):
                return None
            d = d + a
        theta = np.clip(state.theta + d, settings.lower, settings.upper)
        new = system.residual(theta)
        new_cost = float(new @ new)
        return (new_cost, theta, damping) if new_cost < cost else None  # also refuses a NaN

    usual = [t for factor in settings.factors if (t := trial(state.damping * factor)) is not None]
    if usual:
        return min(usual, key=lambda t: t[0])
    return next((t for factor in _RESCUE if (t := trial(state.damping * factor)) is not None), None)


def _acceleration(
    residual: Callable[[Array], Array], theta: Array, d: Array, r: Array, step: _Step, damping: float, h: float
) -> Array:
    """−½ J⁺ r″(d, d), with the second directional derivative by a forward difference of step h (eq. 14 there)."""
    second = 2 / h * ((residual(theta + h * d) - r) / h - step.jacobian @ d)
    return -0.5 * step.solve(second, damping)
