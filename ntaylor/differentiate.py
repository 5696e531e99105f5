"""The public verbs: what a user types.

Floor 7: checks the request, starts a jet, pushes the function forward, and turns Taylor coefficients
into what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ntaylor import gradients
from ntaylor.array_object import HELD, new_level
from ntaylor.blocks import arrays_in
from ntaylor.dispatch import adapter_for
from ntaylor.jets import Jet
from ntaylor.namespace import (
    array_namespace,
    as_floating,
    broadcast_shapes,
    check_order,
    check_same_dtype,
    check_same_kind,
    describe,
    is_array,
)
from ntaylor.networks import is_network

__all__ = ["derivatives", "jet", "pushed", "pushed_together", "value_and_grad"]

Array = Any


def jet(f: Callable[..., Any], x: Any, order: int, direction: Any = None) -> Any:
    """The jet of t ↦ f(x + t·direction) at t = 0.

    Several inputs: ``jet(f, (x, y), order, (v, w))`` is the jet of t ↦ f(x + t·v, y + t·w). A tuple holds the arguments
    of f; a list, dict or named tuple is one argument, and may lie in the tuple. The directions have the structure of
    x, with None for what does not move.

    Parameters
    ----------
    f:
        an :class:`ntaylor.MLP` or any function written against the array API or NumPy.
    x:
        array (…, d) of a floating dtype, or a float; a network maps (batch, d) to (batch, m). Or tuples, lists and
        dicts of them.
    order:
        the highest order n, an integer >= 0.
    direction:
        array that broadcasts to ``x``: one direction a point, or one for all. ``None`` means a batch of
        scalars: x of shape (), (batch,) or (…, 1), differentiated with respect to themselves. Of several inputs,
        their directions in the same structure.

    Returns
    -------
    Jet, or the structure of tuples, lists and dicts that f returns with a Jet in place of each array
        with ``.primal`` f(x), ``.coefficients`` (order+1, \\*f(x).shape) Taylor coefficients f^(k)/k!, and
        ``.derivatives`` of that shape: on the library, device and dtype of ``x``.

    Raises
    ------
    TypeError
        for an integer ``x``, a non-integer order, or arrays of different libraries or dtypes.
    ValueError
        for a negative order, a missing or ill-fitting direction, or a point where ``f`` is not
        differentiable to that order.
    MissingRule
        naming an operation in ``f`` that has no rule, with how to register one.
    """
    order = check_order(order)
    if not callable(f):
        raise TypeError(f"f must be a function or a network, got {describe(f)}: call derivatives(f, x, order)")
    if isinstance(x, (tuple, list, Mapping)):
        return _jet_of_several(f, x, order, direction)
    _check_not_held(x, "x")
    adapter_for(x)  # first of all: loading it makes the type of x known
    x = f.point(x) if is_network(f) else as_floating(x, "x")  # type: ignore[attr-defined]
    # To a network of several inputs a vector is one point, not a batch of scalars.
    scalars = x.ndim < 2 and getattr(f, "width_in", 1) in (1, None)
    seed = _direction(x, direction, scalars or x.shape[-1:] == (1,))
    coefficients = [x] if order == 0 else [x, seed]
    return pushed(f, coefficients, order)


def pushed(f: Callable[..., Any], coefficients: Sequence[Any], order: int) -> Any:
    """The jet of f along the curve with these Taylor coefficients, the primal first: :func:`jet` without its checks.

    Coefficients may be bundles, along several directions that share the primal; so are the result's then.
    """
    x = coefficients[0]
    adapter = adapter_for(x)
    of_library: Callable[..., Jet] = adapter.jet or Jet
    network: Any = f if is_network(f) else None
    if network is None and adapter.network is not None:
        network = adapter.network(f, x, arrays_in(coefficients))
    if network is not None:
        return of_library(network.propagate(coefficients, order), order)
    start = Jet(coefficients, order, level=new_level())
    push = adapter.push
    try:
        result = f(start) if push is None else push(f, start)
    except TypeError as error:
        _check_library(f, x, error)
        raise
    return _finished(result, order, start.level, of_library, x)


def pushed_together(f: Callable[..., Any], starts: Sequence[Sequence[Any]], order: int) -> Any:
    """What f of several arrays makes of the curves with these Taylor coefficients: jets, in f's own containers.

    :func:`jet` of several inputs without its checks. Coefficients may be bundles of one family.
    """
    primals = [coefficients[0] for coefficients in starts]
    adapter = adapter_for(*primals)
    of_library: Callable[..., Jet] = adapter.jet or Jet
    level, push = new_level(), adapter.push
    jets = [Jet(coefficients, order, level=level) for coefficients in starts]
    result = f(*jets) if push is None else push(f, *jets)
    return _finished(result, order, level, of_library, primals[0])


def _finished(result: Any, order: int, level: float, of_library: Callable[..., Jet], like: Array) -> Any:
    """What f returned as held jets, in its own structure; what does not depend on t as constant ones."""
    if result is None:
        raise TypeError("f must return an array, it returned a NoneType: end it with return, and the result")

    def finished(a: Any) -> Jet:
        if isinstance(a, Jet) and a.level >= level:
            if a.level > level:
                raise TypeError(
                    "f returned a Jet made inside it: return its .primal, .coefficients or .derivatives instead"
                )
            return of_library(a._series, a.order)
        if not is_array(a) and not isinstance(a, (int, float)):
            raise TypeError(
                f"f must return arrays, or tuples, lists and dicts of them; it returned a {type(a).__name__}"
            )
        floating = ("real floating", "complex floating")
        if isinstance(a, bool) or (is_array(a) and not array_namespace(a).isdtype(a.dtype, floating)):
            raise TypeError(
                f"f must return floating values, it returned {f'a {describe(a)}' if is_array(a) else a}: a comparison "
                "or an integer has no derivative; for a piecewise function return xp.where(condition, a, b)"
            )
        # f does not depend on x: its jet is a constant.
        return of_library([a if is_array(a) else array_namespace(like).zeros_like(like) + a], order)

    return gradients.map_leaves(finished, result, any_leaf=True)


def _check_not_held(x: Any, name: str) -> None:
    if isinstance(x, Jet) and x.level == HELD:
        raise TypeError(
            f"{name} is a Jet made outside of this call: f({name}) is the jet of f along it; or pass {name}.primal"
        )


# --- several inputs -------------------------------------------------------------------------------


def _jet_of_several(f: Callable[..., Any], x: Any, order: int, direction: Any) -> Any:
    if is_network(f):
        raise TypeError(
            f"a network takes one array, x is a {type(x).__name__}: join its coordinates with xp.concat(…, axis=-1), "
            "and their directions too"
        )
    leaves, seeds = [], []
    for name, leaf, seed in _together(x, direction, "x"):
        _check_not_held(leaf, name)
        leaves.append(leaf if seed is None else as_floating(leaf, name))
        seeds.append(None if seed is None else _direction(leaves[-1], seed, False, name))
    moving = [i for i, seed in enumerate(seeds) if seed is not None]
    if not moving and not any(map(is_array, leaves)):
        as_floating(x, "x")  # refuses a list of numbers, in its own words
    if not moving:
        raise ValueError(
            "x holds several arrays: pass the direction of each, direction=(v, w) for x=(x, y), with None for what "
            "does not move; got none"
        )
    check_same_kind(**{f"input_{i}": leaf for i, leaf in enumerate(leaves)})
    adapter = adapter_for(*(leaf for leaf in leaves if is_array(leaf)))
    of_library: Callable[..., Jet] = adapter.jet or Jet
    level, push = new_level(), adapter.push

    def called(*moved: Any) -> Any:
        parts = list(leaves)
        for i, u in zip(moving, moved, strict=True):
            parts[i] = u
        found = iter(parts)
        arguments = gradients.map_leaves(lambda _: next(found), x, any_leaf=True)
        return f(*arguments) if type(x) is tuple else f(arguments)

    starts = [Jet([leaves[i], seeds[i]][: order + 1], order, level=level) for i in moving]
    result = called(*starts) if push is None else push(called, *starts)
    return _finished(result, order, level, of_library, leaves[moving[0]])


def _together(x: Any, direction: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, leaf, its direction or None) for every leaf of ``x``, in the order of ``map_leaves``."""
    if x is None:
        return
    if isinstance(x, Mapping):
        parts = {f"{name}[{key!r}]": (x[key], key) for key in x}
        fits = isinstance(direction, Mapping) and {*direction} == {*x}
    elif isinstance(x, (tuple, list)):
        parts = {f"{name}[{i}]": (part, i) for i, part in enumerate(x)}
        fits = isinstance(direction, (tuple, list)) and len(direction) == len(x)
    else:
        yield name, x, direction
        return
    if direction is not None and not fits:
        raise ValueError(
            f"the direction of {name} must have its structure, a {type(x).__name__} of {len(x)}, with None for what "
            f"does not move; got a {describe(direction)}"
        )
    for inner, (part, key) in parts.items():
        yield from _together(part, None if direction is None else direction[key], inner)


def _check_library(f: Callable[[Any], Any], x: Array, error: TypeError) -> None:
    """Raise TypeError if what went wrong is that f is written for another library than that of x."""
    try:
        value = f(array_namespace(x).asarray(x, copy=True))  # which f may write into
    except Exception:  # f does not take x at all: its own words say why
        if adapter_for(f) is not adapter_for() and adapter_for(f) is not adapter_for(x):
            raise TypeError(
                f"arrays of different libraries were mixed: f, a {type(f).__name__}, is another library's than x, a "
                f"{describe(x)}. Convert x to the library of f"
            ) from error
        error.add_note(f"f was called with a jet of x, a {describe(x)}; is f written for arrays of another library?")
        return
    if is_array(value) and array_namespace(value).__name__ != array_namespace(x).__name__:
        raise TypeError(
            f"arrays of different libraries were mixed: x is a {describe(x)}; f(x) is a {describe(value)}. Convert x "
            "to the library that f is written for"
        ) from error


def _direction(x: Array, direction: Array | None, scalars: bool, name: str = "x") -> Array:
    if direction is None:
        if not scalars:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, so its points have {x.shape[-1]} coordinates: pass the direction to "
                f"differentiate along, such as direction=xp.asarray({[1.0] + [0.0] * (min(x.shape[-1], 3) - 1)}"
                f"{'…' if x.shape[-1] > 3 else ''}), an array that broadcasts to x; for a grid of scalars, "
                "pass xp.reshape(x, (-1,))"
            )
        return array_namespace(x).ones_like(x[:1, ...] if x.ndim > 1 else x if x.ndim == 0 else x[:1])
    if not is_array(direction):
        raise TypeError(
            f"direction must be an array like {name}, got {type(direction).__name__}: "
            f"pass xp.asarray(direction, dtype={name}.dtype)"
        )
    direction = as_floating(direction, "direction")
    check_same_kind(x=x, direction=direction)
    check_same_dtype(x=x, direction=direction)
    try:
        fits = broadcast_shapes(tuple(x.shape), tuple(direction.shape)) == tuple(x.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"direction has shape {tuple(direction.shape)}, {name} has {tuple(x.shape)}: it must broadcast to {name}, "
            f"such as shape {tuple(x.shape[-1:])} for one direction for all points"
        )
    return direction


def derivatives(f: Callable[..., Any], x: Any, order: int, direction: Any = None) -> Any:
    """d^k/dt^k f(x + t·direction) at t = 0 for k = 0..order, shape (order+1, \\*f(x).shape).

    Derivatives, not Taylor coefficients (for those, ``jet(…).coefficients``). Arguments, errors and structures of
    several inputs or outputs are those of :func:`jet`.

    >>> import numpy as np, ntaylor as nt
    >>> nt.derivatives(lambda x: x**3, np.asarray(2.0), 4)
    array([ 8., 12., 12.,  6.,  0.])
    """
    found = jet(f, x, order, direction)
    return found.derivatives if isinstance(found, Jet) else gradients.map_leaves(_derivatives, found, any_leaf=True)


def _derivatives(u: Jet) -> Array:
    return u.derivatives


def value_and_grad(loss: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """A function of the loss's arguments that returns (value, gradient with respect to the first).

    ``loss(parameters, *rest)`` must return a scalar, or (scalar, auxiliary); then the result is
    ((value, auxiliary), gradient). ``parameters`` is an array, a network, or dicts, lists and tuples of them;
    the gradient has the same structure. On NumPy, CuPy and other libraries without autograd the gradient
    is the closed-form adjoint; an operation that has none is named in a MissingRule.

    Raises TypeError where the loss is no function, ValueError where its result is not a scalar or does not depend
    on the parameters.
    """
    if not callable(loss):
        raise TypeError(
            f"value_and_grad takes the loss, a function of the parameters; got {describe(loss)}. "
            "Call it as nt.value_and_grad(loss)(parameters)"
        )

    def run(parameters: Any, *rest: Any, **named: Any) -> tuple[Any, Any]:
        def bound(p: Any) -> Any:
            return loss(p, *rest, **named)

        leaves: list[Array] = []

        def noted(array: Array) -> Array:
            leaves.append(array)
            return array

        gradients.map_leaves(noted, parameters)
        own = adapter_for(*leaves).value_and_grad
        return (own or gradients.value_and_grad)(bound, parameters)

    return run
