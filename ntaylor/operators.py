"""Linear differential operators: an algebra, exact values, plans, and unbiased estimates.

    >>> import numpy as np, ntaylor as nt
    >>> D = nt.operators.D
    >>> L = D(0, 0) + 3 * D(1)                      # ∂²/∂x_0² + 3 ∂/∂x_1
    >>> x = np.asarray([[1.0, 2.0]])
    >>> L(lambda x: x[:, 0] ** 3 * x[:, 1], x)      # 6 x_0 x_1 + 3 x_0³
    array([15.])

Floor 11. An operator is a sum of terms with exact rational coefficients, times functions of x where it has such. What
is computed is its :class:`~ntaylor.plans.Plan`: directions, orders and weights, found in exact fractions and verified.

- ``+``, ``-`` and a number or function of x times an operator, ``L @ M`` for L(M u), ``L**2`` for L @ L. The product
  rule is applied to functions that an operator meets: ``D(0) @ (c * D(1))`` is ∂_0(c ∂_1 u).
- ``L(f, x)`` is exact; ``L.estimate(f, x, …)`` is random, unbiased, and comes with a standard error.
- ``jointly((L, M), f, x)`` shares the primal and the directions of several.
"""

from __future__ import annotations

import itertools
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy

from ntaylor.applying import METHODS, apply
from ntaylor.constraints import HardConstraint, Radial
from ntaylor.directions import draws_for
from ntaylor.dispatch import adapter_for
from ntaylor.estimates import KINDS, VECTORS, Estimate, split
from ntaylor.estimates import estimate as _estimate
from ntaylor.namespace import as_floating, describe, hides_values, is_array
from ntaylor.plans import Plan, make_plan
from ntaylor.stencils import OperatorStencil, Settings, hashable, prepare, written_out
from ntaylor.stencils import apply as _apply_stencils
from ntaylor.terms import Factor, Form, Term, composed, monomials, written

__all__ = [
    "D",
    "Estimate",
    "HardConstraint",
    "Operator",
    "OperatorStencil",
    "Plan",
    "Radial",
    "biharmonic",
    "identity",
    "jointly",
    "laplacian",
    "of_field",
    "partial",
    "polyharmonic",
    "weighted_laplacian",
]

Array = Any


class Operator:
    """A linear differential operator, a sum of terms. Made by :func:`D`, :func:`laplacian` and the algebra."""

    __array_ufunc__ = None  # a NumPy number on the left of an operator leaves the product to it

    def __init__(self, terms: Mapping[Term, Fraction], dimension: int | None = None):
        self.terms = {term: number for term, number in terms.items() if number}
        self.dimension = dimension
        self._plans: dict[tuple[Any, ...], Any] = {}
        self._number = next(_NUMBERS)
        coordinates = [i for term in self.terms for monomial in monomials(term) for i in monomial]
        self._highest = max([-1, *coordinates])

    # --- algebra ---

    def __add__(self, other: Any) -> Operator:
        if not isinstance(other, Operator):
            if isinstance(other, int) and other == 0:
                return self  # where sum(…) begins
            raise TypeError(
                f"an operator and {_a(other)} were added: for a multiple of f itself write "
                "3 * identity(), and a source term is subtracted from what L(f, x) returns"
            )
        terms = dict(self.terms)
        for term, number in other.terms.items():
            terms[term] = terms.get(term, Fraction(0)) + number
        return Operator(terms, _one_dimension(self, other))

    __radd__ = __add__

    def __neg__(self) -> Operator:
        return Operator({term: -number for term, number in self.terms.items()}, self.dimension)

    def __sub__(self, other: Any) -> Operator:
        return self + (-other if isinstance(other, Operator) else other)

    def __rsub__(self, other: Any) -> Operator:
        return (-self).__add__(other)

    def __rmul__(self, other: Any) -> Operator:
        if isinstance(other, Operator):
            return NotImplemented
        if callable(other):
            factor = Factor(_hashable(other))
            terms = {t._replace(factors=(factor, *t.factors)): c for t, c in self.terms.items()}
            return Operator(terms, self.dimension)
        number = _exact(other)
        return Operator({term: number * c for term, c in self.terms.items()}, self.dimension)

    def __mul__(self, other: Any) -> Operator:
        raise TypeError(
            f"an operator was multiplied on the right by {_a(other)}: write a number or a function of x on its left, "
            "3 * D(0), and the composition of operators as L @ M"
        )

    def __truediv__(self, other: Any) -> Operator:
        if isinstance(other, Operator) or callable(other):
            raise TypeError(f"an operator was divided by {_a(other)}: only by a number, or write (lambda x: …) * L")
        return _reciprocal(other) * self

    def __matmul__(self, other: Any) -> Operator:
        if not isinstance(other, Operator):
            raise TypeError(f"L @ M composes operators, M is {_a(other)}: L applied to a function is L(f, x)")
        dimension = _one_dimension(self, other)
        terms: dict[Term, Fraction] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                for term, number in composed(left, right, dimension).items():
                    terms[term] = terms.get(term, Fraction(0)) + a * b * number
        return Operator(terms, dimension)

    def __pow__(self, exponent: int) -> Operator:
        exponent = _whole("the power of an operator", exponent)
        result = identity()
        for _ in range(exponent):
            result = result @ self
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and (self.terms, self.dimension) == (other.terms, other.dimension)

    def __hash__(self) -> int:
        return hash((frozenset(self.terms.items()), self.dimension))

    def __reduce__(self) -> tuple[Any, ...]:
        return Operator, (self.terms, self.dimension)

    def __repr__(self) -> str:
        return f"Operator({' + '.join(map(written, self.terms.items())) or '0'})"

    # --- what it does ---

    def plan(self, dimension: int | None = None) -> Plan:
        """Directions, orders, weights and cost in ``dimension`` coordinates; ``print`` it.

        ``dimension`` may be left out if the operator has one, or names its coordinates: then it is the least that has
        them all. Raises ValueError where the two do not agree, or nothing tells the dimension.
        """
        return _plan(self._dimension(dimension), self)

    def stencil(
        self,
        dimension: int | None = None,
        step: Any = None,
        accuracy: int = 2,
        side: Any = "central",
        dtype: Any = "float64",
    ) -> OperatorStencil:
        """The points around x, their exact weights and the leading error of what ``method="fd"`` computes.

        ``points, weights = laplacian().stencil(2, step=1)``. Arguments as for an operator's call; ``step=None`` is the
        one chosen for ``dtype``. Raises ValueError for an operator with functions of x, whose weights vary.
        """
        return written_out(
            self.terms, self._dimension(dimension), Settings(hashable(step), accuracy, hashable(side)), dtype
        )

    def __call__(
        self,
        f: Callable[[Any], Any],
        x: Array = None,
        *,
        method: str = "auto",
        max_directions: int | None = None,
        step: Any = None,
        accuracy: int = 2,
        side: Any = "central",
    ) -> Array:
        """L f at the points x, of the shape of f(x): a derivative, not a Taylor coefficient.

        ``L(u)`` with a field u of ``nt.residual``, which knows its points, is the field L u.

        Parameters
        ----------
        f: a network, a :class:`HardConstraint`, or any function that ``nt.jet`` takes, of points (\\*batch, d).
        x: array (\\*batch, d) of a floating dtype; (d,) is one point.
        method:
            "plain" pushes every direction to the end; "collapsed" carries the top order summed over directions;
            "compressed" replaces the directions of a second-order operator, after a network's first layer, by as many
            as it has outputs; "auto" is the last of these that applies. All are exact, to rounding. "fd" takes finite
            differences instead, with an error of the power ``accuracy`` of the step: f is called on all points of the
            stencil at once, and only has to have values, not jets.
        max_directions:
            push at most so many at once, with any method, which bounds the memory that is not kept for a gradient; of
            "fd" so many points of the stencil.
        step, accuracy, side:
            of "fd": a number, or one a coordinate, unless left to the error model, which takes f to change by its own
            size over a length of 1 (``nt.finite_differences.step_for`` has other scales); the power of the step, even
            where central; "central", "forward" or "backward", or one of them a coordinate.

        Of a network, of a JAX function that does nothing with x but multiply it by a matrix, and of a
        :class:`HardConstraint` of one, coordinate directions are never made into vectors. Other functions are called
        with the vectors of all directions, (directions, \\*batch, d) numbers: where d is large, ``max_directions``
        bounds that. Second derivatives by the parameters of a first layer whose columns are linearly
        dependent are not defined through "compressed"; "collapsed" has them.

        Raises TypeError for integer or mixed arrays, ValueError for a dimension that does not fit, for an unknown
        method, and for "compressed" where f does not begin with a dense layer or no part is of second order.
        """
        if x is None:
            return of_field(f, self, method=method, max_directions=max_directions)
        differences = {"step": step, "accuracy": accuracy, "side": side}
        (result,) = jointly((self,), f, x, method=method, max_directions=max_directions, **differences)
        return result

    def estimate(
        self,
        f: Callable[[Any], Any],
        x: Array,
        *,
        samples: int = 16,
        rng: Any,
        kind: str = "sparse",
        sets: int = 1,
        standard_error: bool = True,
    ) -> Estimate:
        """An unbiased estimate of L f at x, shared draws for all points: STDE (arXiv 2412.00088), corrected.

        Parameters
        ----------
        samples: directions to draw, at least 2; steps of the plan with no more directions are computed exactly.
        rng: an integer seed, ``numpy.random.Generator``, ``torch.Generator`` or JAX key. A JAX key gives the same
            draws each time: split it.
        kind:
            "sparse", of the plan's directions without replacement, for any operator; "stratified", two of each of
            samples/2 groups of neighbouring ones; "rademacher" and "gaussian", vectors of random signs or normal
            numbers for the parts that are Laplacians or forms Σ C_ij ∂_i ∂_j (gaussian: powers of Laplacians too),
            the other terms exactly.
        sets: so many independent estimates at once. The product of two residuals with independent estimates is
            unbiased for the square: ``a, b = L.estimate(…, sets=2).value; mean((a - g) * (b - g))``.
        standard_error: without it the top order is carried summed, which costs half as much.

        Returns value, standard_error and f(x): :class:`Estimate`. Raises ValueError for a kind that is unknown or not
        for this operator, TypeError for a generator that is none, or one whose draws a compiler would fix.
        """
        x = _points(f, x)
        dimension = self._dimension(int(x.shape[-1]))
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        samples = _whole("samples", samples)
        sets = _whole("sets", sets)
        least = 2 if standard_error or kind == "stratified" else 1
        if samples < least or sets < 1 or (kind == "stratified" and samples % 2):
            raise ValueError(
                f"samples must be at least {least}{', and even for strata' * (kind == 'stratified')}, and sets at "
                f"least 1; got samples={samples}, sets={sets}"
            )
        if hides_values(x) and isinstance(rng, (int, numpy.integer)):
            raise TypeError(
                "an integer seed gives what is compiled the same numbers at every call: pass a generator of the "
                "library's own, such as rng=jax.random.key(0), as an argument of what is compiled"
            )
        draws = draws_for(rng)
        _check_generator(rng, x)
        chance = kind if kind in VECTORS else ""
        if chance:
            wrong = [t for t in self.terms if t.laplacians > 1 and not t.monomial and kind == "rademacher"]
            random = [t for t in self.terms if not t.monomial and (t.laplacians or t.form is not None)]
            if wrong or not random:
                powers = ", kind='gaussian' for powers of Laplacians too" if wrong else ""
                raise ValueError(
                    f"kind={kind!r} is for Laplacians and forms Σ C_ij ∂_i ∂_j{powers}; this operator is {self!r}: "
                    "pass kind='sparse', which is for all"
                )
        _prepare(chance, dimension, self)
        plan, terms = self._plans[_key(chance, dimension, (self,))]
        return _estimate(plan, terms, f, x, samples, draws, kind, sets, standard_error)

    def _dimension(self, of_points: int | None) -> int:
        known: int | None = self.dimension if of_points is None else of_points
        if self.dimension is not None and known != self.dimension:
            raise ValueError(
                f"the operator is for {self.dimension} coordinates, the points have {known}: make it without a "
                f"dimension, or pass points of shape (batch, {self.dimension})"
            )
        highest = self._highest
        if known is None and highest >= 0 and not any(t.laplacians for t in self.terms):
            known = highest + 1
        if known is None:
            raise ValueError("the number of coordinates is not known: pass it, as in L.plan(3) or L.stencil(3)")
        if highest >= known:
            raise ValueError(
                f"the operator differentiates by coordinate {highest}, but the points have {known} "
                f"coordinate{'s' * (known != 1)}, counted from 0: pass points of shape (batch, {highest + 1})"
            )
        return int(known)


_NUMBERS = itertools.count()
_KEPT = 32
"""So many plans an operator keeps, one a dimension and one for each set of others with which it was applied."""


def _prepare(kind: str, dimension: int, *operators: Operator) -> bool:
    """Make the plan that is looked up next: of several operators, or for a kind of estimate of one."""
    plans, key = operators[0]._plans, _key(kind, dimension, operators)
    if key not in plans:
        if len(plans) >= _KEPT:
            plans.clear()
        if kind in VECTORS:
            random, rest = split(operators[0].terms, kind)
            plans[key] = make_plan([rest], dimension), tuple(random.items())
        else:
            plans[key] = make_plan([L.terms for L in operators], dimension), ()
    return True


# Fractions and their identities are not for torch.compile to follow, what they came to is.
_prepare._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _key(kind: str, dimension: int, operators: Sequence[Operator]) -> tuple[Any, ...]:
    return (kind, dimension, *[L._number for L in operators])


def _plan(dimension: int, *operators: Operator) -> Plan:
    _prepare("", dimension, *operators)
    plan: Plan = operators[0]._plans[_key("", dimension, operators)][0]
    return plan


def _prepare_stencil(
    step: Any, accuracy: int, side: Any, dtype: Any, at_once: int | None, dimension: int, *operators: Operator
) -> bool:
    """As :func:`_prepare`, for differences."""
    asked = (step, accuracy, side, dtype, at_once, dimension)
    plans, key = operators[0]._plans, ("fd", *asked, *[L._number for L in operators])
    if key not in plans:
        if len(plans) >= _KEPT:
            plans.clear()
        plans[key] = prepare([L.terms for L in operators], dimension, Settings(step, accuracy, side), dtype, at_once)
    return True


_prepare_stencil._dynamo_marked_constant = True  # type: ignore[attr-defined]


class _ByIdentity:
    """A function that has no hash of its own, such as a dataclass of arrays."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, x: Any) -> Any:
        return self.function(x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.function is other.function

    def __hash__(self) -> int:
        return id(self.function)


def _hashable(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    try:
        hash(function)
    except TypeError:
        return _ByIdentity(function)
    return function


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"a{'n' * (name[0] in 'aeiouAEIOU')} {name}"


def _reciprocal(number: Any) -> Fraction:
    exact = _exact(number)
    if not exact:
        raise ZeroDivisionError("an operator was divided by 0")
    return 1 / exact


def _check_generator(rng: Any, x: Any) -> None:
    """TypeError for a generator of a library that is neither NumPy nor that of x."""
    while hasattr(x, "_like"):  # a jet or a variable: what counts is the array inside
        x = x._like
    if not isinstance(rng, (int, numpy.integer, numpy.random.Generator)) and adapter_for(rng) is not adapter_for(x):
        raise TypeError(
            f"rng is a {describe(rng)}, x is a {describe(x)}: pass an integer seed, numpy.random.default_rng(0) or a "
            "generator of the library of x"
        )


def _whole(name: str, value: Any) -> int:
    try:
        whole: int = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {describe(value)}") from None
    if whole < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {whole}")
    return whole


def _exact(number: Any) -> Fraction:
    if is_array(number):
        adapter_for(number)  # loading it makes known what hides its values
    # What is differentiated or traced is no constant, and would silently become one.
    constant = is_array(number) and not getattr(number, "requires_grad", False) and not hides_values(number)
    if constant and getattr(number, "ndim", 1) == 0 and hasattr(number, "item"):
        number = number.item()
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(
            f"an operator is multiplied by a real number or a function of x, got {describe(number)}: for a coefficient "
            "that is trained, multiply what L(f, x) returns"
        )
    try:
        return Fraction(number) if isinstance(number, numbers.Rational) else Fraction(float(number))  # exactly
    except (ValueError, OverflowError):
        raise ValueError(f"an operator is multiplied by a finite number, got {number}") from None


def _one_dimension(a: Operator, b: Operator) -> int | None:
    if None not in (a.dimension, b.dimension) and a.dimension != b.dimension:
        raise ValueError(f"operators for {a.dimension} and {b.dimension} coordinates were put together")
    return b.dimension if a.dimension is None else a.dimension


# --- the makers --------------------------------------------------------------------------------------


def D(*coordinates: int) -> Operator:  # noqa: N802 the field's letter
    """The partial derivative by the given coordinates in turn: ``D(0, 0, 1)`` is ∂³/∂x_0²∂x_1, ``D()`` the identity."""
    return Operator({Term(tuple(sorted(_whole("a coordinate", i) for i in coordinates))): Fraction(1)})


def identity() -> Operator:
    """f itself."""
    return D()


def partial(alpha: Sequence[int]) -> Operator:
    """∂^α with a multi-index of one order a coordinate: ``partial((2, 0, 1))`` is ∂³/∂x_0²∂x_2."""
    if isinstance(alpha, int) or not hasattr(alpha, "__iter__"):
        raise TypeError(f"alpha is a multi-index, one order a coordinate, such as (2, 0, 1); got {describe(alpha)}")
    orders = [_whole("an order in alpha", a) for a in alpha]
    monomial = tuple(i for i, a in enumerate(orders) for _ in range(a))
    return Operator({Term(monomial): Fraction(1)}, len(orders))


def laplacian(dimension: int | None = None, *, coordinates: Sequence[int] | None = None) -> Operator:
    """Δ = Σ_i ∂²/∂x_i² over all coordinates, or over the given ones, such as those of space beside a time.

    ``laplacian(coordinates=range(1, 4))`` leaves x_0 out. ``dimension`` is asked for where the product rule is to be
    applied to a function of x.
    """
    if coordinates is None:
        return polyharmonic(1, dimension)
    chosen = sorted(_whole("a coordinate", i) for i in coordinates)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"the coordinates of a Laplacian are to differ; got {list(coordinates)}")
    return Operator({Term((i, i)): Fraction(1) for i in chosen}, dimension)


def biharmonic(dimension: int | None = None) -> Operator:
    """Δ²."""
    return polyharmonic(2, dimension)


def polyharmonic(power: int, dimension: int | None = None) -> Operator:
    """Δ^power."""
    if dimension is not None and (_whole("dimension", dimension)) < 1:
        raise ValueError("dimension must be at least 1")
    return Operator({Term((), _whole("power", power)): Fraction(1)}, dimension)


def weighted_laplacian(matrix: Any) -> Operator:
    """Σ_ij C_ij ∂_i ∂_j with a constant matrix C (d, d), or a function x ↦ C(x) (\\*batch, d, d).

    Of a constant C, array or nested lists, the symmetric part counts. C(x) is to be symmetric positive definite, for
    its Cholesky factor is what is differentiated along; any other is the sum of ``c_ij * D(i, j)``.
    """
    if callable(matrix):
        return Operator({Term(form=Form(matrix)): Fraction(1)})
    if is_array(matrix):
        adapter_for(matrix)
    if is_array(matrix) and (
        getattr(matrix, "requires_grad", False) or hides_values(matrix) or hasattr(matrix, "_like")
    ):
        raise TypeError(
            f"weighted_laplacian takes a constant matrix, or a function of x; got {describe(matrix)} that is "
            "differentiated or traced: pass lambda x: matrix, of shape (*batch, d, d) or (d, d)"
        )
    values = numpy.asarray(matrix.tolist() if hasattr(matrix, "tolist") else matrix, dtype=numpy.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not numpy.isfinite(values).all():
        raise ValueError(f"weighted_laplacian takes a square matrix of finite numbers; got shape {values.shape}")
    return Operator({Term(form=Form((values + values.T) / 2)): Fraction(1)}, values.shape[0])


# --- application -------------------------------------------------------------------------------------


def jointly(
    operators: Sequence[Operator],
    f: Callable[[Any], Any],
    x: Array,
    *,
    method: str = "auto",
    max_directions: int | None = None,
    step: Any = None,
    accuracy: int = 2,
    side: Any = "central",
) -> list[Array]:
    """[L f for L in operators] at x, each of the shape of f(x), from pushes that they share. See :class:`Operator`.

    ``value, second = jointly((identity(), laplacian()), net, x)`` costs what the Laplacian does. With ``method="fd"``
    they share the points, and so the step: one that is chosen is that of the highest derivatives.
    """
    if isinstance(operators, Operator) or not all(isinstance(L, Operator) for L in operators):
        raise TypeError("jointly takes several operators, such as jointly((identity(), laplacian()), f, x)")
    x = _points(f, x)
    if method not in (*METHODS, "fd"):
        raise ValueError(f"method must be one of {', '.join((*METHODS, 'fd'))}; got {method!r}")
    if method != "fd" and not (step is None and accuracy == 2 and side == "central"):
        raise ValueError(f'step=, accuracy= and side= are for method="fd"; got method={method!r}')
    if max_directions is not None and _whole("max_directions", max_directions) < 1:
        raise ValueError("max_directions must be at least 1")
    dimension = int(x.shape[-1])
    if not operators:
        return []
    for L in operators:
        L._dimension(dimension)
    if method == "fd":
        step, side, accuracy = hashable(step), hashable(side), _whole("accuracy", accuracy)
        # The dtype by name, for those of two libraries do not compare.
        asked = (step, accuracy, side, str(x.dtype), max_directions, dimension)
        _prepare_stencil(*asked, *operators)
        return _apply_stencils(operators[0]._plans["fd", *asked, *[L._number for L in operators]], f, x)
    return apply(_plan(dimension, *operators), f, x, method, max_directions)


def of_field(f: Any, L: Operator, method: str = "auto", max_directions: int | None = None) -> Any:
    """L of what knows its own points: an object with a method ``_operated``, as a field of an equation has."""
    own = getattr(f, "_operated", None)
    if own is None:
        raise TypeError(
            f"an operator of {_a(f)} needs the points, L(f, x): only a field of nt.residual knows its own"
            if callable(f)
            else f"an operator was applied to {_a(f)}, which is no field: L(u) takes a field or its derivatives, and "
            "what is made of them by arithmetic is differentiated by hand, with the product and the chain rule"
        )
    if method != "auto" or max_directions is not None:
        raise TypeError("method and max_directions are chosen for L(f, x); of a field, L(u), all is computed together")
    return own(L)


def _points(f: Any, x: Any) -> Array:
    if not callable(f):
        raise TypeError(f"f must be a function or a network, got {describe(f)}: call L(f, x)")
    adapter_for(x)  # first of all: loading it makes the type of x known
    x = as_floating(x, "x")
    if x.ndim == 0:
        raise ValueError(
            "x is one number, an operator takes points (batch, d): pass xp.reshape(x, (1, 1)), or for derivatives by "
            "one variable call nt.derivatives"
        )
    return x
