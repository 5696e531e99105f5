"""The phase-field crystal equation in one dimension: sixth order, nonlinear, conserving ∫u.

Floor 15. u_t = ∂²_x [(r + (1 + ∂²_x)²) u + u³] with r = −1/2 (Elder, Katakowski, Haataja, Grant 2002, Phys. Rev. Lett.
88), periodic with period 4π, 0 <= t <= 1. Short waves die at the rate k⁶, so a start that is simple has a layer in
time; the start here is what 0.3 cos x + 0.1 cos x/2 + 0.1 sin 3x/2 becomes after one unit of time. The reference is a
Fourier series of 64 points stepped by ETDRK4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ntaylor.posing import Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, space, vanishing
from ntaylor.suite.spectral import Evolution, evolve

__all__ = ["ENTRIES", "reference"]

Array = Any
PERIOD = 4 * np.pi
END = 1.0
UNDERCOOLING = -0.5


def phase_field_crystal(u, x, t):  # type: ignore[no-untyped-def]
    """u_t = ((r + 1)u + 2u_xx + u_xxxx + u³)_xx."""
    cubic = 3 * u * u * u.xx + 6 * u * u.x * u.x
    return u.t - (1 + UNDERCOOLING) * u.xx - 2 * u.xxxx - u.xxxxxx - cubic


def _before(x: Any) -> Any:
    return 0.3 * np.cos(x) + 0.1 * np.cos(x / 2) + 0.1 * np.sin(1.5 * x)


@lru_cache(maxsize=4)
def reference(points: int = 64, step: float = 0.002, nodes: int = 24) -> Evolution:
    """The solution from one unit of time before the start: ask for it at t + 1."""
    return evolve(
        _before,
        lambda k: -(k**2) * ((1 - k**2) ** 2 + UNDERCOOLING),
        lambda u, k: -(k**2) * np.fft.rfft(u * u * u),
        low=0.0,
        length=PERIOD,
        points=points,
        edges=(0.0, 0.5, 1.0, 1.5, 2.0),
        step=step,
        nodes=nodes,
    )


def start(x: Any) -> Any:
    """u(x, 0), a Fourier series."""
    xp, total = space(x), 0.0
    coefficients = reference().coefficients[1, -1]
    for m, c in enumerate(coefficients):
        if abs(c) > 1e-17:
            share = 1.0 if m == 0 else 2.0
            total = total + share * (float(c.real) * xp.cos(0.5 * m * x) - float(c.imag) * xp.sin(0.5 * m * x))
    return total


def _problem() -> Problem:
    return Problem(
        phase_field_crystal,
        {"x": (0.0, PERIOD), "t": (0.0, END)},
        hard=hard(vanishing((1, 0.0)), lambda p: start(p[..., :1])),
        solution=lambda p: reference()(np.asarray(p) + np.asarray([0.0, 1.0])),
    )


ENTRIES = (
    Entry(
        name="phase-field-crystal",
        title="phase-field crystal",
        equation="u_t = ((1 + ∂ₓ²)²u − u/2 + u³)_xx, period 4π, 0 ≤ t ≤ 1",
        order=6,
        smooth=True,
        source="Elder and others 2002, Phys. Rev. Lett. 88; reference by Fourier series and ETDRK4",
        published="no figure at hand",
        make=_problem,
        recipe=Recipe(
            {"widths": [2, 20, 20, 1], "periods": (PERIOD, None), "input_range": ([0.0, 0.0], [PERIOD, END])},
            {"optimizer": "lm", "steps": 100, "points": 800},
            Waves(300, (0.0, 3.0), 1000, band=(35.0, None)),
        ),
    ),
)
