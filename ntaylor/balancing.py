"""Weights of a loss's terms from what their gradients are: nobody has to guess them.

Floor 1: numbers in, numbers out; who has the gradients takes their norms. With terms L_i of a loss Σ_i λ_i L_i:

- ``"norms"``: λ_i = (1/n) Σ_j ‖∇L_j‖ / ‖∇L_i‖, so that all λ_i ∇L_i are of one length (Wang, Sankaran, Wang, Perdikaris
  2023, arXiv 2308.08468, algorithm 1, there without the 1/n, which keeps the loss's size).
- ``"first"``: λ_0 = 1 and λ_i = max|∇L_0| / mean|∇L_i|, the term 0 being the equation's (Wang, Teng, Perdikaris 2021,
  arXiv 2001.04536, algorithm 1). It takes (max, mean) of each.
- ``"ntk"``: λ_i = Σ_j tr K_jj / tr K_ii with the tangent kernel K_ii = J_i J_iᵀ of the residuals of a term, whose trace
  is the sum of squares of their Jacobian (Wang, Yu, Perdikaris 2022, arXiv 2007.14527, algorithm 1). It takes the
  traces.

All are followed slowly here, λ ← m λ + (1 − m) λ_new, which the first two papers do as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["KINDS", "balanced"]

KINDS = ("norms", "first", "ntk")


def balanced(
    statistics: Sequence[Any],
    previous: Sequence[float] | None = None,
    *,
    kind: str = "norms",
    memory: float = 0.9,
) -> tuple[float, ...]:
    """The weights of the terms of a loss.

    Parameters
    ----------
    statistics:
        one number a term, of its *unweighted* gradient: its norm for "norms", the trace of its tangent kernel for
        "ntk"; for "first" pairs (largest absolute entry, mean absolute entry).
    previous: the weights until now, which new ones are mixed with; None the first time.
    kind: see above.
    memory: the share m of the previous weights, 0 <= m < 1.

    A term whose gradient vanishes keeps the weight that it had, 1 at first, and does not count for the others.
    Raises ValueError for an unknown kind, a number that is negative or not finite, or counts that do not agree.

    >>> balanced([1.0, 100.0])
    (50.5, 0.505)
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if not 0.0 <= memory < 1.0:
        raise ValueError(f"memory is the share of the previous weights, 0 <= memory < 1; got {memory}")
    if not len(statistics):
        raise ValueError("balanced takes one number a term of the loss; got none")
    pairs = [_pair(s, kind) for s in statistics]
    before = None if previous is None else [float(w) for w in previous]
    if before is not None and len(before) != len(pairs):
        raise ValueError(f"there are {len(pairs)} terms and {len(before)} previous weights")
    kept = before or [1.0] * len(pairs)
    moving = [mean for _, mean in pairs if mean > 0.0]
    if kind == "first":
        target = pairs[0][0]
    elif kind == "norms":
        target = math.fsum(moving) / max(len(moving), 1)
    else:
        target = math.fsum(moving)
    result = []
    for i, ((_, size), old) in enumerate(zip(pairs, kept, strict=True)):
        new = 1.0 if kind == "first" and i == 0 else target / size if size > 0.0 and target > 0.0 else old
        if not math.isfinite(new):
            new = old
        result.append(new if before is None else memory * old + (1.0 - memory) * new)
    return tuple(result)


def _pair(statistic: Any, kind: str) -> tuple[float, float]:
    """(largest, mean) of a term."""
    try:
        largest, mean = map(float, statistic) if kind == "first" else (float(statistic), float(statistic))
    except (TypeError, ValueError):
        what = "a pair (largest, mean) of absolute entries" if kind == "first" else "a number"
        raise ValueError(f"balanced(kind={kind!r}) takes {what} for each term; got {statistic!r}") from None
    if not (0.0 <= mean < math.inf and 0.0 <= largest < math.inf):
        raise ValueError(f"the gradient of a term is not finite, or its size negative: {statistic!r}")
    return largest, mean
