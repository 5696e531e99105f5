"""A beam equation of sixth order: one dimension, boundary values of u, u″ and u⁗.

Floor 15. u⁽⁶⁾ = u − 6eˣ on [0, 1], the example of Wazwaz 2001 (Appl. Math. Comput. 118, "The numerical solution of
sixth-order boundary value problems by the modified decomposition method") with even derivatives given at both ends;
exact u = (1 − x)eˣ, whose n-th derivative is (1 − n − x)eˣ.
"""

from __future__ import annotations

import numpy as np

from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves

__all__ = ["ENTRIES"]


def beam(u, x):  # type: ignore[no-untyped-def]
    """u⁽⁶⁾ = u − 6eˣ."""
    return u.xxxxxx - u + 6 * np.exp(x)


def _ends(u, x):  # type: ignore[no-untyped-def]
    e = np.exp(x)
    return u - (1 - x) * e, u.xx + (1 + x) * e, u.xxxx + (3 + x) * e


def _beam() -> Problem:
    return Problem(
        beam,
        {"x": (0.0, 1.0)},
        [Condition(_ends, where={"x": (0.0, 1.0)}, weight=100.0)],
        solution=lambda p: (1 - p[:, 0]) * np.exp(p[:, 0]),
    )


ENTRIES = (
    Entry(
        name="beam-6",
        title="beam of sixth order",
        equation="u⁽⁶⁾ = u − 6eˣ on [0, 1], u, u″ and u⁗ given at both ends",
        order=6,
        smooth=True,
        source="Wazwaz 2001, Appl. Math. Comput. 118; exact u = (1 − x)eˣ",
        published="no figure of a network at hand",
        make=_beam,
        recipe=Recipe(
            {"widths": [1, 16, 16, 1], "input_range": (0.0, 1.0)},
            {"optimizer": "lm", "steps": 100, "points": 60},
            Waves(20, 3.0, 60),
        ),
        grid=(1001,),
    ),
)
