"""JAX's primitives in the words of the jets' rule table.

Nothing is differentiated here. A primitive is one of these:

- the table's operation under another name, or made of several of its operations;
- *zero*: locally constant, so it sees primals only;
- *linear* or *bilinear* with parameters of its own, such as ``dot_general``, or *choosing*, such as ``sort``: it goes
  into the table itself, as ``lax.dot_general``, by the rules of its kind. So may a user's:
  ``nt.jets.register("lax.name", rule)``.

Linear algebra is in :mod:`linear_algebra`. What is none of these but has a derivative rule of JAX's own is the
interpreter's: v comes from v′.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy

from ntaylor import activations
from ntaylor.array_object import ArrayObject, apply
from ntaylor.bundles import Bundle, through
from ntaylor.jet_rules import RULES
from ntaylor.jets import Jet, register
from ntaylor.namespace import MissingRule
from ntaylor.series import Series, as_series, leibniz
from ntaylor_backends.jax.block_primitives import OF_BLOCKS
from ntaylor_backends.jax.linear_algebra import MATRICES, SOLUTIONS

__all__ = ["known", "on_jets", "primal"]

Array = Any


def primal(value: Any) -> Any:
    """The value of a jet; anything else as it is."""
    return value.primal if isinstance(value, Jet) else value


def known(name: str) -> bool:
    """Whether the primitive of this name has a rule on jets."""
    tables: tuple[Container[str], ...] = (_ZERO, _NAMED, _MADE, _OF_KIND, MATRICES, SOLUTIONS, activations.names)
    return any(name in table for table in tables) or f"lax.{name}" in RULES


def on_jets(primitive: Any, args: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """What a known primitive makes of its arguments, some of them jets: a result, or a list if it gives several."""
    name = primitive.name
    if name in OF_BLOCKS and (found := OF_BLOCKS[name](primitive, args, params)) is not None:
        return found
    entry = f"lax.{name}"
    if entry not in RULES and name in _OF_KIND:
        register(entry, _OF_KIND[name](primitive))
    if entry not in RULES and name in SOLUTIONS:
        register(entry, SOLUTIONS[name](primitive))
    if entry in RULES:
        return apply(entry, tuple(map(_array, args)), {key: _option(value) for key, value in params.items()})
    if name in _ZERO:
        return primitive.bind(*map(primal, args), **params)
    if name in MATRICES:
        return MATRICES[name](*args, **params)
    args = [_constant(a) for a in args]
    if name in _MADE:
        return _MADE[name](*args, **params)
    return apply(_NAMED.get(name, name), tuple(args), {})


def _array(value: Any) -> Any:
    """A literal, or what was made of literals, as an array of JAX; anything else as it is."""
    if isinstance(value, (ArrayObject, jax.Array)):
        return value
    with jax.ensure_compile_time_eval():
        return jnp.asarray(value)


def _option(value: Any) -> Any:
    """A parameter of a primitive without NumPy's numbers, which would pass for arrays of another library."""
    if isinstance(value, tuple):
        parts = map(_option, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value.item() if isinstance(value, numpy.generic) else value


def _constant(value: Any) -> Any:
    """As :func:`_array`, but one number as Python's, which promotes nothing."""
    an_array = isinstance(value, (ArrayObject, jax.Array)) or numpy.ndim(value)
    return _array(value) if an_array else numpy.asarray(value).item()


# --- the table's own operations --------------------------------------------------------------------

_NAMED = {
    "add": "add",
    "add_any": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "neg": "negative",
    "max": "maximum",
    "min": "minimum",
    "logistic": "sigmoid",
    **{name: name for name in ("abs", "atan2", "conj", "imag", "real", "sign")},
}
"""Primitive → operation of the same arguments; those of ``nt.activations`` bear their own names."""

_ZERO = frozenset(
    """and argmax argmin bitcast_convert_type ceil clz debug_callback debug_print eq eq_to floor ge gt is_finite le
    le_to lt lt_to mulhi ne nextafter not or population_count reduce_and reduce_or reduce_xor round shift_left
    shift_right_arithmetic shift_right_logical stop_gradient xor""".split()  # noqa: SIM905 one name a line reads worse
)


def _with_value(jet: Any, value: Array) -> Any:
    """The jet with a value that was computed without cancellation."""
    return Jet([value, *jet.series], jet.order, level=jet.level) if isinstance(jet, Jet) else jet


def _pow(u: Any, exponent: Any) -> Any:
    # Whole powers hold at 0 too; where the exponents are known, the table is told so number by number.
    if not isinstance(exponent, jax.Array) or isinstance(exponent, jax.core.Tracer) or not exponent.size:
        return apply("pow", (u, exponent), {})
    powers = numpy.asarray(exponent)
    first, *others = sorted(set(powers.ravel().tolist()))
    if others and (powers.dtype.kind == "c" or any(p < 0 or p != int(p) for p in (first, *others))):
        return apply("pow", (u, exponent), {})
    shape = jnp.broadcast_shapes(u.shape, powers.shape)
    chosen = apply("broadcast_to", (apply("pow", (u, first), {}), shape), {})
    for p in others:
        chosen = apply("where", (jnp.asarray(powers == p), apply("pow", (u, p), {}), chosen), {})
    return chosen


def _remainder(u: Any, v: Any) -> Any:
    # Of the sign of u, the table's of that of v.
    value = jax.lax.rem(*jnp.broadcast_arrays(primal(u), primal(v)))
    return _with_value(u - v * jnp.trunc(primal(u) / primal(v)), value)


def _erfc(u: Any, **_: Any) -> Any:
    return _with_value(-apply("erf", (u,), {}), jax.scipy.special.erfc(u.primal))


def _cbrt(u: Any, **_: Any) -> Any:
    root = apply("pow", (apply("abs", (u,), {}), 1 / 3), {}) * jnp.sign(u.primal)
    return _with_value(root, jnp.cbrt(u.primal))


def _convert(u: Any, *, new_dtype: Any, **_: Any) -> Any:
    return apply("astype", (u, new_dtype), {})


def _clamp(low: Any, u: Any, high: Any) -> Any:
    return apply("clip", (u, low, high), {})


def _select(which: Any, *cases: Any) -> Any:
    which, chosen = primal(which), cases[0]
    for i, case in enumerate(cases[1:], 1):
        chosen = apply("where", (which if len(cases) == 2 else which == i, case, chosen), {})
    return chosen


def _product(u: Any, *, axes: Sequence[int], **_: Any) -> Any:
    for axis in sorted(axes, reverse=True):
        before = (slice(None),) * axis
        if u.shape[axis] == 0:
            return jnp.ones(u.shape[:axis] + u.shape[axis + 1 :], u.dtype)
        while (length := u.shape[axis]) > 1:
            # By halves, so that the product of many is not a chain of them.
            half = length // 2
            pairs = u[(*before, slice(0, half))] * u[(*before, slice(half, 2 * half))]
            rest = [u[(*before, slice(2 * half, None))]] if length % 2 else []
            u = apply("concat", ([pairs, *rest],), {"axis": axis})
        u = u[(*before, 0)]
    return u


def _cumulative_product(u: Any, *, axis: int, reverse: bool) -> Any:
    u = apply("flip", (u,), {"axis": axis}) if reverse else u
    products = apply("cumulative_prod", (u,), {"axis": axis})
    return apply("flip", (products,), {"axis": axis}) if reverse else products


_MADE: dict[str, Callable[..., Any]] = {
    "cbrt": _cbrt,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "cumprod": _cumulative_product,
    "erfc": _erfc,
    "exp2": lambda u, **_: apply("pow", (2.0, u), {}),
    "integer_pow": lambda u, *, y: apply("pow", (u, y), {}),
    "pow": _pow,
    "reduce_max": lambda u, *, axes, **_: apply("max", (u,), {"axis": tuple(map(int, axes))}),
    "reduce_min": lambda u, *, axes, **_: apply("min", (u,), {"axis": tuple(map(int, axes))}),
    "reduce_prod": _product,
    "rem": _remainder,
    "rsqrt": lambda u, **_: apply("pow", (u, -0.5), {}),
    "select_n": _select,
}


# --- what goes into the table -----------------------------------------------------------------------


def _series(primitive: Any, count: int, coefficient: Callable[[int], Any]) -> Any:
    """The result of a primitive from ``coefficient(k)``, which gives all its results at order k or None."""
    made: dict[int, Any] = {}

    def output(i: int | None, k: int) -> Any:
        if k not in made:
            made[k] = coefficient(k)
        return made[k] if made[k] is None or i is None else made[k][i]

    if not primitive.multiple_results:
        return Series((), partial(output, None))
    return [Series((), partial(output, i)) for i in range(count)]


def _linear(primitive: Any, places: Sequence[int] | None, choosing: Sequence[int] = ()) -> Callable[..., Any]:
    """Linear in the arguments at ``places`` together, all unless given, so an absent one among others is zeros.

    Those at ``choosing`` say, by their values, which entries are taken, and so are locally constant.
    """

    def rule(xp: Any, order: int, *args: Any, **params: Any) -> Any:
        args = tuple(a[0] if i in choosing and isinstance(a, Series) else a for i, a in enumerate(args))
        linear = range(len(args)) if places is None else places
        if any(isinstance(a, Series) for i, a in enumerate(args) if i not in linear):
            raise MissingRule(f"no rule for lax.{primitive.name} with indices or sizes that depend on x")
        parts = {i: as_series(args[i]) for i in linear}

        def coefficient(k: int) -> Any:
            if all(part[k] is None for part in parts.values()):
                return None
            given = [
                a if i not in parts else xp.zeros_like(parts[i][0]) if parts[i][k] is None else parts[i][k]
                for i, a in enumerate(args)
            ]
            return through(partial(primitive.bind, **params), given, linear)

        count = len(coefficient(0)) if primitive.multiple_results else 1
        return _series(primitive, count, coefficient)

    return rule


def _gather(primitive: Any) -> Callable[..., Any]:
    """Linear, but for what is filled in where an index lies outside, which is constant: 0 in what is not the value."""

    def rule(xp: Any, order: int, u: Any, indices: Any, *, fill_value: Any, **params: Any) -> Any:
        of_value, of_others = (partial(_linear(primitive, (0,)), fill_value=c, **params) for c in (fill_value, 0))
        value, others = of_value(xp, order, u, indices), of_others(xp, order, u, indices)
        return Series((), lambda k: value[0] if k == 0 else others[k])

    return rule


def _bilinear(primitive: Any) -> Callable[..., Any]:
    def rule(xp: Any, order: int, u: Any, v: Any, *others: Any, **params: Any) -> Series:
        return leibniz(lambda a, b: through(partial(primitive.bind, **params), (a, b, *others)), u, v)

    return rule


def _dot_general(primitive: Any) -> Callable[..., Any]:
    """Bilinear; of a matrix and the last axis of coefficients along many directions one product of all their rows.

    With an axis for the directions besides, XLA copies them, in the gradient above all.
    """

    def product(a: Any, b: Any, **params: Any) -> Any:
        axes, batches = params["dimension_numbers"]
        place = int(isinstance(b, Bundle))
        u, matrix = (b, a) if place else (a, b)
        rows = isinstance(u, Bundle) and isinstance(u.array, jax.Array) and isinstance(matrix, jax.Array)
        rows = rows and matrix.ndim == 2 and not any(map(len, batches)) and tuple(axes[place]) == (u.ndim - 1,)
        if not rows or params.get("out_sharding") is not None:
            return through(partial(primitive.bind, **params), (a, b))
        if place and isinstance(params["precision"], tuple):  # one of each operand
            params["precision"] = params["precision"][::-1]
        params["dimension_numbers"] = (((1,), tuple(axes[1 - place])), ((), ()))
        shape = u.array.shape
        v = primitive.bind(jnp.reshape(u.array, (math.prod(shape[:-1]), shape[-1])), matrix, **params)
        v = jnp.reshape(v, (*shape[:-1], v.shape[-1]))
        return Bundle(jnp.moveaxis(v, -1, 1) if place else v, u.family)

    def rule(xp: Any, order: int, u: Any, v: Any, **params: Any) -> Series:
        return leibniz(partial(product, **params), u, v)

    return rule


def _choosing(primitive: Any) -> Callable[..., Any]:
    """Which entry comes out where is locally constant, and said by the primal: so linear, by JAX's own JVP there."""

    def rule(xp: Any, order: int, *args: Any, **params: Any) -> Any:
        parts = {i: a for i, a in enumerate(args) if isinstance(a, Series)}

        def bound(*given: Array) -> Any:
            chosen = dict(zip(parts, given, strict=True))
            return primitive.bind(*(chosen.get(i, a) for i, a in enumerate(args)), **params)

        value, push = jax.linearize(bound, *(part[0] for part in parts.values()))

        def coefficient(k: int) -> Any:
            if k == 0:
                return value
            if all(part[k] is None for part in parts.values()):
                return None
            given = [xp.zeros_like(part[0]) if part[k] is None else part[k] for part in parts.values()]
            return through(push, given, range(len(given)))

        if not primitive.multiple_results:
            return _series(primitive, 1, coefficient)
        series = _series(primitive, len(value), coefficient)
        # Indices have no derivative.
        return [
            s if xp.isdtype(v.dtype, ("real floating", "complex floating")) else v
            for s, v in zip(series, value, strict=True)
        ]

    return rule


def _scatter_mul(primitive: Any) -> Callable[..., Any]:
    """The operand times factors, 1 where nothing is scattered."""

    def rule(xp: Any, order: int, u: Any, indices: Array, updates: Any, **params: Any) -> Any:
        if not params["unique_indices"] and not _are_unique(indices):
            raise MissingRule(
                "no rule for .at[…].multiply where an entry may come twice: pass unique_indices=True if none does"
            )
        ones = xp.ones_like(u[0] if isinstance(u, Series) else u)
        params["unique_indices"] = True
        if not isinstance(updates, Series):
            return u * primitive.bind(ones, indices, updates, **params)
        return u * _choosing(primitive)(xp, order, ones, indices, updates, **params)

    return rule


def _are_unique(indices: Array) -> bool:
    """Whether no two rows of the indices are known to be the same, or may be without our knowing."""
    rows = indices.reshape(-1, indices.shape[-1])
    if len(rows) <= 1:
        return True
    return not isinstance(rows, jax.core.Tracer) and len(numpy.unique(numpy.asarray(rows), axis=0)) == len(rows)


_FIRST = """broadcast_in_dim copy copy_p cumsum dynamic_slice expand_dims fft name reduce_precision reduce_sum
    reduce_window_sum reshape rev sharding_constraint slice split squeeze tile transpose unstack
    all_gather all_to_all mesh_cast pcast ppermute pvary reduce_scatter reshard"""
_TOGETHER = "complex concatenate device_put optimization_barrier pad psum psum2 psum_invariant stack"
_PLACES: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(_FIRST.split(), (0,)),
    **dict.fromkeys(_TOGETHER.split(), None),
    "dynamic_update_slice": (0, 1),
    "scatter": (0, 2),
    "scatter-add": (0, 2),
    "scatter-sub": (0, 2),
}
"""Linear primitive → the arguments in which it is linear together, None for all."""

_CHOOSING = """cummax cummin reduce_window_max reduce_window_min scatter-max scatter-min sort top_k
    approx_top_k"""

_OF_KIND: dict[str, Callable[[Any], Callable[..., Any]]] = {
    **{name: partial(_linear, places=places) for name, places in _PLACES.items()},
    **dict.fromkeys(("select_and_gather_add", "select_and_scatter_add"), partial(_linear, places=(0,), choosing=(1,))),
    **dict.fromkeys(("conv_general_dilated", "ragged_dot_general"), _bilinear),
    "dot_general": _dot_general,
    **dict.fromkeys(_CHOOSING.split(), _choosing),
    "gather": _gather,
    "scatter-mul": _scatter_mul,
}
"""Primitive → the rule of its kind, made of the primitive."""
