"""Kovasznay's flow behind a grid: the stationary Navier–Stokes equations, three fields.

Floor 15. Kovasznay 1948 (Proc. Camb. Phil. Soc. 44): with λ = Re/2 − √(Re²/4 + 4π²), here Re = 40,
u = 1 − e^{λx} cos 2πy, v = λ/2π e^{λx} sin 2πy, p = (1 − e^{2λx})/2, on [−0.5, 1] × [−0.5, 1.5] as usual for networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves

__all__ = ["ENTRIES", "REYNOLDS"]

Array = Any
REYNOLDS = 40.0
_DECAY = REYNOLDS / 2 - np.sqrt(REYNOLDS**2 / 4 + 4 * np.pi**2)


def kovasznay(u, v, p, x, y):  # type: ignore[no-untyped-def]
    """Momentum in x and in y, and mass."""
    return (
        u * u.x + v * u.y + p.x - (u.xx + u.yy) / REYNOLDS,
        u * v.x + v * v.y + p.y - (v.xx + v.yy) / REYNOLDS,
        u.x + v.y,
    )


def _velocity(u, v, p, x, y):  # type: ignore[no-untyped-def]
    wave = np.exp(_DECAY * x)
    return u - 1 + wave * np.cos(2 * np.pi * y), v - _DECAY / (2 * np.pi) * wave * np.sin(2 * np.pi * y)


def _pressure(u, v, p, x, y):  # type: ignore[no-untyped-def]
    return p - (1 - np.exp(2 * _DECAY * x)) / 2


def _solution(points: Array) -> Array:
    x, y = points.T
    wave = np.exp(_DECAY * x)
    u, v = 1 - wave * np.cos(2 * np.pi * y), _DECAY / (2 * np.pi) * wave * np.sin(2 * np.pi * y)
    return np.stack([u, v, (1 - wave**2) / 2], axis=-1)


def _kovasznay() -> Problem:
    return Problem(
        kovasznay,
        {"x": (-0.5, 1.0), "y": (-0.5, 1.5)},
        [
            Condition(_velocity, where={"x": (-0.5, 1.0)}, weight=100.0),
            Condition(_velocity, where={"y": (-0.5, 1.5)}, weight=100.0),
            Condition(_pressure, where={"x": 1.0, "y": -0.5}, weight=10.0, name="p at a corner"),
        ],
        solution=_solution,
    )


ENTRIES = (
    Entry(
        name="kovasznay",
        title="Navier–Stokes, Kovasznay flow",
        equation="u·∇u + ∇p = Δu/40, ∇·u = 0, u on the boundary, p at a corner",
        order=2,
        smooth=True,
        source="Kovasznay 1948, Proc. Camb. Phil. Soc. 44; exact",
        published="1e-3 to 1e-4 with Adam and L-BFGS (NSFnets, arXiv 2003.06496)",
        make=_kovasznay,
        recipe=Recipe(
            {"widths": [2, 24, 24, 3], "input_range": ([-0.5, -0.5], [1.0, 1.5])},
            {"optimizer": "lm", "steps": 150, "points": 700},
            Waves(150, (3.0, 6.0), 700),
        ),
        grid=(76, 101),
    ),
)
