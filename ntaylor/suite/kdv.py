"""Korteweg and de Vries' equation: one soliton, and two that meet.

Floor 15. u_t + 6 u u_x + u_xxx = 0. The N-soliton of Hirota 1971 (Phys. Rev. Lett. 27) is u = 2 ∂²_x log F; for one
F = 1 + e^η, η = κx − κ³t, and for two F = 1 + e^{η₁} + e^{η₂} + ((κ₁ − κ₂)/(κ₁ + κ₂))² e^{η₁ + η₂}. On an interval the
equation takes two values at the right end and one at the left, for short waves run to the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves

__all__ = ["ENTRIES", "solitons"]

Array = Any


def kdv(u, x, t):  # type: ignore[no-untyped-def]
    """u_t + 6 u u_x + u_xxx = 0."""
    return u.t + 6 * u * u.x + u.xxx


def _terms(x: Any, t: Any, kappas: Sequence[float], shifts: Sequence[float]) -> list[tuple[Any, float]]:
    """F as (e^{…}, what x multiplies in the exponent), one after another."""
    phases = [k * x - k**3 * t + s for k, s in zip(kappas, shifts, strict=True)]
    terms = [(np.exp(p), k) for p, k in zip(phases, kappas, strict=True)]
    if len(kappas) == 2:
        (a, b), share = kappas, ((kappas[0] - kappas[1]) / (kappas[0] + kappas[1])) ** 2
        terms.append((share * np.exp(phases[0] + phases[1]), a + b))
    return terms


def solitons(x: Any, t: Any, kappas: Sequence[float], shifts: Sequence[float]) -> tuple[Any, Any]:
    """(u, u_x) of one or two solitons of heights κ²/2, from the derivatives of F."""
    terms = _terms(x, t, kappas, shifts)
    f0, f1, f2, f3 = (sum(e * k**n for e, k in terms) + (n == 0) for n in range(4))
    first = f1 / f0
    u = 2 * (f2 / f0 - first * first)
    # (log F)‴ = F‴/F − 3 F′F″/F² + 2 (F′/F)³
    return u, 2 * (f3 / f0 - 3 * first * f2 / f0 + 2 * first**3)


def _posed(kappas: Sequence[float], shifts: Sequence[float], x: tuple[float, float], t: tuple[float, float]) -> Problem:
    def value(u, x, t):  # type: ignore[no-untyped-def]
        return u - solitons(x, t, kappas, shifts)[0]

    def slope(u, x, t):  # type: ignore[no-untyped-def]
        return u.x - solitons(x, t, kappas, shifts)[1]

    return Problem(
        kdv,
        {"x": x, "t": t},
        [
            Condition(value, where={"t": t[0]}, weight=100.0),
            Condition(value, where={"x": x}, weight=100.0),
            Condition(slope, where={"x": x[1]}, weight=10.0, name="slope"),
        ],
        solution=lambda p: solitons(p[:, 0], p[:, 1], kappas, shifts)[0],
    )


def _one() -> Problem:
    return _posed((1.0,), (0.0,), (-8.0, 8.0), (-1.0, 1.0))


def _two() -> Problem:
    # Shifts that put the meeting at x = t = 0: F is symmetric there.
    share = np.log((1.5 - 1.0) / (1.5 + 1.0))
    return _posed((1.0, 1.5), (-share, -share), (-8.0, 8.0), (-0.75, 0.75))


def _entry(name: str, title: str, make: Callable[[], Problem], recipe: Recipe) -> Entry:
    return Entry(
        name=name,
        title=title,
        equation="u_t + 6uu_x + u_xxx = 0, u at the start and at both ends, u_x at the right",
        order=3,
        smooth=True,
        source="Hirota 1971, Phys. Rev. Lett. 27; exact",
        published="no figure for this start at hand",
        make=make,
        recipe=recipe,
    )


ENTRIES = (
    _entry(
        "kdv",
        "Korteweg–de Vries, one soliton",
        _one,
        Recipe(
            {"widths": [2, 24, 24, 1], "input_range": ([-8.0, -1.0], [8.0, 1.0])},
            {"optimizer": "lm", "steps": 120, "points": 1000},
            Waves(400, (0.0, 3.0), 1400, band=(50.0, None), condition_points=150),
        ),
    ),
    _entry(
        "kdv-2",
        "Korteweg–de Vries, two solitons",
        _two,
        Recipe(
            {"widths": [2, 24, 24, 1], "input_range": ([-8.0, -0.75], [8.0, 0.75])},
            {"optimizer": "lm", "steps": 120, "points": 1000},
            Waves(450, (0.0, 4.0), 1600, band=(70.0, None), condition_points=150),
        ),
    ),
)
