"""Linear differential operators by finite differences: points around x, exact weights, one call of f for all of them.

Floor 10. The engine behind ``L(f, x, method="fd")``. Every monomial ∂^α of an operator is the tensor product of 1-D
stencils of accuracy p, one a coordinate that it differentiates by; the points of all monomials of all operators are
united, so that each is evaluated once. Weights are exact fractions, those of the steps included, until they meet values
of f. What the operators' terms are, and functions of x among their coefficients, is as in :mod:`ntaylor.plans`.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from ntaylor.applying import factor_value
from ntaylor.array_object import unwrapped_namespace
from ntaylor.finite_differences import (
    SIDES,
    ErrorModel,
    Stencil,
    central,
    largest_power,
    least,
    machine_epsilon,
    one_sided,
)
from ntaylor.linear_forms import Monomial
from ntaylor.namespace import describe, device, hides_values, is_array
from ntaylor.terms import Factor, Form, Terms, expanded

__all__ = ["OperatorStencil", "Prepared", "Settings", "apply", "hashable", "prepare", "written_out"]

Array = Any
Offset = tuple[tuple[int, Fraction], ...]
"""Sorted pairs (coordinate, how many steps), those of no step left out: () is x itself."""


class Settings(NamedTuple):
    """What a user says of differences, hashable: see :func:`hashable`."""

    step: Any = None
    """A number or one a coordinate; None chooses."""
    accuracy: int = 2
    side: Any = "central"
    """One of :data:`finite_differences.SIDES`, or one a coordinate."""


def hashable(step: Any) -> Any:
    """A step or sides, lists and arrays as tuples. Raises TypeError for an array that is trained or traced."""
    if is_array(step):
        if getattr(step, "requires_grad", False) or hides_values(step) or hasattr(step, "_like"):
            raise TypeError(
                f"step must be a number, or one a coordinate, for the weights are exact; got {describe(step)} that is "
                "differentiated or traced"
            )
        step = step.tolist()
    return tuple(map(hashable, step)) if isinstance(step, (list, tuple)) else step


class _Key(NamedTuple):
    """What the derivatives of one share are multiplied by: functions of x, and an entry of a form's matrix."""

    output: int
    factors: tuple[Factor, ...]
    form: Form | None = None
    entry: tuple[int, int] = (0, 0)


class _Sum:
    """Derivatives with constant coefficients, Σ c_α ∂^α: weights by offset, and the leading error."""

    def __init__(self) -> None:
        self.weights: dict[Offset, Fraction] = {}
        self.error: dict[Monomial, Fraction] = {}
        self.order = 0

    def add(
        self, monomial: Monomial, number: Fraction, factors: Sequence[tuple[int, Stencil]], steps: Sequence[Fraction]
    ) -> None:
        """number · ∂^monomial, with the 1-D stencil of each coordinate that it has."""
        scale = number / math.prod((steps[i] ** s.derivative for i, s in factors), start=Fraction(1))
        self.order = max(self.order, len(monomial))
        rows = [[(i, node, w) for node, w in zip(s.nodes, s.weights, strict=True)] for i, s in factors]
        for chosen in itertools.product(*rows):
            offset = tuple((i, node) for i, node, _ in chosen if node)
            weight = math.prod((w for _, _, w in chosen), start=scale)
            self.weights[offset] = self.weights.get(offset, Fraction(0)) + weight
        for i, s in factors:
            higher = tuple(sorted((*monomial, *(i,) * s.accuracy)))
            c = number * s.constant * steps[i] ** s.accuracy
            self.error[higher] = self.error.get(higher, Fraction(0)) + c


def _sums(
    operators: Sequence[Terms], dimension: int, steps: Sequence[Fraction], accuracy: int, sides: Sequence[str]
) -> dict[_Key, _Sum]:
    result: dict[_Key, _Sum] = {}
    parts: dict[_Key, Mapping[Monomial, Fraction]]
    for output, terms in enumerate(operators):
        for term, number in terms.items():
            if term.form is not None and term.form.varies:
                pairs = itertools.combinations_with_replacement(range(dimension), 2)
                parts = {_Key(output, term.factors, term.form, pair): {pair: Fraction(1)} for pair in pairs}
            else:
                parts = {_Key(output, term.factors): expanded(term, dimension)}
            for key, monomials in parts.items():
                total = result.setdefault(key, _Sum())
                for monomial, c in monomials.items():
                    counts = Counter(monomial).items()
                    factors = [(i, _line(n, accuracy, sides[i])) for i, n in counts]
                    total.add(monomial, number * c, factors, steps)
    return result


def _line(derivative: int, accuracy: int, side: str) -> Stencil:
    return central(derivative, accuracy) if side == "central" else one_sided(derivative, accuracy, side)


# --- for users of points and weights ----------------------------------------------------------------


@dataclass(frozen=True)
class OperatorStencil:
    """Σ_k weights_k f(x + points_k) ≈ (L f)(x): exact fractions. ``points, weights = L.stencil(…)`` unpacks it."""

    dimension: int
    order: int
    points: tuple[tuple[Fraction, ...], ...]
    """Relative to x, one number a coordinate."""
    weights: tuple[Fraction, ...]
    leading_error: tuple[tuple[Monomial, Fraction], ...]
    """What is to be added to L f: coefficients of derivatives of higher order, ((0, 0, 0, 0), 1/12) for ∂_0⁴/12."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.points, self.weights))

    def error_model(self, dtype: Any = "float64", scale: float = 1.0) -> ErrorModel:
        """As :func:`finite_differences.error_model`, with |∂^α f| = |f| / scale^|α|."""
        truncation = sum(abs(float(c)) / scale ** len(monomial) for monomial, c in self.leading_error)
        return ErrorModel(truncation, machine_epsilon(dtype) * float(sum(map(abs, self.weights))))


def written_out(terms: Terms, dimension: int, settings: Settings, dtype: Any) -> OperatorStencil:
    """The stencil of one operator with constant coefficients."""
    if any(term.factors or (term.form is not None and term.form.varies) for term in terms):
        raise ValueError(
            "the weights of an operator with functions of x are others at each point: ask for the stencils of its "
            'parts, such as D(0, 0).stencil(…), or call L(f, x, method="fd")'
        )
    steps, accuracy, sides = _checked([terms], dimension, settings, dtype)
    total = _sums([terms], dimension, steps, accuracy, sides).get(_Key(0, ()), _Sum())
    used = {offset: w for offset, w in total.weights.items() if w}
    dense = {tuple(dict(offset).get(i, Fraction(0)) * h for i, h in enumerate(steps)): w for offset, w in used.items()}
    points = tuple(sorted(dense))
    error = tuple((monomial, c) for monomial, c in sorted(total.error.items()) if c)
    return OperatorStencil(dimension, total.order, points, tuple(dense[p] for p in points), error)


# --- the step ----------------------------------------------------------------------------------------


def _checked(
    operators: Sequence[Terms], dimension: int, settings: Settings, dtype: Any
) -> tuple[tuple[Fraction, ...], int, tuple[str, ...]]:
    """Steps and sides, one a coordinate."""
    step, accuracy, side = settings
    sides = side if isinstance(side, tuple) else (side,) * dimension
    if len(sides) != dimension or not all(isinstance(s, str) and s in SIDES for s in sides):
        raise ValueError(
            f"side must be one of {', '.join(SIDES)}, or one of them a coordinate, of which there are {dimension}; "
            f"got {side!r}"
        )
    for one in set(sides):
        _line(1, accuracy, one)  # the accuracy is told to be wrong before anything else is done
    if step is None:
        return (_chosen(operators, dimension, accuracy, sides, dtype),) * dimension, accuracy, sides
    steps = step if isinstance(step, tuple) else (step,) * dimension
    if len(steps) != dimension:
        raise ValueError(f"step must be a number, or one a coordinate, of which there are {dimension}; got {step!r}")
    exact = []
    for h in steps:
        if isinstance(h, bool) or not isinstance(h, numbers.Real):
            raise TypeError(f"step must be a number, or one a coordinate; got {step!r}")
        if not 0 < float(h) < math.inf:
            raise ValueError(f"step must be positive and finite, for backward differences too; got {step!r}")
        exact.append(Fraction(h) if isinstance(h, numbers.Rational) else Fraction(float(h)))
    return tuple(exact), accuracy, sides


def _chosen(operators: Sequence[Terms], dimension: int, accuracy: int, sides: Sequence[str], dtype: Any) -> Fraction:
    """The step for the derivatives of the highest order, where f changes by its own size over a length of 1."""
    sums = _sums(operators, dimension, (Fraction(1),) * dimension, accuracy, sides).values()
    order = max((s.order for s in sums), default=0)
    highest = [s for s in sums if s.order == order]
    truncation = sum(abs(c) for s in highest for m, c in s.error.items() if len(m) == order + accuracy)
    size = sum(abs(w) for s in highest for w in s.weights.values())
    return Fraction(least(float(truncation), accuracy, machine_epsilon(dtype) * float(size), order))


# --- applying ----------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """Numbers ready for arrays: the points of a chunk that a share takes, None for all, and their weights."""

    share: int
    places: numpy.ndarray | None
    weights: numpy.ndarray


class _Chunk(NamedTuple):
    """Points for one call of f: offsets from x (points, d), and what they are in the shares."""

    offsets: numpy.ndarray
    rows: tuple[_Row, ...]


class Prepared(NamedTuple):
    """Operators ready to be applied."""

    outputs: int
    shares: tuple[_Key, ...]
    chunks: tuple[_Chunk, ...]


def prepare(
    operators: Sequence[Terms], dimension: int, settings: Settings, dtype: Any, at_once: int | None = None
) -> Prepared:
    """Points and weights of several operators, for at most ``at_once`` points a call of the function.

    Raises ValueError for a step whose weights are beyond the dtype.
    """
    steps, accuracy, sides = _checked(operators, dimension, settings, dtype)
    sums = _sums(operators, dimension, steps, accuracy, sides)
    shares = {key: {o: w for o, w in s.weights.items() if w} for key, s in sums.items()}
    shares = {key: by_offset for key, by_offset in shares.items() if by_offset}
    place = {offset: row for row, offset in enumerate(dict.fromkeys(itertools.chain(*shares.values())))}
    offsets = numpy.zeros((len(place), dimension))
    for offset, row in place.items():
        for i, count in offset:
            offsets[row, i] = float(count * steps[i])
    limit = largest_power(dtype)
    if any(abs(w) >= limit for by_offset in shares.values() for w in by_offset.values()):
        raise ValueError(f"the step {settings.step!r} is too small: there are weights that {dtype} cannot hold")
    found = [sorted((place[o], float(w)) for o, w in by_offset.items()) for by_offset in shares.values()]
    chunks = []
    for start in range(0, len(place), at_once or max(1, len(place))):
        stop = min(start + (at_once or len(place)), len(place))
        rows = []
        for share, pairs in enumerate(found):
            here = [(i - start, w) for i, w in pairs if start <= i < stop]
            if here:
                places = None if len(here) == stop - start else numpy.asarray([i for i, _ in here])
                rows.append(_Row(share, places, numpy.asarray([w for _, w in here])))
        chunks.append(_Chunk(offsets[start:stop], tuple(rows)))
    return Prepared(len(operators), tuple(shares), tuple(chunks))


def apply(prepared: Prepared, f: Callable[[Any], Any], x: Array) -> list[Array]:
    """Each operator at x (\\*batch, d), of the shape of f(x), from one call of f a chunk."""
    parts: list[Any] = [None] * len(prepared.shares)
    for chunk in prepared.chunks:
        values = _values(f, x, chunk.offsets)
        for row in chunk.rows:
            part = _combined(row, values)
            parts[row.share] = part if parts[row.share] is None else parts[row.share] + part
    totals: list[Any] = [None] * prepared.outputs
    form_before: Form | None = None  # of one form the shares follow each other: its matrix is asked for once
    matrix: Any = None
    for (output, factors, form, (i, j)), part in zip(prepared.shares, parts, strict=True):
        if form is not None:
            if form is not form_before:
                form_before, matrix = form, form.values(x)
            both = matrix[..., i, j] if i == j else matrix[..., i, j] + matrix[..., j, i]
            part = factor_value((Factor(_constantly(both)),), x, part) * part
        if factors:
            part = factor_value(factors, x, part) * part
        totals[output] = part if totals[output] is None else totals[output] + part
    if any(t is None for t in totals):
        zero = f(x) * 0
        totals = [zero if t is None else t for t in totals]
    return totals


def _constantly(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _values(f: Callable[[Any], Any], x: Array, offsets: numpy.ndarray) -> Array:
    """f at x and each offset, (points, \\*f(x).shape)."""
    xp, here = unwrapped_namespace([x]), None if hides_values(x) else device(x)
    count = len(offsets)
    moved = xp.asarray(offsets, dtype=x.dtype, device=here)
    if x.ndim == 1:  # a function of one point (d,) is not to be given several
        alone = [_of_array(f(x + moved[k, ...])) for k in range(count)]
        return unwrapped_namespace(alone).stack(alone)
    # Put one after another along the first axis, so that f sees as many axes as x has.
    points = x[None, ...] + xp.reshape(moved, (count, *(1,) * (x.ndim - 1), x.shape[-1]))
    points = xp.reshape(points, (count * x.shape[0], *x.shape[1:]))
    values = _of_array(f(points))
    if values.ndim < 1 or values.shape[0] != points.shape[0]:
        raise ValueError(
            f"f is called once with the {count} points of the stencil around each of x, shape {tuple(points.shape)}, "
            f"and was to return an array whose first axis has length {points.shape[0]}; it returned shape "
            f"{tuple(values.shape)}: finite differences take functions of single points"
        )
    return unwrapped_namespace([values]).reshape(values, (count, x.shape[0], *values.shape[1:]))


def _of_array(value: Any) -> Array:
    if not is_array(value):
        raise TypeError(
            f"an operator takes a function that returns one array, it returned a {type(value).__name__}: pass "
            "lambda x: f(x)[0], or what else chooses one"
        )
    return value


def _combined(row: _Row, values: Array) -> Array:
    """Σ_k w_k values_k.

    Multiplied and summed, not a matrix product, which accelerators may round to fewer digits than the values have.
    """
    xp, here = unwrapped_namespace([values]), None if hides_values(values) else device(values)
    if row.places is not None:
        values = xp.take(values, xp.asarray(row.places, device=here), axis=0)
    w = xp.asarray(row.weights, dtype=values.dtype, device=here)
    return xp.sum(values * xp.reshape(w, (-1, *(1,) * (values.ndim - 1))), axis=0)
