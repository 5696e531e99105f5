"""Jets along many directions at once, of networks and of functions, plain, collapsed and compressed.

Floor 8: pushes; which directions, and what is made of the results, is for operators to say. Coefficients here are
Taylor coefficients, derivatives are up to the caller's k!. Equation numbers refer to ``docs/theory.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ntaylor.array_object import ArrayObject, new_level, unwrapped_namespace
from ntaylor.blocks import Block
from ntaylor.bundles import Bundle, Family, Total
from ntaylor.composites import Chain
from ntaylor.differentiate import pushed
from ntaylor.directions import Directions
from ntaylor.dispatch import Traced, adapter_for
from ntaylor.fans import Fan, size
from ntaylor.gradients import Variable
from ntaylor.jets import Jet
from ntaylor.layers import Dense, Scale
from ntaylor.linalg_transposes import gram_root
from ntaylor.namespace import check_same_dtype, check_same_kind, device, hides_values
from ntaylor.networks import is_network

__all__ = [
    "MOST",
    "WRITTEN_OUT",
    "along",
    "fanned",
    "jet_along",
    "quadratic",
    "takes_fans",
    "traced",
    "width_of_compression",
]

Array = Any

MOST = 32
"""Coefficients of a fan. Its activations are straight-line code for all of them; more are better an array's loop."""

WRITTEN_OUT = 128
"""Up to so many coordinates the directions of an operator's fan are made into vectors."""

_FEW = 16
"""Up to so many those of which nothing is known but that they are not summed."""


def along(
    f: Callable[..., Any], x: Array, directions: Directions, order: int, weights: Any = None, total: float | None = None
) -> list[Any]:
    """Taylor coefficients 0..order of t ↦ f(x + t v_r) for R directions v_r that share one primal.

    Coefficient 0 is f(x); those above are (R, \\*f(x).shape), ``None`` where structurally zero. With ``total`` given,
    Σ_r ω_r, the last one is collapsed: Σ_r ω_r v_order,r of the shape of f(x), with ω_r of ``weights`` (R,) or 1.
    """
    few = 0 < directions.count * order < MOST and x.shape[-1] <= _FEW
    if total is None and few and not hides_values(x):
        # One push of a network, not operation by operation; where a compiler follows, those take no time of a run.
        found = fanned(f, x, directions, Fan((order,) * directions.count, (None,) * directions.count))
        if found is not None:
            return [found[0], *(_stacked(found[k::order], found[0]) for k in range(1, order + 1))]
    family = Family(directions.count, new_level(), None if total is None else order, weights, total or 0.0)
    jet = jet_along(f, x, directions, family, order)
    result: list[Any] = [jet.primal]
    for k in range(1, order + 1):
        c = jet._coefficient(k)
        if c is None:
            result.append(None)
        elif k == order and total is not None:
            result.append(_summed(c, family))
        else:
            # What is the same along all directions was not made once for each.
            xp = unwrapped_namespace([c.array if isinstance(c, Bundle) else c])
            same = not isinstance(c, Bundle)
            result.append(xp.broadcast_to(c, (family.size, *c.shape)) if same else c.array)
    return result


def _summed(c: Any, family: Family) -> Array:
    """Σ_r ω_r c_r of a coefficient that is carried as that sum, or is the same along all directions."""
    return c.array if isinstance(c, Total) else c * family.weight


def _stacked(rows: Sequence[Any], primal: Array) -> Array | None:
    """(R, \\*f(x).shape), None if all are zero."""
    if all(c is None for c in rows):
        return None
    xp = unwrapped_namespace([primal])
    return xp.stack([xp.zeros_like(primal) if c is None else c for c in rows])


def fanned(f: Any, x: Array, directions: Directions, fan: Fan) -> list[Any] | None:
    """The coefficients of f(x + t v_r), a fan's, by one push through a network; None where f is not known as one.

    A function that is made of a network may have a method of this name, with the same arguments but the first.
    """
    own = getattr(f, "fanned", None)
    if own is not None:
        return own(x, directions, fan)  # type: ignore[no-any-return]
    network = _network(f, x)
    if network is None:
        return None
    stack = directions.stack(x)
    u: list[Any] = [x]
    for r, (order, joined) in enumerate(zip(fan.orders, fan.joined, strict=True)):
        u += [stack[r, ...], *[None] * (order - 1)][: order - (joined is not None)]
    v = network.propagate(u, fan)
    found = list(unwrapped_namespace([v.array]).unstack(v.array)) if isinstance(v, Block) else list(v)
    return found + [None] * (size(fan) - len(found))


def takes_fans(f: Any, x: Array) -> bool:
    """Whether :func:`fanned` gives coefficients of f at x."""
    return _network(getattr(f, "compresses", f), x) is not None


def _as_network(f: Any, x: Array) -> Any:
    """f, if it is a network, or the one that x's library knows it to be; None of all else."""
    if is_network(f):
        return f
    of_library = adapter_for(x).network
    return None if of_library is None else of_library(f, x)


def _network(f: Any, x: Array) -> Any:
    """The network of this library's layers that f is, of arrays or variables; None of all else."""
    network = _as_network(f, x)
    if network is None or not network.is_ours:
        return None
    arrays = (x, *network.leaves)
    return network if all(isinstance(a, Variable) or not isinstance(a, ArrayObject) for a in arrays) else None


def jet_along(f: Callable[..., Any], x: Array, directions: Directions, family: Family, order: int) -> Jet:
    """The jet of f whose coefficients above 0 are bundles of the family.

    A function may know better than to be called with vectors of all directions: then it has a method of this name,
    with the same arguments but the first.
    """
    own = getattr(f, "jet_along", None)
    if own is not None:
        return own(x, directions, family, order)  # type: ignore[no-any-return]
    f = traced(f, x)
    opened = _opened(f, x)
    if opened is None:
        return _pushed_to_one(f, [x, Bundle(directions.stack(x), family)], order)
    value, weight, rest = opened
    return rest([value, Bundle(directions.product(x, weight), family)], order)


def traced(f: Callable[..., Any], x: Array) -> Callable[..., Any]:
    """f as its library follows it at x, once for all pushes there; f itself where none does.

    A function that is made of another may have a method of this name, with the same arguments but the first.
    """
    if isinstance(f, Traced) or is_network(f):
        return f
    if hasattr(f, "jet_along"):  # of those alone a method of such a name is what it says
        return f.traced(x) if hasattr(f, "traced") else f
    of_library = adapter_for(x).traced
    return (None if of_library is None else of_library(f, x)) or f


def _pushed_to_one(f: Callable[..., Any], coefficients: Sequence[Any], order: int) -> Jet:
    jet = pushed(f, coefficients, order)
    if not isinstance(jet, Jet):
        raise TypeError(
            f"an operator takes a function that returns one array, it returned a {type(jet).__name__}: pass "
            "lambda x: f(x)[0], or what else chooses one"
        )
    return jet


def _head(f: Any, x: Array) -> tuple[Any, list[Scale], Dense, Chain] | None:
    """A network, as the ranges of its inputs, its first dense layer, and the layers after; None of all else."""
    network = _as_network(f, x)
    if network is None or x.ndim < 2:
        return None
    layers = list(network.layers)
    scales = []
    while layers and isinstance(layers[0], Scale):
        scales.append(layers.pop(0))
    dense = getattr(layers[0], "dense", None) if layers else None
    return None if dense is None else (network, scales, dense, Chain(layers[1:]))


def _opened(f: Any, x: Array) -> tuple[Array, Array, Callable[[Sequence[Any], int], Jet]] | None:
    """(value, weight, rest) of what begins with a dense layer: f(x + v) = rest(value + v @ weight); None of all else.

    A range of the inputs is part of the weight. ``rest`` takes coefficients and the order, and gives their jet.
    """
    if isinstance(f, Traced):
        if f.width is None:
            return None
        value, weight, after = f.opened(x)
        return value, weight, partial(_pushed_to_one, after)
    head = _head(f, x)
    if head is None:
        return None
    network, scales, first, rest = head
    weight = first.parameters["weight"]
    inner = network.point(x)
    named = {f"net.parameters[{name!r}]": p for name, p in network.parameters.items()}
    check_same_kind(x=x, **dict(list(named.items())[:1]))
    check_same_dtype(x=x, **named)
    for scale in scales:
        inner = (inner - scale.shift) * scale.factor
    value = first.push([inner], 0)[0][0]
    for scale in reversed(scales):
        factor = scale.factor
        weight = factor[:, None] * weight if factor.ndim else factor * weight
    return value, weight, lambda u, order: _restored(rest.push(u, order)[0], order)


def _restored(coefficients: Sequence[Any], order: int) -> Jet:
    """The jet of these coefficients of a network's layers: every one of the primal's shape."""
    return Jet(coefficients, order, level=new_level())


# --- second order ------------------------------------------------------------------------------------


def width_of_compression(f: Any, x: Array) -> int | None:
    """How many directions are enough for a second-order operator of f at x; None where nothing is known of f."""
    f = traced(getattr(f, "compresses", f), x)
    if isinstance(f, Traced):
        return f.width
    head = _head(f, x)
    return None if head is None else int(head[2].parameters["weight"].shape[-1])


def quadratic(
    f: Any, x: Array, directions: Directions, weights: Any = None, max_directions: int | None = None
) -> tuple[Array, Array]:
    """(f(x), Σ_r ω_r D²_{v_r} f) with ω_r of ``weights``, numbers (R,) of NumPy, or 1: collapsed and compressed.

    Second *derivatives*. Where f begins with a dense layer, or is made of a network that does, the pushed directions
    V W are replaced by as many as that layer has outputs, for only their Gram matrix matters: (10.3). Of those at
    most ``max_directions`` are pushed at once.
    """
    own = getattr(f, "quadratic", None)
    if own is not None:
        return own(x, directions, weights, max_directions)  # type: ignore[no-any-return]
    value, weight, rest = _opened(traced(f, x), x)  # type: ignore[misc]
    stack, signs = _compressed(directions.product(x, weight), weights)
    xp = unwrapped_namespace([stack])
    count = int(stack.shape[0])
    size = max_directions or count
    primal: Any = None
    total: Any = None
    for start in range(0, count, size):
        part = stack if size >= count else stack[start : min(start + size, count), ...]
        of_part = signs[start : start + size]
        array = None
        if any(s < 0 for s in of_part):
            array = xp.asarray(of_part, dtype=part.dtype, device=None if hides_values(x) else device(x))
        family = Family(len(of_part), new_level(), 2, array, sum(of_part))
        jet = rest([value, Bundle(part, family)], 2)
        primal, top = jet.primal, jet._coefficient(2)
        if top is not None:
            top = _summed(top, family)
            total = top if total is None else total + top
    return primal, primal * 0 if total is None else 2 * total


def _compressed(stack: Array, weights: Any) -> tuple[Array, list[float]]:
    """At most 2 h directions (R, 1…, h) with the same Gram matrix, and their signs."""
    xp = unwrapped_namespace([stack])
    shape = stack.shape
    rows = xp.reshape(stack, (shape[0], shape[-1]))
    if weights is None:
        groups = [(rows, 1.0)]
    else:
        groups = []
        for sign in (1.0, -1.0):
            chosen = [r for r, w in enumerate(weights) if w * sign > 0]
            if chosen:
                here = None if hides_values(stack) else device(stack)
                index = xp.asarray(chosen, device=here)
                roots = xp.asarray([abs(float(weights[r])) ** 0.5 for r in chosen], dtype=rows.dtype, device=here)
                groups.append((xp.take(rows, index, axis=0) * roots[:, None], sign))
    parts, signs = [], []
    for a, sign in groups:
        root = gram_root(a) if a.shape[0] > a.shape[1] else a
        parts.append(root)
        signs += [sign] * root.shape[0]
    joined = parts[0] if len(parts) == 1 else xp.concat(parts)
    joined = xp.reshape(joined, (joined.shape[0], *shape[1:-1], shape[-1]))
    return joined, signs
