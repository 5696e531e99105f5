"""Jets: a value with its Taylor coefficients along a curve, as an object of the array API standard.

Floor 3. A jet of order n is u(t) = u_0 + u_1 t + … + u_n t^n + O(t^{n+1}) with arrays u_k of one shape:
Taylor coefficients u_k = u^(k)/k!, not derivatives. A function that asks its argument for its
namespace, or calls NumPy on it, runs on a jet as it is and gives the jet of its value.

One table says what each operation does to a jet; an operation is of one of these kinds:

- *zero*: locally constant (floor, comparisons): acts on the primal and returns a plain array;
- *linear*: acts on every coefficient that is there, so what is absent stays absent;
- *bilinear*: Leibniz' rule with the operation as its product, equation (2.1);
- *univariate*: a pair rule of ``activations``;
- *piecewise*: follows the branch that the primal takes; at a tie, the first argument's.

The rules are called with the namespace of the coefficients, so coefficients may themselves be
variables of a gradient or jets of an outer call.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import ArrayObject, objects_in, unwrapped_namespace
from ntaylor.dispatch import adapter_for
from ntaylor.namespace import any_true, check_order, is_array, near_names
from ntaylor.series import Series, add

__all__ = ["Jet", "new_level", "register", "stack_coefficients", "univariate"]

Array = Any

new_level = itertools.count(1).__next__
"""Numbers the calls that start jets, so that a jet inside a jet is not taken for the same variable."""


class Jet(ArrayObject):
    """u_0 + u_1 t + … + u_n t^n, to be used wherever an array is.

    Parameters
    ----------
    coefficients:
        Taylor coefficients u_0, u_1, …, at most order + 1 arrays of shapes that broadcast to that of
        u_0. Those that are missing, or ``None``, are structural zeros: never stored, never multiplied.
    order:
        the highest order kept; ``len(coefficients) - 1`` unless given.
    """

    __slots__ = ("_series", "level", "order")
    _precedence = 1

    def __init__(self, coefficients: Sequence[Array | None], order: int | None = None, *, level: int = 0):
        self.order = len(coefficients) - 1 if order is None else check_order(order)
        if not coefficients or coefficients[0] is None or len(coefficients) > self.order + 1:
            raise ValueError(
                f"a Jet of order {self.order} takes 1 to {self.order + 1} coefficients, the primal first; "
                f"got {len(coefficients)}"
            )
        self.level = level
        primal = coefficients[0]
        if not hasattr(primal, "shape"):
            raise TypeError(f"the primal of a Jet must be an array, got {type(primal).__name__}")
        xp = unwrapped_namespace(coefficients)
        self._series = [
            c if c is None or tuple(c.shape) == tuple(primal.shape) else xp.broadcast_to(c, tuple(primal.shape))
            for c in coefficients
        ]
        while len(self._series) > 1 and self._series[-1] is None:
            self._series.pop()

    @property
    def primal(self) -> Array:
        """Coefficient 0: the value of the function, a plain array."""
        return self._series[0]

    @property
    def series(self) -> tuple[Array | None, ...]:
        """Taylor coefficients 1..order, ``None`` for structural zeros."""
        return tuple(self._coefficient(k) for k in range(1, self.order + 1))

    @property
    def coefficients(self) -> Array:
        """Taylor coefficients u_k = u^(k)/k! stacked, shape (order + 1, \\*shape)."""
        return stack_coefficients([self._coefficient(k) for k in range(self.order + 1)])

    @property
    def derivatives(self) -> Array:
        """Derivatives u^(k) = k! u_k stacked, shape (order + 1, \\*shape)."""
        return stack_coefficients(
            [
                c if c is None or k < 2 else c * float(math.factorial(k))
                for k, c in enumerate(self._coefficient(k) for k in range(self.order + 1))
            ]
        )

    def derivative(self) -> Jet:
        """The jet of du/dt, of order one less: coefficient k is (k+1) u_{k+1}."""
        if self.order == 0:
            raise ValueError("a jet of order 0 has no derivative left: start from a higher order")
        series = Series(self._series).derivative().truncated(self.order - 1)
        if series[0] is None:
            series[0] = self.primal * 0
        return Jet(series, self.order - 1, level=self.level)

    def _coefficient(self, k: int) -> Array | None:
        return self._series[k] if k < len(self._series) else None

    def __repr__(self) -> str:
        kept = [k for k, c in enumerate(self._series) if c is not None]
        return f"Jet(order={self.order}, coefficients {kept} present, primal={self.primal!r})"

    # --- what ArrayObject asks for ---

    @property
    def _like(self) -> Array:
        return self.primal

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return name in _RULES or name in activations.names

    @classmethod
    def _missing(cls, name: str) -> str:
        known = [*_RULES, *activations.names]
        return (
            f"no rule for {name!r} on a Jet: {near_names(name, known)}. Add one with "
            f"nt.jets.register({name!r}, rule), or for a function of one variable with nt.activations.register"
        )

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        jets = [a for a in objects_in((*args, *kwargs.values())) if isinstance(a, Jet)]
        level = max(jet.level for jet in jets)
        order = min(jet.order for jet in jets if jet.level == level)
        if name not in _RULES:
            return univariate(activations.get(name), *args, **kwargs)

        def opened(value: Any) -> Any:
            if isinstance(value, Jet) and value.level == level:
                return Series(value._series[: order + 1])
            if isinstance(value, (list, tuple)) and any(True for _ in objects_in(value)):
                return [opened(v) for v in value]
            return value

        xp = unwrapped_namespace(_arrays_in((args, tuple(kwargs.values())), level))
        result = _RULES[name](
            xp, order, *(opened(a) for a in args), **{key: opened(v) for key, v in kwargs.items()}
        )
        return _closed(result, order, level)


def _closed(result: Any, order: int, level: int) -> Any:
    if isinstance(result, Series):
        return Jet(result.truncated(order), order, level=level)
    if isinstance(result, (list, tuple)):
        return tuple(_closed(r, order, level) for r in result)
    return result


def _arrays_in(values: Iterable[Any], level: int) -> Iterable[Any]:
    """All arrays that a rule will see: constants, and the coefficients of the jets of this level."""
    for value in values:
        if isinstance(value, Jet) and value.level == level:
            yield from value._series
        elif isinstance(value, (list, tuple)):
            yield from _arrays_in(value, level)
        else:
            yield value


def stack_coefficients(coefficients: Sequence[Array | None]) -> Array:
    """One array with a new leading axis; structural zeros become zeros here, at the public edge."""
    primal = coefficients[0]
    xp = unwrapped_namespace(coefficients)
    shape = tuple(primal.shape)
    zero = None
    filled = []
    for coefficient in coefficients:
        if coefficient is None:
            zero = xp.zeros_like(primal) if zero is None else zero
            coefficient = zero
        elif tuple(coefficient.shape) != shape:
            coefficient = xp.broadcast_to(coefficient, shape)
        filled.append(coefficient)
    return xp.stack(filled)


def univariate(activation: activations.Activation, u: Jet, **parameters: Array) -> Jet:
    """f(u) by the pair rule of ``activation``; a backend may do it in one piece."""
    if not isinstance(u, Jet):
        raise TypeError(f"{activation.name} takes one Jet and nothing else, got {type(u).__name__}")
    activate = adapter_for(*u._series, *parameters.values()).activate
    if activate is not None:
        return Jet(activate(activation, u._series, u.order, parameters), u.order, level=u.level)
    xp = unwrapped_namespace((*u._series, *parameters.values()))
    v, _, _ = activation.pair(Series(u._series), xp, u.order, **parameters)
    return Jet(v.truncated(u.order), u.order, level=u.level)


# --- the rule table -----------------------------------------------------------------------------
# rule(xp, order, *args): jets arrive as Series, constants as they are; a Series returned becomes a Jet.

_RULES: dict[str, Callable[..., Any]] = {}


def register(name: str, rule: Callable[..., Any], *, replace: bool = False) -> None:
    """Teach jets the operation ``name`` of the array namespace.

    ``rule(xp, order, *args, **kwargs)`` gets each jet as a :class:`ntaylor.series.Series` of Taylor
    coefficients and everything else as the caller passed it, and returns a Series (or a plain array,
    where the operation is locally constant, or a tuple of them). Raises ValueError for a name that has
    a rule, unless ``replace=True``.
    """
    if Jet._has_rule(name) and not replace:
        raise ValueError(f"jets already have a rule for {name!r}; pass replace=True to change it")
    _RULES[name] = rule


def _primal(value: Any) -> Any:
    if isinstance(value, Series):
        return value[0]
    return [_primal(v) for v in value] if isinstance(value, list) else value


def _as_series(value: Any) -> Series:
    return value if isinstance(value, Series) else Series([value])


def _zero(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, *args: Any, **kwargs: Any) -> Array:
        return getattr(xp, name)(*map(_primal, args), **kwargs)

    return rule


def _linear(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, u: Series, *args: Any, **kwargs: Any) -> Series:
        function = getattr(xp, name)
        return _map(lambda c: function(c, *args, **kwargs), u)

    return rule


def _map(function: Callable[[Array], Array], u: Series) -> Series:
    return Series((), lambda k: None if u[k] is None else function(u[k]))


def _bilinear(name: str) -> Callable[..., Any]:
    def rule(xp: Any, order: int, u: Any, v: Any, **kwargs: Any) -> Series:
        function = getattr(xp, name)
        u, v = _as_series(u), _as_series(v)

        def coefficient(k: int) -> Array:
            total = None
            for j in range(k + 1):
                if u[j] is not None and v[k - j] is not None:
                    total = add(total, function(u[j], v[k - j], **kwargs))
            return total

        return Series((), coefficient)

    return rule


def _joining(name: str) -> Callable[..., Any]:
    """concat and stack: linear in all their arrays together, so an absent one among present ones is zeros."""

    def rule(xp: Any, order: int, arrays: Sequence[Any], **kwargs: Any) -> Series:
        parts = [_as_series(a) for a in arrays]

        def coefficient(k: int) -> Array:
            if all(part[k] is None for part in parts):
                return None
            return getattr(xp, name)(
                [xp.zeros_like(part[0]) if part[k] is None else part[k] for part in parts], **kwargs
            )

        return Series((), coefficient)

    return rule



def _add(xp: Any, order: int, u: Any, v: Any) -> Series:
    return _as_series(u) + _as_series(v)


def _subtract(xp: Any, order: int, u: Any, v: Any) -> Series:
    return _as_series(u) - _as_series(v)


def _multiply(xp: Any, order: int, u: Any, v: Any) -> Series:
    return u * v if isinstance(u, Series) else v * u


def _divide(xp: Any, order: int, u: Any, v: Any) -> Series:
    if isinstance(v, Series) and any_true(v[0] == 0):
        raise ValueError("division by a jet that is zero at some of these points: its derivatives do not exist there")
    return u / v if isinstance(u, Series) else Series([u]) / v


def _pow(xp: Any, order: int, u: Any, exponent: Any) -> Series:
    if isinstance(u, Series) and isinstance(exponent, (int, float)):
        return activations.power(exponent).pair(u, xp, order)[0]
    if isinstance(u, Series):
        log_u = activations.get("log").pair(u, xp, order)[0]
    else:
        log_u = xp.log(u) if is_array(u) else math.log(u)
    return activations.get("exp").pair(exponent * log_u, xp, order)[0]


def _abs(xp: Any, order: int, u: Series) -> Series:
    sign = xp.sign(u[0])
    return Series([xp.abs(u[0])], (sign * u).__getitem__)


def _where(xp: Any, order: int, condition: Any, u: Any, v: Any) -> Series:
    condition, u, v = _primal(condition), _as_series(u), _as_series(v)

    def coefficient(k: int) -> Array:
        if u[k] is None and v[k] is None:
            return None
        like = u[k] if u[k] is not None else v[k]
        return xp.where(condition, *(xp.zeros_like(like) if c is None else c for c in (u[k], v[k])))

    return Series((), coefficient)


def _maximum(xp: Any, order: int, u: Any, v: Any) -> Series:
    return _where(xp, order, _primal(u) >= _primal(v), *_both_arrays(xp, u, v))


def _minimum(xp: Any, order: int, u: Any, v: Any) -> Series:
    return _where(xp, order, _primal(u) <= _primal(v), *_both_arrays(xp, u, v))


def _both_arrays(xp: Any, u: Any, v: Any) -> tuple[Any, Any]:
    like = _primal(u) if isinstance(u, Series) else _primal(v)
    return tuple(a if isinstance(a, Series) or is_array(a) else xp.zeros_like(like) + a for a in (u, v))  # type: ignore[return-value]


def _clip(xp: Any, order: int, u: Series, min: Any = None, max: Any = None) -> Series:
    if min is not None:
        u = _maximum(xp, order, u, min)
    return u if max is None else _minimum(xp, order, u, max)


def _unstack(xp: Any, order: int, u: Series, *, axis: int = 0) -> list[Series]:
    parts = [None if c is None else xp.unstack(c, axis=axis) for c in u.truncated(order)]
    return [Series([None if p is None else p[i] for p in parts]) for i in range(u[0].shape[axis])]


def _variance(xp: Any, order: int, u: Series, *, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Series:
    mean = _RULES["mean"](xp, order, u, axis=axis, keepdims=True)
    squares = (u - mean) * (u - mean)
    total = _RULES["sum"](xp, order, squares, axis=axis, keepdims=keepdims)
    count = u[0].size / max(mean[0].size, 1) - correction
    return total * (1.0 / count)


def _std(xp: Any, order: int, u: Series, **kwargs: Any) -> Series:
    return activations.get("sqrt").pair(_variance(xp, order, u, **kwargs), xp, order)[0]


def _hypot(xp: Any, order: int, u: Any, v: Any) -> Series:
    u, v = _as_series(u), _as_series(v)
    return activations.get("sqrt").pair(u * u + v * v, xp, order)[0]


def _logaddexp(xp: Any, order: int, u: Any, v: Any) -> Series:
    u, v = _as_series(u), _as_series(v)
    return u + activations.get("softplus").pair(v - u, xp, order)[0]


def _getitem(xp: Any, order: int, u: Series, key: Any) -> Series:
    return _map(lambda c: c[key], u)


for _name in """ceil floor floor_divide round sign signbit trunc
    isfinite isinf isnan less less_equal greater greater_equal equal not_equal logical_and logical_not logical_or
    logical_xor all any argmax argmin argsort count_nonzero nonzero searchsorted
    zeros_like ones_like empty_like full_like result_type""".split():
    _RULES[_name] = _zero(_name)
for _name in """astype broadcast_to cumulative_sum diff expand_dims flip matrix_transpose mean moveaxis negative
    permute_dims positive repeat reshape roll squeeze sum take tile tril triu""".split():
    _RULES[_name] = _linear(_name)
for _name in ("matmul", "tensordot", "vecdot"):
    _RULES[_name] = _bilinear(_name)
_RULES |= {
    "abs": _abs,
    "add": _add,
    "clip": _clip,
    "concat": _joining("concat"),
    "divide": _divide,
    "getitem": _getitem,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "maximum": _maximum,
    "minimum": _minimum,
    "multiply": _multiply,
    "pow": _pow,
    "stack": _joining("stack"),
    "std": _std,
    "subtract": _subtract,
    "unstack": _unstack,
    "var": _variance,
    "where": _where,
}
del _name
