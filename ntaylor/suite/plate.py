"""The clamped square plate: a biharmonic problem.

Floor 15. Δ²u = q on the unit square with u = ∂u/∂n = 0 on the boundary; q is that of u = sin²πx sin²πy, for which
with C = cos 2π· and S = sin²π· it is −8π⁴ (C(x)S(y) + S(x)C(y) − C(x)C(y)).
"""

from __future__ import annotations

import numpy as np

from ntaylor.posing import Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, vanishing

__all__ = ["ENTRIES"]


def plate(u, x, y):  # type: ignore[no-untyped-def]
    """Δ²u = q, divided by 8π⁴."""
    cx, cy = np.cos(2 * np.pi * x), np.cos(2 * np.pi * y)
    sx, sy = np.sin(np.pi * x), np.sin(np.pi * y)
    return (u.xxxx + 2 * u.xxyy + u.yyyy) / (8 * np.pi**4) + cx * sy**2 + cy * sx**2 - cx * cy


def _plate() -> Problem:
    return Problem(
        plate,
        {"x": (0.0, 1.0), "y": (0.0, 1.0)},
        hard=hard(vanishing((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0), power=2)),
        solution=lambda p: np.sin(np.pi * p[:, 0]) ** 2 * np.sin(np.pi * p[:, 1]) ** 2,
    )


ENTRIES = (
    Entry(
        name="plate",
        title="clamped plate (biharmonic)",
        equation="Δ²u = q on the unit square, u = ∂u/∂n = 0 on the boundary",
        order=4,
        smooth=True,
        source="manufactured; exact u = sin²πx sin²πy",
        published="no figure at hand",
        make=_plate,
        recipe=Recipe(
            {"widths": [2, 20, 20, 1], "input_range": ([0.0, 0.0], [1.0, 1.0])},
            {"optimizer": "lm", "steps": 60, "points": 600},
            Waves(150, 3.0, 700),
        ),
    ),
)
