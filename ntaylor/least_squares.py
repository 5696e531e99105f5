"""Levenberg–Marquardt on r(θ) = 0, one step at a time, on arrays of any library.

Floor 11: knows a residual and its Jacobian, not where they come from. SciPy's ``least_squares`` keeps its
state to itself and has no second-order correction; the profiles need both: steps that can be stopped,
stored and gone on from, and the geodesic acceleration of Transtrum and Sethna ("Improvements to the
Levenberg–Marquardt algorithm for nonlinear least-squares minimization", arXiv 1201.5885).

By default the step comes from the singular value decomposition of the Jacobian, never from JᵀJ: the singular
values of a network's Jacobian fall over all sixteen digits, and squaring them loses the half of them
that the last digits of the solution live in. One decomposition serves every damping that is tried. For large
systems ``solver="auto"`` is as accurate where it matters and several times cheaper: see :mod:`damped_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ntaylor.damped_steps import check_solver, damped_steps
from ntaylor.namespace import array_namespace, device

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
    ``lower`` and ``upper`` bound θ (steps are clipped to them). ``solver`` is one of ``damped_steps.SOLVERS``.
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
    solver: str = "svd"


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
    solver: str = ""
    """How the last step was computed."""


class _Step:
    """Damped steps in the free columns of the Jacobian, scaled."""

    def __init__(self, jacobian: Array, free: Array | None, scale: Array | None, settings: Settings, damping: float):
        self.jacobian, self.free, self.scale = jacobian, free, scale
        xp = array_namespace(jacobian)
        scaled = jacobian
        if free is not None:
            # Where an entry of the step lies among the free ones; the held ones lie behind them, at a zero.
            places = np.where(free, np.cumsum(free) - 1, np.count_nonzero(free))
            kept, self.places = (xp.asarray(a, device=device(jacobian)) for a in (np.flatnonzero(free), places))
            scaled = xp.take(jacobian, kept, axis=1)
            self.scale = None if scale is None else xp.take(scale, kept)
        if self.scale is not None:
            scaled = scaled * self.scale
        self.steps = damped_steps(scaled, settings.solver, [damping * factor for factor in settings.factors])

    def solve(self, r: Array, damping: float) -> Array:
        """The minimiser of |J d − r|² + damping·|d/scale|², zero in the held entries."""
        d = self.steps.solve(r, damping)
        if self.scale is not None:
            d = self.scale * d
        if self.free is not None:
            xp = array_namespace(d)
            d = xp.take(xp.concat([d, xp.zeros(1, dtype=d.dtype, device=device(d))]), self.places)
        return d


def levenberg_marquardt(system: System, state: State, settings: Settings) -> Iterator[State]:
    """Yield the state after every step, until its ``finished`` says why it is the last.

    Going on from any yielded state gives the same states that would have followed it.
    """
    if state.finished:
        return
    check_solver(settings.solver)
    xp = array_namespace(state.theta)
    like = {"dtype": state.theta.dtype, "device": device(state.theta)}
    held = None if settings.held is None else np.asarray(settings.held, bool)
    scale = None if settings.scale is None else xp.asarray(settings.scale, **like)
    bounds = _Bounds.of(state.theta, settings)
    while not state.finished:
        r, jacobian = system.residual_and_jacobian(state.theta)
        cost = float(r @ r)
        stuck = None if bounds is None else bounds.stuck(state.theta, -(r @ jacobian))
        free = None
        if held is not None or stuck is not None:
            free = np.ones(len(state.theta), bool) if held is None else ~held
            free = free if stuck is None else free & ~stuck
            free = None if free.all() else free
        step = _Step(jacobian, free, scale, settings, state.damping)
        best = _best_trial(system, state, settings, r, cost, step, bounds)
        if best is None:
            state = replace(state, cost=cost, finished="no decrease", solver=step.steps.method)
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
            method = step.steps.method
            state = State(theta, max(damping, _SMALLEST_DAMPING), new_cost, done, slow, finished, method)
        yield state


@dataclass(frozen=True)
class _Bounds:
    lower: Array
    upper: Array

    @classmethod
    def of(cls, theta: Array, settings: Settings) -> _Bounds | None:
        """Those of the settings as arrays of θ's library; None where all of θ is free to go anywhere."""
        ends = [np.asarray(end, dtype=float) for end in (settings.lower, settings.upper)]
        if not any(np.isfinite(end).any() for end in ends):
            return None
        xp = array_namespace(theta)
        full = [np.broadcast_to(end, tuple(theta.shape)).copy() for end in ends]
        return cls(*(xp.asarray(end, dtype=theta.dtype, device=device(theta)) for end in full))

    def stuck(self, theta: Array, downhill: Array) -> Array:
        """Entries at a bound that the gradient pushes outwards: they stay, and leave the others their step."""
        out = ((theta <= self.lower) & (downhill < 0)) | ((theta >= self.upper) & (downhill > 0))
        return np.asarray([bool(flag) for flag in out]) if not isinstance(out, np.ndarray) else out

    def clipped(self, theta: Array) -> Array:
        xp = array_namespace(theta)
        return xp.minimum(xp.maximum(theta, self.lower), self.upper)


def _best_trial(
    system: System, state: State, settings: Settings, r: Array, cost: float, step: _Step, bounds: _Bounds | None
) -> tuple[float, Array, float] | None:
    """(cost, θ, damping) of the best of the usual dampings, or of the first stronger one that helps."""

    def trial(damping: float) -> tuple[float, Array, float] | None:
        try:
            d = -step.solve(r, damping)
            if settings.acceleration:
                a = _acceleration(system.residual, state.theta, d, r, step, damping, settings.difference)
                if not 2 * _norm(a) <= settings.acceleration_limit * _norm(d):
                    return None
                d = d + a
        except np.linalg.LinAlgError:  # too little damping for a matrix that rounding made indefinite
            return None
        theta = state.theta + d if bounds is None else bounds.clipped(state.theta + d)
        new = system.residual(theta)
        new_cost = float(new @ new)
        return (new_cost, theta, damping) if new_cost < cost else None  # also refuses a NaN

    usual = [t for factor in settings.factors if (t := trial(state.damping * factor)) is not None]
    if usual:
        return min(usual, key=lambda t: t[0])
    return next((t for factor in _RESCUE if (t := trial(state.damping * factor)) is not None), None)


def _norm(a: Array) -> float:
    return math.sqrt(float(a @ a))


def _acceleration(
    residual: Callable[[Array], Array], theta: Array, d: Array, r: Array, step: _Step, damping: float, h: float
) -> Array:
    """−½ J⁺ r″(d, d), with the second directional derivative by a forward difference of step h (eq. 14 there)."""
    second = 2 / h * ((residual(theta + h * d) - r) / h - step.jacobian @ d)
    return -0.5 * step.solve(second, damping)
