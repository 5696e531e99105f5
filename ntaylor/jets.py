"""Jets: a value with its Taylor coefficients along a curve, as an object of the array API standard.

Floor 5. A jet of order n is u(t) = u_0 + u_1 t + … + u_n t^n + O(t^{n+1}) with arrays u_k of one shape:
Taylor coefficients u_k = u^(k)/k!, not derivatives. A function that asks its argument for its
namespace, or calls NumPy on it, runs on a jet as it is and gives the jet of its value.

The table of ``jet_rules`` says what each operation does to a jet. Its rules are called with the
namespace of the coefficients, so coefficients may themselves be variables of a gradient or jets of an
outer call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import HELD, ArrayObject, call_rule, objects_in, unwrapped_namespace
from ntaylor.blocks import Block, arrays_in
from ntaylor.bundles import Bundle, collapsed
from ntaylor.composed import COMPOSED
from ntaylor.dispatch import Adapter, serve
from ntaylor.jet_rules import RULES
from ntaylor.namespace import MissingRule, check_order, device, did_you_mean, is_array
from ntaylor.series import Series
from ntaylor.standard import NUMPY_NAMES, REFUSED

__all__ = ["Jet", "names", "register", "stack_coefficients", "univariate"]

Array = Any


class Jet(ArrayObject):
    """u_0 + u_1 t + … + u_n t^n, to be used wherever an array is.

    Parameters
    ----------
    coefficients:
        Taylor coefficients u_0, u_1, …, at most order + 1 arrays of shapes that broadcast to that of
        u_0. Those that are missing, or ``None``, are structural zeros: never stored, never multiplied.
    order:
        the highest order kept; ``len(coefficients) - 1`` unless given.
    level:
        which differentiation it belongs to (``array_object``); jets made by hand are all in one t.

    Raises TypeError or ValueError for coefficients that are not arrays, do not fit the primal, or are too many.
    """

    __slots__ = ("_series", "level", "order")
    _series: Sequence[Array | None]

    def __init__(self, coefficients: Sequence[Array | None], order: int | None = None, *, level: float = HELD):
        count = len(coefficients)
        if not count:
            raise ValueError("a Jet takes its coefficients, the primal first: Jet([u0, u1, …]); got none")
        self.order = count - 1 if order is None else check_order(order)
        # Of a block all are there; to take one out, autograd would follow it.
        without_primal = not isinstance(coefficients, Block) and coefficients[0] is None
        if without_primal or count > self.order + 1:
            raise ValueError(
                f"a Jet of order {self.order} takes 1 to {self.order + 1} coefficients, the primal first and an array; "
                f"got {count}{', of which the first is None' if without_primal else ''}"
            )
        self.level = level
        if isinstance(coefficients, Block):
            self._series = coefficients
            return
        for k, c in enumerate(coefficients):
            if c is not None and not is_array(c):
                raise TypeError(
                    f"coefficient {k} of a Jet must be an array, got {type(c).__name__}: pass xp.asarray(…)"
                )
        primal: Array = coefficients[0]
        shape, dtype = tuple(primal.shape), primal.dtype
        series: list[Array | None] = []
        for k, c in enumerate(coefficients):
            if c is not None and tuple(c.shape) != shape:
                try:
                    c = unwrapped_namespace([c]).broadcast_to(c, shape)
                except ValueError:
                    raise ValueError(
                        f"coefficient {k} of a Jet has shape {tuple(c.shape)}, the primal {shape}: "
                        "it must broadcast to it"
                    ) from None
            if c is not None and c.dtype != dtype:
                # What a constant of a wider dtype did to the primal alone: xp.imag, for one, takes complex arrays only.
                xp = unwrapped_namespace([c])
                c = xp.astype(c, dtype) if xp.result_type(c.dtype, dtype) == dtype else c
            series.append(c)
        while len(series) > 1 and series[-1] is None:
            series.pop()
        self._series = collapsed(series) if type(series[-1]) is Bundle else series

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
        return stack_coefficients(self._all())

    @property
    def derivatives(self) -> Array:
        """Derivatives u^(k) = k! u_k stacked, shape (order + 1, \\*shape).

        Raises OverflowError where k! is no number of this dtype: beyond order 170 in float64, 34 in float32.
        """
        coefficients = self._all()
        if self.order < 2:
            return stack_coefficients(coefficients)
        arrays = arrays_in(self._series)  # and not the primal, to take which out of a block autograd would follow
        xp, dtype = unwrapped_namespace(arrays), arrays[0].dtype
        largest = float(xp.finfo(dtype).max)
        if math.lgamma(len(self._series)) > math.log(largest):
            raise OverflowError(
                f"{len(self._series) - 1}! exceeds the largest {dtype}, {largest:.1e}: take Taylor coefficients "
                "instead, nt.jet(f, x, order).coefficients, or a lower order"
            )
        if isinstance(coefficients, Block):
            factors = [float(math.factorial(k)) for k in range(self.order + 1)]
            of_orders = xp.asarray(factors, dtype=dtype, device=device(coefficients.array))
            return coefficients.array * xp.reshape(of_orders, (-1, *[1] * (coefficients.array.ndim - 1)))
        return stack_coefficients(
            [c if c is None or k < 2 else c * float(math.factorial(k)) for k, c in enumerate(coefficients)]
        )

    def derivative(self) -> Jet:
        """The jet of du/dt, of order one less: coefficient k is (k+1) u_{k+1}."""
        if self.order == 0:
            raise ValueError("a jet of order 0 has no derivative left: start from a higher order")
        series = Series(self._series).derivative().truncated(self.order - 1)
        if series[0] is None:
            series[0] = self.primal * 0
        return type(self)(series, self.order - 1, level=self.level)

    def _all(self) -> Sequence[Array | None]:
        """Coefficients 0..order."""
        if isinstance(self._series, Block) and len(self._series) == self.order + 1:
            return self._series
        return [self._coefficient(k) for k in range(self.order + 1)]

    def _coefficient(self, k: int) -> Array | None:
        return self._series[k] if k < len(self._series) else None

    def __repr__(self) -> str:
        kept = [k for k, c in enumerate(self._series) if c is not None]
        return f"Jet(order={self.order}, coefficients {kept} present, primal={self.primal!r})"

    # --- what ArrayObject asks for ---

    @property
    def _like(self) -> Array:
        return self.primal

    def _mapped(self, function: Callable[[Any], Any]) -> Jet:
        return type(self)([None if c is None else function(c) for c in self._series], self.order, level=self.level)

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return name in RULES or name in COMPOSED or name in activations.names

    @classmethod
    def _missing(cls, name: str) -> str:
        if name in REFUSED:
            return f"no rule for {name!r} on a Jet: {REFUSED[name]}"
        return (
            f"no rule for {name!r} on a Jet: {did_you_mean(name, names())}Write it with operations that have one "
            f"(nt.jets.names()), or add one with nt.jets.register({name!r}, rule), or for a function of one variable "
            f"with nt.activations.register({name!r}, …)"
        )

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:
        if name not in RULES:
            if name in COMPOSED:
                return call_rule(name, COMPOSED[name], (), args, kwargs)
            if len(args) != 1:
                raise TypeError(f"{name} takes one array and nothing else, got {len(args)}")
            return univariate(name, args[0], **kwargs)
        order = min(a.order for a in objects_in((*args, *kwargs.values())) if isinstance(a, Jet) and a.level == level)
        seen: list[Any] = []

        def opened(value: Any) -> Any:
            if isinstance(value, Jet) and value.level == level:
                seen.extend(value._series)
                return Series(value._series[: order + 1])
            if isinstance(value, (list, tuple)) and any(True for _ in objects_in(value)):
                return [opened(v) for v in value]
            seen.append(value)
            return value

        opened_args = [opened(a) for a in args]
        opened_kwargs = {key: opened(v) for key, v in kwargs.items()}
        result = call_rule(name, RULES[name], (unwrapped_namespace(seen), order), opened_args, opened_kwargs)
        if result is None:
            raise TypeError(f"the rule for {name!r} returned None: end it with return, and a Series or an array")
        return cls._closed(result, order, level)

    @classmethod
    def _closed(cls, result: Any, order: int, level: float) -> Any:
        if isinstance(result, Series):
            return cls(result.truncated(order), order, level=level)
        if isinstance(result, (list, tuple)):
            closed = [cls._closed(r, order, level) for r in result]
            return type(result)(*closed) if hasattr(result, "_fields") else tuple(closed)
        return result


class _JetAdapter(Adapter):
    """Jets of any library are served by the core's rules, whatever slots their library's adapter fills."""

    priority = 200


serve(Jet, _JetAdapter())


def stack_coefficients(coefficients: Sequence[Array | None]) -> Array:
    """One array with a new leading axis; structural zeros become zeros here, at the public edge."""
    if isinstance(coefficients, Block):
        return coefficients.array
    xp = unwrapped_namespace(coefficients)
    zero = xp.zeros_like(coefficients[0]) if any(c is None for c in coefficients) else None
    return xp.stack([zero if c is None else c for c in coefficients])


def univariate(activation: str | activations.Activation, u: Jet, **parameters: Array) -> Jet:
    """f(u) by the pair rule of ``activation``, a name or an Activation."""
    activation = activations.get(activation)
    if not isinstance(u, Jet):
        raise TypeError(f"{activation.name} takes one Jet and nothing else, got {type(u).__name__}")
    if any(p.level >= u.level for p in objects_in(parameters.values())):
        raise MissingRule(f"no rule for {activation.name!r} of a parameter that depends on the same variable")
    order = u.order if len(u._series) > 1 else 0  # of a constant there is the value alone
    return type(u)(activation.push(u._series, order, parameters)[0], u.order, level=u.level)


def names() -> list[str]:
    """Every operation of the array namespace that jets have a rule for, those registered included, sorted."""
    return sorted({n for n in (*RULES, *COMPOSED, *activations.names) if not n.startswith("numpy.")})


def register(name: str, rule: Callable[..., Any], *, replace: bool = False) -> None:
    """Teach jets the operation ``name`` of the array namespace.

    ``rule(xp, order, *args, **kwargs)`` gets each jet as a :class:`ntaylor.series.Series` of Taylor
    coefficients and everything else as the caller passed it, and returns a Series (or a plain array,
    where the operation is locally constant, or a tuple of them). Under ``"numpy.name"`` it serves np.name alone.
    Raises TypeError for what is no name or no function, ValueError for a name that has a rule, unless
    ``replace=True``, and for a name of NumPy's that differs from the standard's.
    """
    if not isinstance(name, str) or not callable(rule):
        raise TypeError(
            "register takes the name of an operation and its rule, register('foo', rule) with rule(xp, order, *args); "
            f"got {name!r} and a {type(rule).__name__}"
        )
    if name in NUMPY_NAMES:
        raise ValueError(
            f"{name!r} is NumPy's name for {NUMPY_NAMES[name]!r}, under which np.{name} is looked up too: register "
            f"{NUMPY_NAMES[name]!r}"
        )
    if Jet._has_rule(name) and not replace:
        raise ValueError(f"jets already have a rule for {name!r}; pass replace=True to change it")
    RULES[name] = rule
