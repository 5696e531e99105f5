"""What several problems share: columns of points, the functions of their library, products that vanish on sides.

Floor 15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntaylor.array_object import ArrayObject
from ntaylor.constraints import HardConstraint
from ntaylor.namespace import array_namespace

__all__ = ["hard", "space", "vanishing"]

Array = Any


def space(x: Any) -> Any:
    """The namespace whose functions take ``x``, an array or a jet."""
    return x.__array_namespace__() if isinstance(x, ArrayObject) else array_namespace(x)


def vanishing(*sides: tuple[int, float], power: int = 1) -> Callable[[Any], Any]:
    """x ↦ Π (x_i − c)^power over the sides (i, c), of shape (\\*batch, 1)."""

    def factor(x: Any) -> Any:
        product: Any = 1.0
        for i, c in sides:
            product = product * (x[..., i : i + 1] - c)
        return product if power == 1 else product**power

    return factor


def hard(factor: Callable[[Any], Any], term: Callable[[Any], Any] | None = None) -> Callable[[Any], HardConstraint]:
    """network ↦ factor(x) · network(x) + term(x), for a problem's ``hard``."""
    return lambda network: HardConstraint(network, factor, term)
