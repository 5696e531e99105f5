"""The code of JAX functions on jets, followed primitive by primitive.

Whatever a function calls (``jnp``, a module's layers, ``vmap`` or ``grad`` of something) is a jaxpr by then, a list of
primitives. What meets no jet is computed as usual; what does is looked up in :mod:`primitives`. Calls are followed
inside, and loops and branches carry jets, which are pytrees, in place of arrays.

A ``custom_jvp`` rule says what a derivative is where the function's own code would not (``logaddexp`` at a tie), so it
is kept: from v′ = rule(u, u′) come all coefficients of v, by integration. So do those of a primitive that the table has
nothing for and JAX has a JVP of.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters import ad

import ntaylor
from ntaylor.array_object import apply
from ntaylor.bundles import Bundle, Family, Total, of_family, through
from ntaylor.jets import Jet, univariate
from ntaylor.namespace import MissingRule
from ntaylor.series import Series, integrate, subtract
from ntaylor_backends.jax import loops
from ntaylor_backends.jax.activation import is_own, named
from ntaylor_backends.jax.primitives import known, on_jets, primal

__all__ = ["checkpointed", "evaluate", "follow", "given", "inside", "is_inlined", "values"]

Array = Any
_CODE = (ClosedJaxpr, Jaxpr)


def evaluate(closed: ClosedJaxpr | Jaxpr, args: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr for arrays and jets."""
    jaxpr, found = given(closed, args)
    follow(jaxpr.eqns, found)
    return values(jaxpr.outvars, found)


def given(closed: ClosedJaxpr | Jaxpr, args: Sequence[Any]) -> tuple[Jaxpr, dict[Any, Any]]:
    """A jaxpr, and what its variables are before its first equation."""
    jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
    return jaxpr, dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))


def values(variables: Sequence[Any], found: Mapping[Any, Any]) -> list[Any]:
    """What the variables of an equation are."""
    return [v.val if isinstance(v, Literal) else found[v] for v in variables]


def follow(equations: Sequence[Any], found: dict[Any, Any]) -> None:
    """Equations one after another, whose outputs are put into ``found``."""
    for eqn in equations:
        try:
            outputs = _step(eqn, values(eqn.invars, found))
        except (MissingRule, ValueError) as error:
            if not getattr(error, "__notes__", ()) and (line := _line(eqn)):
                error.add_note(line)
            raise
        found.update(zip(eqn.outvars, outputs, strict=True))


def _step(eqn: Any, args: list[Any]) -> Sequence[Any]:
    """The outputs of one equation."""
    primitive, name = eqn.primitive, eqn.primitive.name
    jet = next((a for a in args if isinstance(a, Jet)), None)
    if jet is None:
        return _plain(eqn, args)
    if name in _CALLS:
        return _CALLS[name](eqn, args)
    if name in _LOOPS:
        filled = partial(_filled, order=jet.order, level=jet.level, family=_family(args))
        return _LOOPS[name](eqn, args, filled)
    if not known(name):
        if primitive in ad.primitive_jvps and not any(isinstance(p, _CODE) for p in eqn.params.values()):
            return _by_own_derivative(eqn, args)
        raise MissingRule(
            f"no rule for the JAX primitive {name!r} on a Jet: write it with others, or teach it with "
            f"nt.jets.register('lax.{name}', rule), where rule(xp, order, *args, **params) gets jets as Series of "
            f"Taylor coefficients; or if it is a function of one variable with nt.activations.register({name!r}, …)"
        )
    result = on_jets(primitive, args, eqn.params)
    return result if primitive.multiple_results else [result]


def _plain(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    """An equation that meets no jet; of coefficients along several directions, one that is linear in them."""
    if any(isinstance(a, (Bundle, Total)) for a in args):
        return through(lambda *given: tuple(_plain(eqn, given)), args)  # type: ignore[no-any-return]
    found = eqn.primitive.get_bind_params(eqn.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # before and since JAX 0.10

    def bound() -> Any:
        result = eqn.primitive.bind(*functions, *args, **params)
        return result if eqn.primitive.multiple_results else [result]

    if eqn.primitive.name not in _KNOWN_BEFORE or not all(map(_is_known, args)):
        return bound()  # type: ignore[no-any-return]
    with jax.ensure_compile_time_eval():
        return [numpy.asarray(a) for a in bound()]


_KNOWN_BEFORE = frozenset(
    "add broadcast_in_dim convert_element_type iota lt mul neg reshape select_n sub".split()  # noqa: SIM905
)
"""What exponents and indices are made with: of literals and small integer arrays it is known under jit too, for whole
powers hold at 0 and are told from others, and indices may be looked at for repetitions."""


def _is_known(value: Any) -> bool:
    if not isinstance(value, jax.Array):
        return True
    traced = isinstance(value, jax.core.Tracer)
    return not traced and value.size < 1000 and value.dtype.kind in "iu" and value.is_fully_addressable


def _line(eqn: Any) -> str:
    """Which line of the user's this comes from, if JAX says; a function that jit traced is the line that calls it."""
    trace = getattr(eqn.source_info, "traceback", None)
    if trace is None:
        return ""
    ours = tuple(str(Path(file).parent) for file in (jax.__file__, ntaylor.__file__, __file__) if file)
    users = [f for f in traceback.extract_tb(trace.as_python_traceback()) if not f.filename.startswith(ours)]
    return f"This is in line {users[-1].lineno} of {users[-1].filename}" if users else ""


# --- calls -----------------------------------------------------------------------------------------


def inside(eqn: Any) -> Any:
    """The code that an equation calls."""
    return next(eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call") if key in eqn.params)


def _inlined(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    return evaluate(inside(eqn), args)


def _checkpointed(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    return checkpointed(eqn, partial(evaluate, inside(eqn)))(args)  # type: ignore[no-any-return]


def checkpointed(eqn: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function under the ``jax.checkpoint`` that the equation is; under none if it is another call."""
    if _CALLS[eqn.primitive.name] is not _checkpointed:
        return function
    return jax.checkpoint(function, **{key: eqn.params[key] for key in ("prevent_cse", "policy")})  # type: ignore[no-any-return]


def is_inlined(eqn: Any) -> bool:
    """Whether the equation is a call of which nothing but the code inside counts."""
    return _CALLS.get(eqn.primitive.name) in (_inlined, _checkpointed)


def _with_own_derivative(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    """A ``custom_jvp`` function: v from v′ = rule(u, u′)."""
    # An activation of ours that was traced is applied as what it is.
    name = str(getattr(inside(eqn).jaxpr.debug_info, "func_src_info", "")).partition(" at ")[0]
    activation = named(name)
    if activation is not None and len(args) == 1:
        return [univariate(activation, args[0])]
    if is_own(name):
        return _inlined(eqn, args)
    return _by_own_derivative(eqn, args)


def _by_own_derivative(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    """v from v′ = rule(u, u′), the JVP that JAX has of the equation, by integration."""
    values = _plain(eqn, [primal(a) for a in args])
    places = [i for i, a in enumerate(args) if isinstance(a, Jet)]
    u = [args[i] for i in places]
    order, level = min(j.order for j in u), u[0].level
    smooth = [jnp.issubdtype(v.dtype, jnp.inexact) for v in values]
    if order == 0:
        return [Jet([v], level=level) if s else v for v, s in zip(values, smooth, strict=True)]

    def function(*given: Array) -> Any:
        outputs = _plain(eqn, [given[places.index(i)] if i in places else a for i, a in enumerate(args)])
        return [v for v, s in zip(outputs, smooth, strict=True) if s]

    def rule(u: Sequence[Array], du: Sequence[Array]) -> Any:
        return jax.jvp(function, tuple(u), tuple(du))[1]

    primals = [j.primal for j in u]
    try:
        traced = jax.make_jaxpr(rule)(primals, primals)
    except (NotImplementedError, ValueError) as error:
        raise MissingRule(
            f"no rule for the JAX primitive {eqn.primitive.name!r} with these arguments, of which JAX says: {error}"
        ) from error
    lower = [Jet(j._series[:order], order - 1, level=level) for j in u]
    of_order = (Jet(j._series[: order + 1], order, level=level) for j in u)
    try:
        slopes = iter(evaluate(traced, lower + [j.derivative() for j in of_order]))
    except jax.errors.UnexpectedTracerError as error:
        raise MissingRule(
            f"no rule for a {eqn.primitive.name} to order {order}: its JVP holds on to values traced before, as does "
            "custom_jvp(nondiff_argnums=…) under jit: make those arguments differentiable ones, or write it with others"
        ) from error

    def integrated(v: Array) -> Jet:
        dv = next(slopes)
        slope = Series(dv._series if isinstance(dv, Jet) else [jnp.asarray(dv, v.dtype)])
        return Jet(integrate(slope, v).truncated(order), order, level=level)

    return [integrated(v) if s else v for v, s in zip(values, smooth, strict=True)]


def _solution(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    """``custom_linear_solve``: A(t) x(t) = b(t), with A given by what it does to x, solved by equation (8.1)."""
    lengths, of_product = eqn.params["const_lengths"], eqn.params["jaxprs"].matvec
    constants, b = args[: sum(lengths)], args[sum(lengths) :]
    in_product = constants[: lengths.matvec]
    jets = [a for a in args if isinstance(a, Jet)]
    order, level = min(j.order for j in jets), jets[0].level
    sides = [Series(v._series if isinstance(v, Jet) else [v]) for v in b]
    x: list[Sequence[Any]] = []
    products: list[Sequence[Any]] = []  # A(t) x_j, whose coefficients are A_i x_j
    for k in range(order + 1):
        rests = [side[k] for side in sides]
        for j, product in enumerate(products):
            of_order = [p._coefficient(k - j) if isinstance(p, Jet) else None for p in product]
            rests = [subtract(rest, p) for rest, p in zip(rests, of_order, strict=True)]
        if all(rest is None for rest in rests):
            x.append([None] * len(b))
            products.append([None] * len(b))
            continue
        given = [jnp.zeros_like(primal(v)) if rest is None else rest for v, rest in zip(b, rests, strict=True)]
        x.append(through(lambda *v: tuple(_plain(eqn, [*map(primal, constants), *v])), given, range(len(given))))
        rest_of_order = [
            Jet(a._series[: order - k + 1], order - k, level=level) if isinstance(a, Jet) else a for a in in_product
        ]
        products.append(evaluate(of_product, [*rest_of_order, *x[k]]) if k < order else [])
    return [Jet([found[i] for found in x], order, level=level) for i in range(len(b))]


def _loop(eqn: Any, args: Sequence[Any]) -> Sequence[Any]:
    """A program of ours: what it does, in JAX's operations."""
    closed = jax.make_jaxpr(partial(loops.plain, **eqn.params))(*map(primal, args))
    return evaluate(closed, args)


_CALLS: dict[str, Callable[[Any, Sequence[Any]], Sequence[Any]]] = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "custom_vjp_call", "custom_vjp_call_jaxpr"), _inlined),
    **dict.fromkeys(("composite", "custom_vmap_call"), _inlined),
    **dict.fromkeys(("remat", "remat2", "checkpoint"), _checkpointed),
    "custom_jvp_call": _with_own_derivative,
    "custom_linear_solve": _solution,
    loops.NAME: _loop,
}


# --- branches and loops -----------------------------------------------------------------------------


def _family(values: Sequence[Any]) -> Family | None:
    """That of the directions along which jets among the values run together, if they run along several."""
    coefficients = (c for v in values if isinstance(v, Jet) for c in v._series)
    return next((c.family for c in coefficients if isinstance(c, (Bundle, Total))), None)


def _filled(value: Any, order: int, level: float, family: Family | None) -> Any:
    """A jet with every coefficient there and of one kind, as branches and loops need it; integers as they are."""
    value = value if isinstance(value, Jet) else jnp.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return value
    series: Sequence[Any] = value._series if isinstance(value, Jet) else [value]
    zero = jnp.zeros_like(series[0])
    given = [series[k] if k < len(series) and series[k] is not None else zero for k in range(order + 1)]
    if family is not None:
        given = [given[0], *(of_family(c, family, k) for k, c in enumerate(given[1:], 1))]
    return Jet(given, order, level=level)


def _fronted(tree: Any) -> Any:
    """A tree of jets with the directions, where there are any, in front of the first axis again, as bundles are.

    That axis is along which loops go; while they do, the directions stand behind it.
    """
    return _of_bundles(lambda c: jnp.moveaxis(c, 1, 0), tree)


def _behind(tree: Any) -> Any:
    """The opposite of :func:`_fronted`."""
    return _of_bundles(lambda c: jnp.moveaxis(c, 0, 1), tree)


def _last(tree: Any) -> Any:
    """A tree of jets with the directions behind all other axes, which operations entry by entry do not reach."""
    return _of_bundles(lambda c: jnp.moveaxis(c, 0, -1), tree)


def _first(tree: Any) -> Any:
    """The opposite of :func:`_last`."""
    return _of_bundles(lambda c: jnp.moveaxis(c, -1, 0), tree)


def _of_bundles(function: Callable[[Array], Array], tree: Any) -> Any:
    return jax.tree.map(
        lambda c: c._mapped(function) if isinstance(c, Bundle) else c, tree, is_leaf=lambda c: isinstance(c, Bundle)
    )


def _branch(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    def taken(branch: ClosedJaxpr) -> Callable[..., Any]:
        return lambda *operands: [filled(v) for v in evaluate(branch, operands)]

    index, *operands = args
    return jax.lax.switch(index, [taken(b) for b in eqn.params["branches"]], *operands)  # type: ignore[no-any-return]


def _scan(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    p = eqn.params
    constants, carries = p["num_consts"], p["num_carry"]
    fixed, start, along = args[:constants], args[constants : constants + carries], args[constants + carries :]

    def body(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = evaluate(p["jaxpr"], [*fixed, *carry, *x])
        return [filled(v) for v in outputs[:carries]], outputs[carries:]

    options = {key: p[key] for key in ("length", "reverse", "unroll")}
    # An entry along the axis has its directions in front, as has every bundle; all of them together are in between.
    last, stacked = jax.lax.scan(body, [filled(v) for v in start], _behind(along), **options)
    return [*last, *_fronted(stacked)]


def _while(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    p = eqn.params
    of_test, of_body = args[: p["cond_nconsts"]], args[p["cond_nconsts"] : p["cond_nconsts"] + p["body_nconsts"]]

    def test(carry: list[Any]) -> Array:
        return evaluate(p["cond_jaxpr"], [primal(v) for v in (*of_test, *carry)])[0]

    def body(carry: list[Any]) -> list[Any]:
        results = [filled(v) for v in evaluate(p["body_jaxpr"], [*of_body, *carry])]
        if not several:
            return results
        goes_on = test(carry)

        def kept(new: Any, old: Any) -> Any:
            which = jnp.reshape(goes_on, (*several, *(1,) * (new.ndim - len(several))))
            return filled(apply("where", (which, new, old), {})) if isinstance(new, Jet) else jnp.where(which, new, old)

        return list(map(kept, results, carry))

    # Loops of many, as vmap makes them of one, go on while any does; those that are done keep what they have.
    several = p["cond_jaxpr"].out_avals[0].shape
    start = [filled(v) for v in args[len(of_test) + len(of_body) :]]
    return jax.lax.while_loop((lambda carry: jnp.any(test(carry))) if several else test, body, start)


def _reduce(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    """With an operation of the user's, two by two: JAX leaves open in which order it is applied."""
    axes, count = eqn.params["dimensions"], len(args) // 2
    start, together = _last([filled(a) for a in args[count:]]), _by_entry(eqn, filled)
    kept = [n for i, n in enumerate(args[0].shape) if i not in axes]

    def in_a_row(c: Array) -> Array:
        c = jnp.moveaxis(c, axes, range(len(axes)))
        return c.reshape(-1, *c.shape[len(axes) :])

    of_all = jax.lax.associative_scan(together, jax.tree.map(in_a_row, _last([filled(a) for a in args[:count]])))
    last = jax.tree.map(lambda c: c[-1], of_all)
    return _first(together(_at_all(start, kept), last))  # type: ignore[no-any-return]


def _at_all(start: Any, shape: Sequence[int]) -> Any:
    """What numbers, one a direction where there are any, are at every entry of ``shape``."""
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (*shape, *a.shape)), start)


def _by_entry(eqn: Any, filled: Callable[[Any], Any]) -> Callable[[list[Any], list[Any]], list[Any]]:
    """The operation of a reduction, which is given for numbers, on arrays of jets, directions behind."""

    def together(a: list[Any], b: list[Any]) -> list[Any]:
        return [filled(v) for v in evaluate(eqn.params["jaxpr"], [*a, *b])]

    def of_arrays(a: list[Any], b: list[Any]) -> list[Any]:
        function = together
        for _ in (a[0].primal if isinstance(a[0], Jet) else a[0]).shape:
            function = jax.vmap(function)
        return function(a, b)

    return of_arrays


def _reduce_windows(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    """With an operation of the user's: first to last entry of all windows at once, each a slice with strides."""
    p, count = eqn.params, len(args) // 2
    start, together = _last([filled(a) for a in args[count:]]), _by_entry(eqn, filled)
    edges = [(low, high, step - 1) for (low, high), step in zip(p["padding"], p["base_dilation"], strict=True)]

    def padded(c: Array, z: Array) -> Array:
        pad = partial(jax.lax.pad, padding_config=edges)
        return jax.vmap(pad, -1, -1)(c, z) if z.ndim else pad(c, z)

    u = [jax.tree.map(padded, _last(filled(a)), z) for a, z in zip(args, start, strict=False)]
    shape, result = eqn.outvars[0].aval.shape, None
    for place in itertools.product(*map(range, p["window_dimensions"])):
        first = [i * step for i, step in zip(place, p["window_dilation"], strict=True)]
        stop = [i + (n - 1) * step + 1 for i, n, step in zip(first, shape, p["window_strides"], strict=True)]
        window = tuple(slice(*ends) for ends in zip(first, stop, p["window_strides"], strict=True))
        entries = jax.tree.map(lambda c, w=window: c[w], u)
        result = entries if result is None else together(result, entries)
    return _first(together(_at_all(start, shape), result))  # type: ignore[arg-type,no-any-return]


def _cumulative_logsumexp(eqn: Any, args: list[Any], filled: Callable[[Any], Any]) -> Sequence[Any]:
    def together(a: Any, b: Any) -> Any:
        return _last(filled(apply("logaddexp", (_first(a), _first(b)), {})))

    return [_first(jax.lax.associative_scan(together, _last(filled(args[0])), **eqn.params))]


_LOOPS: dict[str, Callable[..., Sequence[Any]]] = {
    "cond": _branch,
    "cumlogsumexp": _cumulative_logsumexp,
    "reduce": _reduce,
    "reduce_window": _reduce_windows,
    "scan": _scan,
    "while": _while,
}
