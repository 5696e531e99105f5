"""A residual with its derivatives in every input, and the Sobolev norms that are made of them.

Floor 11. A residual is F(x) = E(w(x), x) with w the derivatives of a network that an equation E asks for. Along a
direction v the Taylor coefficients of w are sums of its partial derivatives,

    w(x + t v) = Σ_k t^k Σ_{|β| = k} v^β/β! ∂^β w(x),

so that E on jets gives those of F, with no differentiation of F by anything else, and all ∇^j F follow from a few
directions by (9.4) of ``docs/theory.md``: C(d+s−1, s) of them at order s, which share the primal. Which w there are is
for ``fields`` to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy

from ntaylor.array_object import new_level, unwrapped_namespace
from ntaylor.bundles import Bundle, Family
from ntaylor.differentiate import pushed_together
from ntaylor.directions import of_integers
from ntaylor.gradients import map_leaves
from ntaylor.namespace import device, hides_values, is_array
from ntaylor.partitions import multi_indices
from ntaylor.power_sums import family

__all__ = ["Sobolev", "multi_indices_to", "with_derivatives"]

Array = Any


def multi_indices_to(dimension: int, order: int) -> tuple[tuple[int, ...], ...]:
    """Sorted coordinates (), (0,), …, (0, 0), … of all derivatives up to an order: the rows that are asked for."""
    return tuple(m for k in range(order + 1) for m in _monomials(dimension, k))


multi_indices_to._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _monomials(dimension: int, degree: int) -> list[tuple[int, ...]]:
    return sorted(tuple(i for i, e in enumerate(alpha) for _ in range(e)) for alpha in multi_indices(dimension, degree))


Matrix = tuple[tuple[float, ...], ...]


def _matrices(dimension: int, order: int) -> tuple[tuple[Any, ...], tuple[Matrix, ...], tuple[Matrix, ...]]:
    """(directions, for k = 0..order: v^β/β! of each direction and monomial; k! times the inverse of what they sum)."""
    return _made(dimension, order)


_matrices._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _made(dimension: int, order: int) -> tuple[tuple[Any, ...], tuple[Matrix, ...], tuple[Matrix, ...]]:
    directions, of_top = family(dimension, order)
    vectors = numpy.zeros((len(directions), dimension))
    for row, v in zip(vectors, directions, strict=True):
        for i, entry in v:
            row[i] = entry
    there, back = [], []
    for k in range(order + 1):
        monomials = _monomials(dimension, k)
        powers = numpy.stack([numpy.prod(vectors[:, list(m)], axis=1) / _factorials(m) for m in monomials], axis=1)
        # Coefficient k is powers @ partials. Of the top order the inverse is known exactly, in fractions.
        if k == order:
            inverse = numpy.asarray([[float(w) for w in of_top[m]] for m in monomials]) * float(math.factorial(k))
        else:
            inverse = numpy.linalg.pinv(powers)
        if not numpy.allclose(inverse @ powers, numpy.eye(len(monomials)), rtol=0.0, atol=1e-10):
            raise ArithmeticError(f"{len(directions)} directions in {dimension} coordinates do not give order {k}")
        there.append(tuple(map(tuple, powers.tolist())))
        back.append(tuple(map(tuple, inverse.tolist())))
    return directions, tuple(there), tuple(back)


def _factorials(monomial: tuple[int, ...]) -> float:
    """β! of a monomial's multi-index."""
    return float(math.prod(math.factorial(monomial.count(i)) for i in set(monomial)))


def _multiplicities(dimension: int, order: int) -> tuple[float, ...]:
    """How many entries j!/α! of ∇^j F each derivative is."""
    return tuple(math.factorial(order) / _factorials(m) for m in _monomials(dimension, order))


_multiplicities._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _places(dimension: int, order: int) -> tuple[int, ...]:
    """Which derivative each entry of ∇^j F is, in the order of its flat indices."""
    row = {m: i for i, m in enumerate(_monomials(dimension, order))}
    return tuple(row[tuple(sorted(index))] for index in product(range(dimension), repeat=order))


_places._dynamo_marked_constant = True  # type: ignore[attr-defined]


def with_derivatives(
    equation: Callable[..., Any],
    derivatives: Sequence[Sequence[Array]],
    points: Array,
    order: int,
) -> Any:
    """E(w…, x…) with its derivatives up to ``order``, a :class:`Sobolev` for each array that ``equation`` returns.

    ``derivatives`` holds for each w its partial derivatives (\\*batch,) in the order of :func:`multi_indices_to`;
    ``points`` is (\\*batch, d). The equation gets first the w's, then the d coordinates.
    """
    d = int(points.shape[-1])
    directions, there, back = _matrices(d, order)
    count = len(directions)
    family_ = Family(count, new_level())
    starts = [_jet_of(partials, there, family_) for partials in derivatives]
    stack = of_integers(directions, d).stack(points)
    starts += [[points[..., i], Bundle(stack[..., i], family_)] for i in range(d)]
    found = pushed_together(equation, starts, order)

    def opened(jet: Any) -> Sobolev:
        parts = [jet.primal[None, ...]]
        for k in range(1, order + 1):
            c = jet._coefficient(k)
            if c is None:
                xp = unwrapped_namespace([jet.primal])
                parts.append(xp.broadcast_to(jet.primal[None, ...] * 0, (len(back[k]), *jet.shape)))
                continue
            if not isinstance(c, Bundle):  # the same along all directions
                xp = unwrapped_namespace([c])
                c = Bundle(xp.broadcast_to(c[None, ...], (count, *c.shape)), family_)
            parts.append(_product(back[k], c.array))
        return Sobolev(parts, d)

    return map_leaves(opened, found, any_leaf=True)


def _jet_of(partials: Sequence[Array], there: Sequence[Matrix], family_: Family) -> list[Any]:
    """Taylor coefficients along all directions of one w from its partial derivatives."""
    xp = unwrapped_namespace(list(partials))
    coefficients: list[Any] = [partials[0]]
    start = 1
    for matrix in there[1:]:
        stop = start + len(matrix[0])
        coefficients.append(Bundle(_product(matrix, xp.stack(list(partials[start:stop]))), family_))
        start = stop
    return coefficients


def _product(matrix: Matrix, stack: Array) -> Array:
    """matrix (a, b) @ stack (b, \\*batch)."""
    xp = unwrapped_namespace([stack])
    if all(value == (1.0 if i == j else 0.0) for i, row in enumerate(matrix) for j, value in enumerate(row)):
        return stack
    here = None if hides_values(stack) else device(stack)
    rows = xp.asarray([list(row) for row in matrix], dtype=stack.dtype, device=here)
    flat = xp.reshape(stack, (stack.shape[0], math.prod(stack.shape[1:])))
    return xp.reshape(rows @ flat, (len(matrix), *stack.shape[1:]))


class Sobolev:
    """A residual F at points with its derivatives up to some order: what a Sobolev loss is made of.

    ``value`` is F, of shape (\\*batch,). ``order`` s is the highest of the derivatives, d the number of inputs.
    """

    def __init__(self, partials: Sequence[Array], dimension: int):
        self._partials = list(partials)
        """For each order j the different entries of ∇^j F, (C(d+j−1, j), \\*batch)."""
        self.dimension = dimension

    @property
    def order(self) -> int:
        """s."""
        return len(self._partials) - 1

    @property
    def value(self) -> Array:
        """F, (\\*batch,)."""
        return self._partials[0][0, ...]

    def tensor(self, order: int) -> Array:
        """∇^order F, shape (\\*batch, d, …, d) with d ``order`` times: derivatives, not Taylor coefficients."""
        if isinstance(order, bool) or not hasattr(order, "__index__") or not 0 <= order <= self.order:
            raise ValueError(f"tensor takes an order from 0 to {self.order}, got {order!r}: pass sobolev={order!r}")
        entries = self._partials[order]
        xp = unwrapped_namespace([entries])
        spread = xp.stack([entries[i, ...] for i in _places(self.dimension, order)], axis=-1)
        return xp.reshape(spread, (*entries.shape[1:], *(self.dimension,) * order))

    def terms(self) -> tuple[Array, ...]:
        """mean |∇^j F|² for j = 0..s, each a number: what weights multiply."""
        return tuple(self._mean_square(j) for j in range(self.order + 1))

    def loss(self, weights: Any = None) -> Array:
        """Σ_j ω_j mean |∇^j F|² with the Frobenius norm; all ω_j are 1 unless given."""
        checked = self._weights(weights)
        total: Any = 0.0
        for weight, term in zip(checked, self.terms(), strict=True):
            total = total + weight * term
        return total

    def rows(self, weights: Any = None) -> Array:
        """One vector, the sum of whose squares is ``loss(weights)``: residuals for least squares.

        Of each order every different derivative once, for each point, times the root of how often it stands in the
        tensor, of ω_j, and of 1/points.
        """
        parts = []
        for j, weight in enumerate(self._weights(weights)):
            entries = self._partials[j]
            xp = unwrapped_namespace([entries])
            root = _root(weight, xp) if is_array(weight) else math.sqrt(weight)
            scaled = self._scaled(j) * root
            parts.append(xp.reshape(scaled, (math.prod(scaled.shape),)))
        return unwrapped_namespace(parts).concat(parts)

    def _scaled(self, j: int) -> Array:
        """Entries whose sum of squares is mean |∇^j F|²."""
        entries = self._partials[j]
        points = max(math.prod(entries.shape[1:]), 1)
        roots = [math.sqrt(times / points) for times in _multiplicities(self.dimension, j)]
        xp = unwrapped_namespace([entries])
        here = None if hides_values(entries) else device(entries)
        factors = xp.asarray(roots, dtype=entries.dtype, device=here)
        return entries * xp.reshape(factors, (len(roots), *(1,) * (entries.ndim - 1)))

    def _mean_square(self, j: int) -> Array:
        scaled = self._scaled(j)
        return unwrapped_namespace([scaled]).sum(scaled * scaled)

    def _weights(self, weights: Any) -> list[Any]:
        if weights is None:
            return [1.0] * (self.order + 1)
        if not hasattr(weights, "__len__") or len(weights) != self.order + 1:
            raise ValueError(
                f"weights takes one number for each order 0..{self.order}, such as "
                f"{tuple([1.0] * (self.order + 1))}; got {weights!r}"
            )
        checked = [weights[j] for j in range(self.order + 1)]
        for w in checked:
            if not is_array(w) and (isinstance(w, bool) or not isinstance(w, (int, float)) or not 0 <= w < math.inf):
                raise ValueError(f"a weight of a Sobolev loss is a finite number >= 0, got {w!r}")
        return checked

    def __repr__(self) -> str:
        return f"Sobolev(order={self.order}, value={self.value!r})"


def _root(weight: Array, xp: Any) -> Array:
    return xp.sqrt(weight)
