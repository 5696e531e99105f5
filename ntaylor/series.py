"""Recurrences on Taylor coefficients, stated once for every backend.

Floor 1: a coefficient is anything that adds and multiplies (an array, a traced scalar, a fraction);
nothing here knows how arrays are made. All sequences hold Taylor coefficients u_k = u^(k)/k!, never
derivatives. Equation numbers refer to ``docs/theory.md``.

A :class:`Series` makes each coefficient when it is first asked for. That is what lets a rule be
written as the differential equation it comes from, ``w = 1 - v * v``, although v is itself defined
through w; and it is why nobody pays for the series of f′(u) to the last order unless a gradient
asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from ntaylor.array_methods import ArrayMethods

__all__ = [
    "Series",
    "add",
    "as_series",
    "correlate",
    "cosh_sinh",
    "integrate",
    "leibniz",
    "mapped",
    "operator_of",
    "recur",
    "select",
    "sin_cos",
    "solve",
    "square_root",
    "starting",
    "subtract",
    "times",
]

Coefficient = Any
"""An array or scalar; ``None`` is a structural zero, a coefficient that is absent."""


def add(a: Coefficient, b: Coefficient) -> Coefficient:
    """a + b where either may be a structural zero."""
    if a is None:
        return b
    if b is None:
        return a
    return b + a if _yields(a, b) else a + b


def subtract(a: Coefficient, b: Coefficient) -> Coefficient:
    """a − b where either may be a structural zero."""
    if b is None:
        return a
    if a is None:
        return -b
    return -(b - a) if _yields(a, b) else a - b


def times(a: Coefficient, b: Coefficient) -> Coefficient:
    """a · b of two that are there."""
    return b * a if _yields(a, b) else a * b


def _yields(a: Coefficient, b: Coefficient) -> bool:
    """Whether b is an object of ours and a is not: some libraries refuse such an operand instead of yielding to it."""
    return isinstance(b, ArrayMethods) and not isinstance(a, ArrayMethods)


def _scale(a: Coefficient, factor: Any) -> Coefficient:
    return None if a is None else a * factor


class Series:
    """The Taylor coefficients u_0, u_1, … of a function of one scalar t.

    ``known`` are the leading coefficients; ``rule(k)`` makes coefficient k of the others and may use
    any lower one. Without a rule the others are structural zeros.

    This is what the pair rules of ``nt.activations.register`` are written with:

    - ``u + v``, ``u - v``, ``-u``, ``u * v``, ``u / v`` are the arithmetic of power series, and ``u**p`` takes a
      whole p >= 1. A number or an array in place of u or v acts as a constant.
    - ``u[k]`` is the Taylor coefficient k, an array, or ``None`` where it is absent; ``u[0]`` is the value, always
      there, to which functions of ``xp`` apply. They do not apply to a Series: other functions of a series come
      from their own rules, ``v, w, _ = nt.activations.get("sin").pair(u, xp, 0)`` for sin u and cos u.
    - ``u.derivative()`` is the series of u′, ``u.truncated(n)`` the list of coefficients 0..n.
    """

    __slots__ = ("_known", "_rule")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        # An array on the left of an operator leaves the operation to us, and does not broadcast over us.
        reflected = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "true_divide": "truediv"}
        name = reflected.get(ufunc.__name__)
        if name is not None and method == "__call__" and not options:
            left, right = inputs
            if isinstance(left, Series):
                return getattr(left, f"__{name}__")(right)
            return getattr(right, f"__r{name}__")(left)
        raise _does_not_apply(ufunc.__name__)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # For torch.compile, to which an operator with a tensor on either side is an operation on tensors.
        name, swapped = operator_of(function)
        if name not in ("add", "sub", "mul", "truediv") or kwargs:
            raise _does_not_apply(name)
        left, right = reversed(args) if swapped else args
        if isinstance(left, cls):
            return getattr(left, f"__{name}__")(right)
        return getattr(right, f"__r{name}__")(left)

    def __init__(self, known: Sequence[Coefficient], rule: Callable[[int], Coefficient] | None = None):
        self._known = list(known)
        self._rule = rule

    def __getitem__(self, k: int) -> Coefficient:
        known = self._known
        if k < len(known):
            return known[k]
        if self._rule is None:
            return None
        # Filling upwards keeps the recursion shallow at every order: what a rule needs is there.
        while len(known) <= k:
            known.append(self._rule(len(known)))
        return known[k]

    def truncated(self, order: int) -> list[Coefficient]:
        """Coefficients 0..order, without trailing structural zeros (but with coefficient 0)."""
        coefficients = [self[k] for k in range(order + 1)]
        while len(coefficients) > 1 and coefficients[-1] is None:
            coefficients.pop()
        return coefficients

    def derivative(self) -> Series:
        """u′: coefficient k is (k+1) u_{k+1}."""
        return Series((), lambda k: self[1] if k == 0 else _scale(self[k + 1], k + 1))

    def __neg__(self) -> Series:
        return Series((), lambda k: None if self[k] is None else -self[k])

    def __add__(self, other: Any) -> Series:
        other = as_series(other)
        return Series((), lambda k: add(self[k], other[k]))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Series:
        other = as_series(other)
        return Series((), lambda k: subtract(self[k], other[k]))

    def __rsub__(self, other: Any) -> Series:
        return as_series(other) - self

    def __mul__(self, other: Any) -> Series:
        """Leibniz' rule (uv)_k = Σ_j u_j v_{k−j}, equation (2.1)."""
        if not isinstance(other, Series):
            return Series((), lambda k: _scale(self[k], other))
        if other is self:
            return Series((), lambda k: _square(self, k))
        return Series((), lambda k: _convolve(self, other, k))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Series:
        """q_k = (u_k − Σ_{j<k} q_j v_{k−j}) / v_0, equation (2.2)."""
        if not isinstance(other, Series):
            return Series((), lambda k: None if self[k] is None else self[k] / other)

        def rule(lower: Series, k: int) -> Coefficient:
            rest = self[k]
            for j in range(k):
                if lower[j] is not None and other[k - j] is not None:
                    rest = subtract(rest, times(lower[j], other[k - j]))
            return None if rest is None else rest / other[0]

        return recur((), rule)

    def __rtruediv__(self, other: Any) -> Series:
        return as_series(other) / self

    def __pow__(self, exponent: int) -> Series:
        """Whole powers, by products, so that they hold where u_0 = 0 too."""
        if not isinstance(exponent, int) or exponent < 1:
            raise ValueError(f"a Series takes whole powers >= 1, got {exponent!r}; use activations.power")
        half = self ** (exponent // 2) if exponent > 1 else None
        if half is None:
            return self
        return half * half * self if exponent % 2 else half * half


def _does_not_apply(name: str) -> TypeError:
    return TypeError(
        f"{name} does not apply to a Series, which has + - * / and whole powers. Apply it to the value u[0], or use "
        f"its own rule: v, w, _ = nt.activations.get({name!r}).pair(u, xp, 0)"
    )


def operator_of(function: Any) -> tuple[str, bool]:
    """The operator that a torch function is, and whether it takes the right operand first."""
    name = function.__name__.strip("_")
    swapped = name in ("rsub", "rdiv", "rtruediv")
    name = name[1:] if swapped else name
    return ("truediv" if name in ("div", "true_divide") else name), swapped


operator_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


def as_series(value: Any) -> Series:
    """``value``, a constant as the series that has it as coefficient 0."""
    return value if isinstance(value, Series) else Series([value])


def _plus_product(total: Coefficient, a: Coefficient, b: Coefficient) -> Coefficient:
    """total + a·b, where total is None or a sum of products that nobody else holds.

    So it may be added to in place, which spares a third of the memory traffic where arrays exceed the cache.
    Where ``+=`` makes a new object instead (numbers, JAX arrays, jets), that is the sum all the same.
    """
    product = times(a, b)
    if total is None:
        return product
    fits = all(getattr(total, name, None) == getattr(product, name, None) for name in ("shape", "dtype"))
    if not fits:  # a direction's one row meets a batch
        return add(total, product)
    if _yields(total, product):
        return product + total
    total += product
    return total


def _convolve(u: Series, v: Series, k: int) -> Coefficient:
    """Σ_{j=0..k} u_j v_{k−j}."""
    total = None
    for j in range(k + 1):
        a, b = u[j], v[k - j]
        if a is not None and b is not None:
            total = _plus_product(total, a, b)
    return total


def _square(u: Series, k: int, first: int = 0) -> Coefficient:
    """Σ_{j=first..k−first} u_j u_{k−j}: each mixed product once and doubled."""
    total = None
    for j in range(first, (k + 1) // 2):
        if u[j] is not None and u[k - j] is not None:
            total = _plus_product(total, u[j], u[k - j])
    total = _scale(total, 2)
    middle = u[k // 2] if k % 2 == 0 and first <= k // 2 else None
    return total if middle is None else _plus_product(total, middle, middle)


def leibniz(product: Callable[[Coefficient, Coefficient], Coefficient], u: Any, v: Any) -> Series:
    """Σ_j product(u_j, v_{k−j}), equation (2.1), for a product that is linear in each; a constant may be an array."""
    u, v = as_series(u), as_series(v)

    def coefficient(k: int) -> Coefficient:
        total = None
        for j in range(k + 1):
            if u[j] is not None and v[k - j] is not None:
                total = add(total, product(u[j], v[k - j]))
        return total

    return Series((), coefficient)


def integrate(derivative: Series, v0: Coefficient) -> Series:
    """The v with v′ = ``derivative`` and v(0) = v0: k v_k = derivative_{k−1}."""
    return Series([v0], lambda k: _integrated(derivative, k))


def _integrated(derivative: Series, k: int) -> Coefficient:
    term = derivative[k - 1]
    return term if term is None or k == 1 else term / k


def starting(first: Coefficient | Callable[[], Coefficient], rest: Series | Callable[[int], Coefficient]) -> Series:
    """The series with coefficient 0 ``first`` and the others of ``rest``, a series or a rule.

    ``first`` may be a function that makes it, for what is costly and not always asked for.
    """
    rule = rest.__getitem__ if isinstance(rest, Series) else rest
    return Series((), lambda k: first() if k == 0 else rule(k)) if callable(first) else Series([first], rule)


def solve(
    u: Series,
    v0: Coefficient | Callable[[], Coefficient],
    slope: Callable[[Series], Series],
    w0: Coefficient | Callable[[], Coefficient] = None,
) -> tuple[Series, Series]:
    """v = f(u) and w = f′(u) from v′ = w·u′ and the closing relation w = slope(v), equation (2.3).

    k v_k = Σ_{j=1..k} j u_j w_{k−j}. ``w0`` replaces the coefficient 0 of slope(v) where computing it
    from v_0 would cancel: 1 − tanh² has no correct digit left at u = 19, sech² has all of them, and
    every higher coefficient inherits its relative accuracy from that one. Both v0 and w0 may be functions
    that make the coefficient when it is first asked for.
    """
    solution = _Solution()
    weakly = ref(solution)
    v = starting(v0, lambda k: weakly().v(k))  # type: ignore[union-attr]
    w = slope(v) if w0 is None else starting(w0, slope(v))
    solution.v = _along(u, w)
    return solution.keeping(v), solution.keeping(w)


def _along(u: Series, w: Series) -> Callable[[int], Coefficient]:
    """k -> v_k, k >= 1, of the v with v′ = w·u′: v_k = (Σ_{0<j<k} j u_j w_{k−j})/k + u_k w_0, equation (2.3).

    The term j = k is apart so that v_k ends in a sum of two arrays. XLA computes such a sum once if a matrix product
    takes it too; an operation on one array, as the division by k is, it would repeat in every coefficient above,
    with all that it is made of, and the cost would be O(n³).
    """
    du = u.derivative()

    def coefficient(k: int) -> Coefficient:
        total = None
        for j in range(1, k):
            if u[j] is not None and w[k - j] is not None:
                total = _plus_product(total, du[j - 1], w[k - j])
        total = None if total is None else total / k
        return total if u[k] is None or w[0] is None else _plus_product(total, u[k], w[0])

    return coefficient


class _Solution:
    """What each of two series is made of, which lean on each other: the rules of their coefficients.

    A rule that held its own series would be freed only when Python looks for cycles, and with it every array of
    every activation. So inside the equation it is referred to weakly, and what is given out keeps it.
    """

    __slots__ = ("__weakref__", "v", "w")

    v: Callable[[int], Coefficient]
    w: Callable[[int], Coefficient]

    def keeping(self, series: Series) -> Series:
        """``series``, with all that it is made of."""
        return Series((), lambda k: self and series[k])


def mapped(function: Callable[[Coefficient], Coefficient], u: Series) -> Series:
    """A linear function of a series: of each coefficient that is there."""
    return Series((), lambda k: None if u[k] is None else function(u[k]))


def recur(known: Sequence[Coefficient], rule: Callable[[Series, int], Coefficient]) -> Series:
    """The series that goes on by ``rule(lower, k)``, with ``lower`` the series so far, which does not hold the rule."""
    lower = Series(known)
    series = Series((), lambda k: rule(lower, k))
    series._known = lower._known
    return series


def sin_cos(u: Series, sin0: Coefficient, cos0: Coefficient) -> tuple[Series, Series]:
    """(sin u, cos u), the coupled pair s′ = c·u′, c′ = −s·u′, equation (2.4)."""
    return _coupled(u, sin0, cos0, lambda s: -s)


def cosh_sinh(u: Series, cosh0: Coefficient, sinh0: Coefficient) -> tuple[Series, Series]:
    """(cosh u, sinh u), the coupled pair c′ = s·u′, s′ = c·u′, equation (2.4)."""
    return _coupled(u, cosh0, sinh0, lambda c: c)


def _coupled(
    u: Series, a0: Coefficient, b0: Coefficient, slope_of_b: Callable[[Series], Series]
) -> tuple[Series, Series]:
    solution = _Solution()
    weakly = ref(solution)
    a = Series([a0], lambda k: weakly().v(k))  # type: ignore[union-attr]
    b = Series([b0], lambda k: weakly().w(k))  # type: ignore[union-attr]
    solution.v = _along(u, b)
    solution.w = _along(u, slope_of_b(a))
    return solution.keeping(a), solution.keeping(b)


def square_root(u: Series, v0: Coefficient) -> Series:
    """√u from v·v = u: v_k = (u_k − Σ_{0<j<k} v_j v_{k−j}) / (2 v_0), equation (2.5)."""

    def rule(lower: Series, k: int) -> Coefficient:
        rest = subtract(u[k], _square(lower, k, first=1))
        return None if rest is None else rest / (2 * v0)

    return recur([v0], rule)


def select(
    where: Callable[[Any, Any, Any], Any],
    mask: Any,
    a: Series,
    b: Series,
    zero: Callable[[Any], Any] = lambda c: c * 0,
) -> Series:
    """The series that follows ``a`` where the mask holds and ``b`` elsewhere, coefficient by coefficient.

    ``zero(c)`` stands for a structural zero beside a coefficient c; that of arrays that may hold NaN or
    infinity is ``xp.zeros_like``.
    """

    def rule(k: int) -> Coefficient:
        left, right = a[k], b[k]
        if left is None and right is None:
            return None
        return where(mask, zero(right) if left is None else left, zero(left) if right is None else right)

    return Series((), rule)


def correlate(cotangent: Sequence[Coefficient], w: Series, count: int) -> list[Coefficient]:
    """The pair rule's VJP ū_j = Σ_{k≥j} v̄_k w_{k−j} for j < count, equation (3.2).

    ``cotangent`` holds v̄_0..v̄_n, with ``None`` for those that are zero. The JVP, equation (3.1), is
    the Leibniz product ``w * du``; this is its transpose.
    """
    result = []
    for j in range(count):
        total = None
        for k in range(j, len(cotangent)):
            if cotangent[k] is not None and w[k - j] is not None:
                total = _plus_product(total, cotangent[k], w[k - j])
        result.append(total)
    return result
