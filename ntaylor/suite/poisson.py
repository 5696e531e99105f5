"""Poisson's equation on the unit square and in the unit cube of five dimensions.

Floor 15. Both are the examples of Müller and Zeinhofer 2023 ("Achieving high accuracy with PINNs via energy natural
gradients", arXiv 2302.13163): u = sin πx sin πy with zero boundary values, and u = Σ cos πx_i with its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, vanishing

__all__ = ["ENTRIES"]

Array = Any


def poisson_2d(u, x, y):  # type: ignore[no-untyped-def]
    """Δu + 2π² sin πx sin πy = 0."""
    return u.xx + u.yy + 2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y)


def _square() -> Problem:
    return Problem(
        poisson_2d,
        {"x": (0.0, 1.0), "y": (0.0, 1.0)},
        hard=hard(vanishing((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0))),
        solution=lambda p: np.sin(np.pi * p[:, 0]) * np.sin(np.pi * p[:, 1]),
    )


def poisson_5d(u, v, w, x, y, z):  # type: ignore[no-untyped-def]
    """Δu + π² Σ cos πx_i = 0."""
    return u.vv + u.ww + u.xx + u.yy + u.zz + np.pi**2 * sum(np.cos(np.pi * c) for c in (v, w, x, y, z))


def _boundary(u, v, w, x, y, z):  # type: ignore[no-untyped-def]
    return u - sum(np.cos(np.pi * c) for c in (v, w, x, y, z))


def _cube() -> Problem:
    names = ("v", "w", "x", "y", "z")
    return Problem(
        poisson_5d,
        dict.fromkeys(names, (0.0, 1.0)),
        [Condition(_boundary, where={name: (0.0, 1.0)}, weight=100.0) for name in names],
        solution=lambda p: np.sum(np.cos(np.pi * p), axis=1),
    )


ENTRIES = (
    Entry(
        name="poisson-2d",
        title="Poisson, unit square",
        equation="Δu + 2π² sin πx sin πy = 0, u = 0 on the boundary",
        order=2,
        smooth=True,
        source="Müller and Zeinhofer 2023, arXiv 2302.13163; exact u = sin πx sin πy",
        published="6e-8 with second-order optimisers",
        make=_square,
        recipe=Recipe(
            {"widths": [2, 20, 20, 1], "input_range": ([0.0, 0.0], [1.0, 1.0])},
            {"optimizer": "lm", "steps": 60, "points": 600},
            Waves(150, 3.0, 700),
        ),
    ),
    Entry(
        name="poisson-5d",
        title="Poisson, five dimensions",
        equation="Δu + π² Σ cos πx_i = 0 on [0, 1]⁵, u given on the boundary",
        order=2,
        smooth=True,
        source="Müller and Zeinhofer 2023, arXiv 2302.13163; exact u = Σ cos πx_i",
        published="no figure at hand",
        make=_cube,
        recipe=Recipe(
            {"widths": [5, 32, 32, 1], "input_range": ([0.0] * 5, [1.0] * 5)},
            {"optimizer": "lm", "steps": 100, "points": 2000},
        ),
        grid=(8192,),
    ),
)
