"""Coefficients of all orders as one array.

Floor 1. What makes all coefficients at once, as a kernel does, lays them behind one another in one array. What then
treats all orders alike, as a dense layer's matrix product does, takes that array, so that nothing is joined or copied
in between; everybody else sees a sequence of coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

__all__ = ["Block", "Coefficients", "arrays_in", "mapped_all", "opened"]

Array = Any
Coefficients = Sequence[Any]
"""Arrays, or ``None`` for structural zeros: a list, or a block of those that are of one shape."""

if TYPE_CHECKING:
    _Sequence = Sequence[Any]
else:  # no abstract class: whether something is a block is asked all the time, which takes longer of those
    _Sequence = object


class Block(_Sequence):
    """Taylor coefficients 0, 1, … that are all there and of one shape: the rows of ``array``, (orders, \\*shape).

    That of a matrix product is nobody else's, so a bias may be added in place; that of an activation is what its
    pullback reads, and is not written to.
    """

    __slots__ = ("array",)

    def __init__(self, array: Array):
        self.array = array

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        if not -len(self) <= k < len(self):
            raise IndexError(f"coefficient {k} of {len(self)}")
        return self.array[k, ...]

    def __iter__(self) -> Iterator[Any]:
        return (self.array[k, ...] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"Block({self.array!r})"


def arrays_in(u: Coefficients) -> list[Array]:
    """The arrays that hold the coefficients: a block's one, or every coefficient that is there."""
    return [u.array] if isinstance(u, Block) else [c for c in u if c is not None]


def mapped_all(function: Callable[[Array], Array], u: Coefficients) -> Coefficients:
    """``function``, which looks at the trailing axes alone, of every coefficient: of a block, in one call."""
    return Block(function(u.array)) if isinstance(u, Block) else [None if c is None else function(c) for c in u]


def opened(u: Coefficients) -> tuple[list[Array], Callable[[Sequence[Array | None]], Coefficients]]:
    """:func:`arrays_in`, and what makes coefficients of as many arrays, or ``None``, in their places."""
    if isinstance(u, Block):
        count = len(u)
        return [u.array], lambda arrays: [None] * count if arrays[0] is None else Block(arrays[0])
    present = [c is not None for c in u]

    def closed(arrays: Sequence[Array | None]) -> Coefficients:
        given = iter(arrays)
        return [next(given) if there else None for there in present]

    return [c for c in u if c is not None], closed
