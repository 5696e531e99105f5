"""What each operation of the array namespace does to a jet.

Floor 4: a table name → ``rule(xp, order, *args)``. Jets arrive as a Series of Taylor coefficients,
constants as they are; the result is a Series, or a plain array. An operation is of one of these kinds:

- *zero*: locally constant (floor, comparisons): acts on the primal and returns a plain array;
- *linear*: acts on every coefficient that is there, so what is absent stays absent;
- *bilinear*: Leibniz' rule with the operation as its product, equation (2.1);
- *univariate*: a pair rule of ``activations``;
- *piecewise*: follows the branch that the primal takes. At a tie ``maximum`` and ``minimum`` follow their
  first argument, ``max`` and ``min`` the mean of the tied entries, and ``abs`` at 0 has the derivatives 0.
  Of complex arrays those that choose by order have none and are refused.

Operations made of others are those of ``composed``, linear algebra and Fourier transforms those of ``linalg_rules``.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import check_floating_sum, function_of, refuse_complex, whole_number, without_options
from ntaylor.linalg_rules import LINALG
from ntaylor.namespace import MissingRule, any_true, is_array, is_complex, take_along_axis, to_device
from ntaylor.series import Series, as_series, integrate, leibniz, mapped, select, solve
from ntaylor.standard import CONSTANT

__all__ = ["RULES"]

Array = Any

RULES: dict[str, Callable[..., Any]] = {}
"""Name in the array namespace → rule."""


def _primal(value: Any) -> Any:
    if isinstance(value, Series):
        return value[0]
    return [_primal(v) for v in value] if isinstance(value, list) else value


def _zero(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, /, *args: Any, **kwargs: Any) -> Array:
        if name == "sign" and order > 0:
            refuse_complex(name, *map(_primal, args))  # z/|z| turns with z
        return function_of(xp, name)(*map(_primal, args), **{key: _primal(v) for key, v in kwargs.items()})

    return rule


_LINEAR_OPTIONS = frozenset(
    "axis axes keepdims dtype copy shape shift repeats repetitions reps source destination k include_initial".split()  # noqa: SIM905
)


def _linear(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, u: Any, /, *args: Any, **kwargs: Any) -> Series:
        # An option such as NumPy's initial= would be added to every coefficient: only known ones pass.
        if unknown := kwargs.keys() - _LINEAR_OPTIONS:
            raise without_options(name, sorted(unknown))
        if not isinstance(u, Series) or any(isinstance(a, Series) for a in (*args, *kwargs.values())):
            raise MissingRule(f"no rule for {name} with a Jet in any place but the first")
        function = getattr(xp, name)
        if kwargs.get("dtype") is None:
            return mapped(lambda c: function(c, *args, **kwargs), u)
        return mapped(lambda c: check_floating_sum(name, function(c, *args, **kwargs)), u)

    return rule


def _bilinear(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, u: Any, v: Any, /, **kwargs: Any) -> Series:
        function = getattr(xp, name)
        return leibniz(lambda a, b: function(a, b, **kwargs), u, v)

    return rule


def _joining(name: str) -> Callable[..., Any]:
    """concat and stack: linear in all their arrays together, so an absent one among present ones is zeros."""

    def rule(xp: Any, order: int, arrays: Sequence[Any], *, axis: int | None = 0) -> Series:
        parts = [as_series(a) for a in arrays]

        def coefficient(k: int) -> Array:
            if all(part[k] is None for part in parts):
                return None
            return getattr(xp, name)(
                [xp.zeros_like(part[0]) if part[k] is None else part[k] for part in parts], axis=axis
            )

        return Series((), coefficient)

    return rule


def _add(xp: Any, order: int, u: Any, v: Any) -> Series:
    return as_series(u) + as_series(v)


def _subtract(xp: Any, order: int, u: Any, v: Any) -> Series:
    return as_series(u) - as_series(v)


def _multiply(xp: Any, order: int, u: Any, v: Any) -> Series:
    if (found := activations.of_two("product", u, v, order)) is not None:
        return found
    product: Series = u * v if isinstance(u, Series) else v * u
    return product


def _divide(xp: Any, order: int, u: Any, v: Any) -> Series:
    if isinstance(v, Series) and order > 0 and any_true(v[0] == 0):
        raise ValueError("division by a jet that is zero at some of these points: its derivatives do not exist there")
    if (found := activations.of_two("quotient", as_series(u), v, order)) is not None:
        return found
    quotient: Series = as_series(u) / v
    return quotient


def _remainder(xp: Any, order: int, u: Any, v: Any) -> Series:
    # u − v⌊u/v⌋, with ⌊u/v⌋ locally constant.
    rest: Series = as_series(u) - as_series(v) * xp.floor_divide(_primal(u), _primal(v))
    return rest


def _pow(xp: Any, order: int, u: Any, exponent: Any) -> Series:
    exponent = whole_number(exponent)
    if isinstance(exponent, complex) or (is_complex(exponent) and not isinstance(exponent, Series)):
        raise MissingRule("no rule for a complex exponent: write xp.exp(exponent * xp.log(base))")
    if order == 0 and not isinstance(exponent, (int, float)):
        return Series([_primal(u) ** _primal(exponent)])
    if isinstance(exponent, Series):
        base = _primal(u)
        turns = isinstance(base, complex) or is_complex(base)  # a complex base is on log's own branch, but for 0
        bad = base == 0 if turns else base <= 0
        if any_true(bad) if is_array(base) else bad:
            raise ValueError(
                "a power with a jet as exponent needs a base > 0, for its derivatives go through log(base)"
            )
        if isinstance(u, Series):
            log_u = activations.get("log").pair(u, xp, order)[0]
        else:
            log_u = Series([xp.log(u) if is_array(u) else cmath.log(u) if turns else math.log(u)])
        value = xp.pow(_primal(u), exponent[0])
        return solve(exponent * log_u, value, lambda v: v)[0]
    if isinstance(exponent, (int, float)):
        return activations.power(exponent).pair(u, xp, order)[0]
    # One constant exponent an element.
    whole = exponent == xp.floor(exponent)
    if not any_true(u[0] == 0) and not any_true(xp.logical_and(u[0] < 0, xp.logical_not(whole))):
        return solve(u, xp.pow(u[0], exponent), lambda v: v * exponent / u)[0]
    if not any_true(xp.logical_or(xp.logical_not(whole), exponent < 0)):
        # Polynomials such as x[:, None] ** np.arange(4), by products, which hold at u = 0 too.
        result = Series([xp.ones_like(xp.pow(u[0], exponent))])
        for p in range(1, int(xp.max(exponent)) + 1 if math.prod(exponent.shape) else 1):
            result = _where(xp, order, exponent == p, u**p, result)
        return result
    raise ValueError("a power is not differentiable here: a fractional exponent needs a base > 0, a negative one ≠ 0")


def _abs(xp: Any, order: int, u: Series) -> Series:
    value = xp.abs(u[0])
    if not is_complex(u[0]):
        return Series([value], (u * xp.sign(u[0])).__getitem__)
    real, imag = _real(xp, order, u), _imag(xp, order, u)
    modulus = activations.get("sqrt").pair(real * real + imag * imag, xp, order)[0]
    return Series([value], modulus.__getitem__)


# Of a complex jet single coefficients may be real: those of x + 1j, with x real.


def _real(xp: Any, order: int, u: Series) -> Series:
    return mapped(lambda c: xp.real(c) if is_complex(c) else c, u)


def _imag(xp: Any, order: int, u: Series) -> Series:
    if not is_complex(u[0]):
        return Series([xp.zeros_like(u[0])])
    return mapped(lambda c: xp.imag(c) if is_complex(c) else None, u)


def _conj(xp: Any, order: int, u: Series) -> Series:
    return mapped(lambda c: xp.conj(c) if is_complex(c) else c, u)


def _where(xp: Any, order: int, condition: Any, u: Any, v: Any) -> Series:
    # Not a branch times 0: where keeps away from what is NaN there.
    return select(xp.where, _primal(condition), as_series(u), as_series(v), xp.zeros_like)


def _extremum(name: str, compare: str) -> Callable[..., Any]:
    """The larger or smaller of two; its value is the library's own, which knows about NaN."""

    def rule(xp: Any, order: int, u: Any, v: Any) -> Series:
        u0, v0 = _primal(u), _primal(v)
        if order > 0:
            refuse_complex(name, u0, v0)
        like = u0 if is_array(u0) else v0
        u0, v0 = (a if is_array(a) else xp.full_like(like, a) for a in (u0, v0))
        chosen = _where(
            xp,
            order,
            getattr(xp, compare)(u0, v0),
            *(a if isinstance(a, Series) else Series([a0]) for a, a0 in ((u, u0), (v, v0))),
        )
        return Series([getattr(xp, name)(u0, v0)], chosen.__getitem__)

    return rule


def _extreme(name: str) -> Callable[..., Any]:
    """max and min over axes: of tied entries, the mean."""

    def rule(xp: Any, order: int, u: Series, *, axis: Any = None, keepdims: bool = False) -> Series:
        if order > 0:
            refuse_complex(name, u[0])
        value = getattr(xp, name)(u[0], axis=axis, keepdims=keepdims)
        mask = xp.astype(u[0] == getattr(xp, name)(u[0], axis=axis, keepdims=True), u[0].dtype)
        count = xp.sum(mask, axis=axis, keepdims=keepdims)

        def coefficient(k: int) -> Array:
            return None if u[k] is None else xp.sum(u[k] * mask, axis=axis, keepdims=keepdims) / count

        return Series([value], coefficient)

    return rule


def _astype(xp: Any, order: int, u: Series, dtype: Any, **kwargs: Any) -> Any:
    if not xp.isdtype(dtype, ("real floating", "complex floating")):
        return xp.astype(u[0], dtype, **kwargs)  # locally constant
    return mapped(lambda c: xp.astype(c, dtype, **kwargs), u)


def _full_like(xp: Any, order: int, u: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    if not isinstance(fill_value, Series):
        return xp.full_like(_primal(u), fill_value, dtype=dtype, device=device)
    if dtype is not None or device is not None:
        raise MissingRule("no rule for full_like(dtype=…, device=…) of a Jet: use xp.astype on it first")
    return mapped(lambda c: xp.broadcast_to(c, _primal(u).shape), fill_value)


def _to_device(xp: Any, order: int, u: Series, where: Any) -> Series:
    return mapped(lambda c: to_device(c, where), u)


def _unstack(xp: Any, order: int, u: Series, *, axis: int = 0) -> list[Series]:
    parts = [None if c is None else xp.unstack(c, axis=axis) for c in u.truncated(order)]
    return [Series([None if p is None else p[i] for p in parts]) for i in range(u[0].shape[axis])]


def _atan2(xp: Any, order: int, y: Any, x: Any) -> Series:
    y, x = as_series(y), as_series(x)
    if order > 0:
        refuse_complex("atan2", y[0], x[0])
    squares = x * x + y * y
    if order > 0 and any_true(squares[0] == 0):
        raise ValueError("atan2(0, 0) is not differentiable")
    return integrate((x * y.derivative() - y * x.derivative()) / squares, xp.atan2(y[0], x[0]))


def _take_along_axis(xp: Any, order: int, u: Series, indices: Any, *, axis: int = -1) -> Series:
    return mapped(lambda c: take_along_axis(xp, c, indices, axis=axis), u)


def _getitem(xp: Any, order: int, u: Series, key: Any) -> Series:
    return mapped(lambda c: c[key], u)


_LINEAR = """broadcast_to cumulative_sum expand_dims flip matrix_transpose mean moveaxis negative
    permute_dims positive repeat reshape roll squeeze sum take tile tril triu"""
for _name in CONSTANT:
    RULES[_name] = _zero(_name)
for _name in _LINEAR.split():
    RULES[_name] = _linear(_name)
for _name in ("matmul", "tensordot"):
    RULES[_name] = _bilinear(_name)
RULES |= LINALG
RULES |= {
    "abs": _abs,
    "add": _add,
    "astype": _astype,
    "atan2": _atan2,
    "concat": _joining("concat"),
    "conj": _conj,
    "divide": _divide,
    "full_like": _full_like,
    "getitem": _getitem,
    "imag": _imag,
    "max": _extreme("max"),
    "maximum": _extremum("maximum", "greater_equal"),
    "min": _extreme("min"),
    "minimum": _extremum("minimum", "less_equal"),
    "multiply": _multiply,
    "pow": _pow,
    "real": _real,
    "remainder": _remainder,
    "stack": _joining("stack"),
    "subtract": _subtract,
    "take_along_axis": _take_along_axis,
    "to_device": _to_device,
    "unstack": _unstack,
    "where": _where,
}
del _name
