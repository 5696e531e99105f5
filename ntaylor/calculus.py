"""The derivatives that have names: partial, gradient, divergence, curl, Hessian, Laplacian, the full tensor.

Floor 12: each is an operator, or first-order jets, of a function of points. All are derivatives, not Taylor
coefficients. x is (\\*batch, d); f(x) is (\\*batch,), (\\*batch, m) or whatever f makes of its points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy

from ntaylor import operators, pushing
from ntaylor.array_object import unwrapped_namespace
from ntaylor.differentiate import derivatives
from ntaylor.directions import Coordinates, of_integers
from ntaylor.namespace import check_order, check_same_dtype, check_same_kind, describe, device, hides_values, is_array
from ntaylor.operators import _points, _whole
from ntaylor.power_sums import family

__all__ = [
    "biharmonic",
    "curl",
    "derivative_tensor",
    "divergence",
    "gradient",
    "hessian",
    "hessian_product",
    "laplacian",
    "partial",
]

Array = Any

_LAPLACIAN, _BIHARMONIC = operators.laplacian(), operators.biharmonic()
_PARTIALS: dict[tuple[int, ...], operators.Operator] = {}


def _prepare(alpha: tuple[int, ...]) -> bool:
    """Keep the operator of a multi-index, with its plan. Apart, for torch.compile does not follow how it is made."""
    if alpha not in _PARTIALS:
        _PARTIALS[alpha] = operators.partial(alpha)
    return True


_prepare._dynamo_marked_constant = True  # type: ignore[attr-defined]


def partial(f: Callable[[Any], Any], x: Array = None, alpha: Any = None) -> Array:
    """∂^α f at x, of the shape of f(x), with a multi-index α of one order a coordinate, such as (2, 0, 1).

    Of a field ``partial(u, alpha)``.

    By jets of order |α| along few directions, with exact weights (Griewank, Utke, Walther 2000; theory.md (9.3)).

    >>> import numpy as np, ntaylor as nt
    >>> nt.partial(lambda x: x[:, 0] ** 2 * x[:, 1] ** 3, np.asarray([[1.0, 2.0]]), (2, 1))   # 6 x_1²
    array([24.])
    """
    if hasattr(f, "_operated"):
        alpha, x = (x, None) if alpha is None else (alpha, x)
        _check_no_points(x)
    if not isinstance(alpha, (tuple, list)):
        return operators.partial(alpha)(f, x)
    alpha = tuple(_whole("an order in alpha", a) for a in alpha)
    _prepare(alpha)
    return _PARTIALS[alpha](f, x)


def laplacian(
    f: Callable[[Any], Any], x: Array = None, *, method: str = "auto", max_directions: int | None = None
) -> Array:
    """Δf = Σ_i ∂²f/∂x_i² at x, of the shape of f(x). ``method`` and ``max_directions`` as for an operator's call.

    Of an ``nt.MLP``, however many coordinates it takes, no more jets than its first layer has outputs. Of a field
    ``laplacian(u)``, over all its inputs: over some of them, ``nt.operators.laplacian(coordinates=…)(u)``.
    """
    return _LAPLACIAN(f, x, method=method, max_directions=max_directions)


def biharmonic(
    f: Callable[[Any], Any], x: Array = None, *, method: str = "auto", max_directions: int | None = None
) -> Array:
    """Δ²f at x, of the shape of f(x); of a field ``biharmonic(u)``, over all its inputs."""
    return _BIHARMONIC(f, x, method=method, max_directions=max_directions)


def gradient(f: Callable[[Any], Any], x: Array = None) -> Array:
    """∂f/∂x_i at x by first-order jets, shape (\\*f(x).shape, d): of a vector-valued f the Jacobian.

    Of a field ``gradient(u)``, by all its inputs.
    """
    if x is None:
        return _tensor_of_field(f, 1)
    x = _points(f, x)
    value, first = pushing.along(f, x, Coordinates(range(x.shape[-1])), 1)
    xp = unwrapped_namespace([value])
    if first is None:
        first = xp.broadcast_to(value * 0, (x.shape[-1], *value.shape))
    return xp.moveaxis(first, 0, -1)


def divergence(f: Any, x: Array = None) -> Array:
    """Σ_i ∂f_i/∂x_i of a vector field f: (\\*batch, d) → (\\*batch, d); shape (\\*batch,).

    Of fields ``divergence((u, v))``, of as many as there are inputs.
    """
    if x is None:
        return _divergence_of_fields(f)
    jacobian = _of_field(f, x, "divergence")
    xp = unwrapped_namespace([jacobian])
    return xp.sum(xp.stack([jacobian[..., i, i] for i in range(jacobian.shape[-1])]), axis=0)


def curl(f: Callable[[Any], Any], x: Array) -> Array:
    """∇ × f of a field in 3 dimensions, (\\*batch, 3); in 2 the one number ∂_0 f_1 − ∂_1 f_0, (\\*batch,)."""
    jacobian = _of_field(f, x, "curl")
    xp, size = unwrapped_namespace([jacobian]), jacobian.shape[-1]

    def turn(i: int, j: int) -> Array:
        return jacobian[..., j, i] - jacobian[..., i, j]

    if size == 2:
        return turn(0, 1)
    if size != 3:
        raise ValueError(f"curl is for fields in 2 or 3 dimensions, these points have {size} coordinates")
    return xp.stack([turn(1, 2), turn(2, 0), turn(0, 1)], axis=-1)


def _of_field(f: Callable[[Any], Any], x: Array, name: str) -> Array:
    jacobian = gradient(f, x)
    if jacobian.ndim < 2 or jacobian.shape[-1] != jacobian.shape[-2]:
        raise ValueError(
            f"{name} takes a vector field, f(x) of shape {tuple(x.shape)} like x; f(x) has shape "
            f"{tuple(jacobian.shape[:-1])}"
        )
    return jacobian


def hessian(f: Callable[[Any], Any], x: Array = None) -> Array:
    """∂²f/∂x_i∂x_j at x, shape (\\*f(x).shape, d, d), symmetric to the last bit; of a field ``hessian(u)``."""
    if x is None:
        return _tensor_of_field(f, 2)
    return derivative_tensor(f, x, 2)


def _check_no_points(x: Any) -> None:
    if x is not None:
        raise TypeError("a field of nt.residual knows its points: leave x out, as in nt.partial(u, (2, 0))")


def _count_of_inputs(f: Any) -> int:
    count = getattr(f, "_inputs", None)
    if count is None:
        operators.of_field(f, _LAPLACIAN)  # refuses what is no field, in its own words
    return len(count)  # type: ignore[arg-type]


def _tensor_of_field(f: Any, order: int) -> Array:
    """All derivatives of this order of a field, (\\*batch, d, …)."""
    d = _count_of_inputs(f)
    entries = {}
    for index in itertools.combinations_with_replacement(range(d), order):
        _prepare(tuple(index.count(i) for i in range(d)))
        entries[index] = operators.of_field(f, _PARTIALS[tuple(index.count(i) for i in range(d))])
    every = [entries[tuple(sorted(index))] for index in itertools.product(range(d), repeat=order)]
    xp = every[0].__array_namespace__()
    return xp.reshape(xp.stack(every, axis=-1), (*f.shape, *(d,) * order))


def _divergence_of_fields(fields: Any) -> Array:
    if not isinstance(fields, (tuple, list)):
        raise TypeError("divergence takes a function and points, divergence(f, x), or fields, divergence((u, v))")
    d = _count_of_inputs(fields[0])
    if len(fields) != d:
        raise ValueError(
            f"divergence takes one field for each of the {d} inputs, got {len(fields)}: of components in space alone "
            "write the sum, such as u.x + v.y"
        )
    return sum(partial(f, None, tuple(int(i == j) for j in range(d))) for i, f in enumerate(fields))


def hessian_product(f: Callable[[Any], Any], x: Array, v: Array) -> Array:
    """Σ_j ∂²f/∂x_i∂x_j v_j at x, shape (\\*f(x).shape, d), with v that broadcasts to x.

    The d derivatives of the one along v, by jets of jets. Where a gradient by x is at hand, as in torch and JAX, that
    of ``nt.derivatives(f, x, 1, v)[1]`` is one pass back instead.
    """
    x = _points(f, x)
    if not is_array(v):
        raise TypeError(f"v must be an array like x, got {describe(v)}")
    check_same_kind(x=x, v=v)
    check_same_dtype(x=x, v=v)
    return gradient(lambda u: derivatives(f, u, 1, v)[1, ...], x)


def derivative_tensor(f: Callable[[Any], Any], x: Array, order: int) -> Array:
    """All partial derivatives of the given order, shape (\\*f(x).shape, d, …, d) with d ``order`` times.

    C(d+n−1, n) jets, as many as the tensor has different entries (theory.md (9.4)). Order 0 is f(x).
    """
    order = check_order(order)
    x = _points(f, x)
    d = int(x.shape[-1])
    if order == 0:
        return f(x)
    directions, weights = family(d, order)
    found = pushing.along(f, x, of_integers(directions, d), order)
    value, top = found[0], found[order]
    xp = unwrapped_namespace([value])
    if top is None:
        return xp.broadcast_to(xp.reshape(value * 0, (*value.shape, *(1,) * order)), (*value.shape, *(d,) * order))
    monomials = list(weights)
    matrix = numpy.asarray([[float(w) for w in weights[m]] for m in monomials]) * float(math.factorial(order))
    row = {m: i for i, m in enumerate(monomials)}
    places = [row[tuple(sorted(index))] for index in numpy.ndindex(*(d,) * order)]
    here = None if hides_values(value) else device(value)
    combined = xp.asarray(matrix, dtype=top.dtype, device=here) @ xp.reshape(top, (top.shape[0], -1))
    spread = xp.take(combined, xp.asarray(places, device=here), axis=0)
    return xp.reshape(xp.moveaxis(spread, 0, -1), (*value.shape, *(d,) * order))
