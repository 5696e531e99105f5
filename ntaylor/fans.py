"""Several directions that share one primal, each to an order of its own, as one list of coefficients.

Floor 2. A fan's coefficients are u_0, then those of its first direction from order 1 on, then those of the second, and
so on: a list, or a block, like that of one direction, so whatever treats all coefficients alike, as a dense layer
does, knows nothing of fans. What multiplies series takes a fan apart into one series a direction and puts the results
together again, and does the transpose with cotangents. Where a layer takes an order, it takes a fan.

**Joined** directions are collapsed (``docs/theory.md`` section 10): where only Σ_r c_r v_K,r of the top coefficients is
wanted, one direction carries that sum as its own top coefficient and the others have none. A rule is linear in u_K, so
which direction of them the sum of the u_K,r is given to does not matter to the sum of the v_K,r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ntaylor.series import Series, add

__all__ = ["Fan", "Order", "gathered", "highest", "lengths", "merged", "opened_out", "orders_of", "size", "spread"]

Coefficients = Sequence[Any]


class Fan(NamedTuple):
    """How far each direction goes; a fan of one direction of order n is what the number n is."""

    orders: tuple[int, ...]
    joined: tuple[tuple[int, float] | None, ...]
    """Of each direction the one that carries its top coefficient too, and the factor; or None.

    Both are of one order, 2 or more: a sum of first derivatives is that along one direction.
    """


Order = int | Fan
"""The highest order, or that of every direction of a fan."""


def orders_of(order: Order) -> tuple[int, ...]:
    """The order of every direction."""
    return order.orders if isinstance(order, Fan) else (order,)


def highest(order: Order) -> int:
    """The highest order of any direction."""
    return max(orders_of(order), default=0)


def size(order: Order) -> int:
    """How many coefficients there are, the primal among them."""
    return 1 + sum(map(len, _places(order))) if isinstance(order, Fan) else order + 1


def lengths(order: Order, count: int) -> list[int]:
    """How many coefficients 0, 1, … each direction has, of ``count`` that are given."""
    return [n + 1 for n in order.orders] if isinstance(order, Fan) else [count]


def _places(fan: Fan) -> list[range]:
    """Of every direction the places of the coefficients 1, 2, … that it has."""
    found, start = [], 1
    for order, joined in zip(fan.orders, fan.joined, strict=True):
        stop = start + order - (joined is not None)
        found.append(range(start, stop))
        start = stop
    return found


def opened_out(order: Order, u: Coefficients) -> list[Coefficients]:
    """The coefficients 0, 1, … of every direction."""
    if not isinstance(order, Fan):
        return [u]
    primal, count = u[0], len(u)
    return [[primal, *(u[i] if i < count else None for i in own)] for own in _places(order)]


def merged(order: Order, v: Sequence[Series]) -> list[Any]:
    """The fan's coefficients of every direction's series, without trailing structural zeros."""
    if not isinstance(order, Fan):
        return v[0].truncated(order)
    result = [v[0][0]]
    for series, own in zip(v, _places(order), strict=True):
        result += [series[k] for k in range(1, len(own) + 1)]
    for top, (carrier, factor), series in _joined(order, v):
        result[top] = add(result[top], _times(series[order.orders[carrier]], factor))
    while len(result) > 1 and result[-1] is None:
        result.pop()
    return result


def spread(order: Order, cotangent: Coefficients) -> list[Coefficients]:
    """The transpose of :func:`merged`: every direction's cotangents, the primal's with the first."""
    if not isinstance(order, Fan):
        return [cotangent]
    count = len(cotangent)
    found: list[Any] = [[None, *(cotangent[i] if i < count else None for i in own)] for own in _places(order)]
    found[0][0] = cotangent[0]
    for top, (_, factor), of_direction in _joined(order, found):
        of_direction.append(_times(cotangent[top], factor) if top < count else None)
    return found


def gathered(order: Order, u_bar: Sequence[Coefficients], count: int) -> list[Any]:
    """The transpose of :func:`opened_out`, of ``count`` coefficients."""
    if not isinstance(order, Fan):
        return list(u_bar[0])
    result: list[Any] = [None]
    for of_direction, own in zip(u_bar, _places(order), strict=True):
        result[0] = add(result[0], of_direction[0])
        result += [of_direction[k] for k in range(1, len(own) + 1)]
    return result[:count]


def _joined(fan: Fan, of_directions: Sequence[Any]) -> list[tuple[int, tuple[int, float], Any]]:
    """(place of the sum, (direction that carries it, factor), what belongs to it) of every joined direction."""
    own = _places(fan)
    return [
        (own[joined[0]][-1], joined, here)
        for joined, here in zip(fan.joined, of_directions, strict=True)
        if joined is not None
    ]


def _times(c: Any, factor: float) -> Any:
    return c if c is None or factor == 1 else c * factor
