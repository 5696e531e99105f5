"""Rows of a linear problem at points: L u = values, weighted, of any function; their residuals, and their Jacobian.

Floor 12: joins an operator, points and right-hand side. What the unknown is, coefficients or a network's parameters,
is for whoever asks. Derivatives are exact, by jets, or by finite differences with ``method="fd"``.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ntaylor.applying import factor_value
from ntaylor.array_object import unwrapped_namespace
from ntaylor.namespace import array_namespace, as_floating, describe, device, is_array
from ntaylor.networks import MLP
from ntaylor.operators import Operator
from ntaylor.plans import Sum

__all__ = ["Rows", "checked", "flat", "residuals", "residuals_and_gradient", "residuals_and_jacobian"]

Array = Any


@dataclass(frozen=True)
class Rows:
    """weight · (L u − values) at points: rows of a collocation, interior or boundary.

    Parameters
    ----------
    operator: a linear operator L of ``nt.operators``.
    points: (batch, d), of a floating dtype.
    values: the right-hand side: (batch,), a number, or a function of the points that gives either.
    weight: a number > 0, or (batch,), that multiplies the rows.
    method, options: how L is applied, such as ``method="fd", options={"step": 1e-2, "accuracy": 2}``.

    Raises TypeError for what is no operator, ValueError for points, values or weights of another shape and for a weight
    that is no number > 0. Values and weights take the dtype of the points.
    """

    operator: Operator
    points: Array
    values: Any = 0.0
    weight: Any = 1.0
    method: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.operator, Operator):
            raise TypeError(
                f"Rows takes an operator such as nt.operators.laplacian() first, got {describe(self.operator)}"
            )
        points = as_floating(self.points, "points")
        if points.ndim != 2:
            raise ValueError(f"points are (batch, d); got {describe(points)}: pass xp.reshape(points, (-1, d))")
        values = self.values(points) if callable(self.values) else self.values
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "values", _one_a_row(values, points, "values"))
        if isinstance(self.weight, numbers.Real) and not 0 < float(self.weight) < math.inf:
            raise ValueError(f"the weight of Rows is a finite number > 0, or (batch,); got {self.weight!r}")
        object.__setattr__(self, "weight", _one_a_row(self.weight, points, "weight"))

    def by(self, method: str, **options: Any) -> Rows:
        """The same rows with L applied in another way."""
        return replace(self, method=method, options=options)

    def apply(self, f: Callable[[Any], Any]) -> Array:
        """weight · L f, of the shape of f(points); the values are not subtracted."""
        found = self.operator(f, self.points, method=self.method, **self.options)
        return found * (self.weight if found.ndim == 1 else self.weight[:, None])

    def right(self) -> Array:
        """weight · values, (batch,)."""
        return self.values * self.weight

    def residual(self, f: Callable[[Any], Any]) -> Array:
        """weight · (L f − values), (batch,), of an f with one output."""
        return flat(self.apply(f)) - self.right()

    def residual_and_jacobian(self, net: MLP) -> tuple[Array, Array]:
        """The residual (batch,) and its derivatives by all of the network's parameters (batch, P), in their order.

        By the closed-form adjoint of the push, sample by sample, with the directions, orders and weights of the
        operator's plan; with ``method="fd"`` the stencil is laid over the per-sample gradients of the values.
        """
        if not isinstance(net, MLP) or not net.parameters:
            raise TypeError(f"the Jacobian is by the parameters of an nt.MLP, got {describe(net)}")
        if self.method == "fd":
            of_values = self.operator(lambda x: _gradients(net, x), self.points, method="fd", **self.options)
            return self.residual(net), of_values * self.weight[:, None]
        values, rows = _values_and_jacobian(self.operator, net, self.points)
        return values * self.weight - self.right(), rows * self.weight[:, None]

    def residual_and_gradient(self, net: MLP) -> tuple[Array, dict[str, Array]]:
        """The residual r (batch,), and the gradient of ½|r|² by name: a pullback with r, and no Jacobian is formed."""
        if not isinstance(net, MLP) or not net.parameters:
            raise TypeError(f"the gradient is by the parameters of an nt.MLP, got {describe(net)}")
        if self.method == "fd":
            found = self._laid_out()
            if found is None:  # functions of x among the coefficients
                r, jacobian = self.residual_and_jacobian(net)
                return r, _split(net, array_namespace(r).matmul(r[None, :], jacobian)[0, :])
            return self._by_stencil(net, *found)
        value, pull = _pushed(self.operator, net, self.points)
        r = value * self.weight - self.right()
        return r, pull(r * self.weight)

    def _laid_out(self) -> Any:
        """(offsets (points, d), weights (points, 1)) of a stencil that is the same at all points, or None."""
        if not hasattr(self, "_stencil"):  # exact fractions are slow: once for these rows
            found = None
            terms = self.operator.terms
            varies = any(term.factors or (term.form is not None and term.form.varies) for term in terms)
            if not varies and set(self.options) <= {"step", "accuracy", "side"}:
                xp, like = array_namespace(self.points), {"dtype": self.points.dtype, "device": device(self.points)}
                stencil = self.operator.stencil(int(self.points.shape[1]), dtype=self.points.dtype, **self.options)
                offsets = [[float(c) for c in point] for point in stencil.points]
                weights = [[float(w)] for w in stencil.weights]
                found = (xp.asarray(offsets, **like), xp.asarray(weights, **like)) if weights else None
            object.__setattr__(self, "_stencil", found)
        return self._stencil  # type: ignore[attr-defined]

    def _by_stencil(self, net: MLP, offsets: Array, weights: Array) -> tuple[Array, dict[str, Array]]:
        xp, (batch, d) = array_namespace(self.points), self.points.shape
        moved = xp.reshape(self.points[None, :, :] + offsets[:, None, :], (-1, d))
        v, pullback = net.push([moved], 0)
        values = xp.reshape(flat(v[0]), (-1, batch))
        r = xp.sum(values * weights, axis=0) * self.weight - self.right()
        cotangent = xp.reshape(weights * (r * self.weight)[None, :], (-1, 1))
        return r, pullback([cotangent])[1]


def residuals(rows: Sequence[Rows], f: Callable[[Any], Any]) -> Array:
    """Those of all rows, one after another."""
    parts = [r.residual(f) for r in checked(rows)]
    return array_namespace(*parts).concat(parts)


def residuals_and_jacobian(rows: Sequence[Rows], net: MLP) -> tuple[Array, Array]:
    """r (rows,) and J (rows, P) of all rows, one after another."""
    parts = [r.residual_and_jacobian(net) for r in checked(rows)]
    xp = array_namespace(*(j for _, j in parts))
    return xp.concat([r for r, _ in parts]), xp.concat([j for _, j in parts])


def residuals_and_gradient(rows: Sequence[Rows], net: MLP) -> tuple[Array, dict[str, Array]]:
    """r (rows,) of all rows, and the gradient of ½|r|² by every parameter, by name."""
    parts = [r.residual_and_gradient(net) for r in checked(rows)]
    xp = array_namespace(*(r for r, _ in parts))
    total = parts[0][1]
    for _, gradient in parts[1:]:
        total = {name: total[name] + g for name, g in gradient.items()}
    return xp.concat([r for r, _ in parts]), total


def checked(rows: Any) -> Sequence[Rows]:
    """The rows of a system; TypeError for what is no list of them, or an empty one."""
    if not isinstance(rows, (list, tuple)) or not rows or not all(isinstance(r, Rows) for r in rows):
        raise TypeError(
            "rows are a list of Rows(operator, points, values), interior and boundary, with at least one; got "
            f"{describe(rows)}"
        )
    return rows


def flat(value: Array) -> Array:
    """(batch,) of (batch,) or (batch, 1); ValueError for more outputs."""
    if value.ndim == 2 and value.shape[1] == 1:
        return value[:, 0]
    if value.ndim != 1:
        raise ValueError(f"a function with one output is wanted here, this gives shape {tuple(value.shape)}")
    return value


def _one_a_row(value: Any, points: Array, name: str) -> Array:
    xp = array_namespace(points)
    batch = points.shape[0]
    if isinstance(value, numbers.Real) and value is not True and value is not False:  # those of NumPy too
        return xp.full((batch,), float(value), dtype=points.dtype, device=device(points))
    if not is_array(value):
        raise TypeError(f"{name} of Rows are a number or an array ({batch},); got {describe(value)}")
    value = flat(value) if value.ndim == 2 else value
    if tuple(value.shape) not in ((), (batch,)):
        raise ValueError(
            f"{name} of Rows at {batch} points must have shape ({batch},), got {tuple(value.shape)}: one number a row"
        )
    array_namespace(points, value)
    if not xp.isdtype(value.dtype, ("real floating", "integral")):
        raise TypeError(f"{name} of Rows are real numbers; got {describe(value)}")
    return xp.astype(xp.broadcast_to(value, (batch,)), points.dtype, copy=False)


def _gradients(net: MLP, x: Array) -> Array:
    """∂net/∂θ, (\\*batch, P) at points (\\*batch, d)."""
    xp = array_namespace(x)
    batch = tuple(x.shape[:-1])
    v, pullback = net.push([xp.reshape(x, (-1, x.shape[-1]))], 0)
    flat(v[0])
    _, gradients = pullback([xp.ones_like(v[0])], per_sample=True)
    rows = _joined(net, gradients, math.prod(batch))
    return xp.reshape(rows, (*batch, rows.shape[-1]))


def _split(net: MLP, row: Array) -> dict[str, Array]:
    """(P,) as the parameters' shapes, by name."""
    result, begin = {}, 0
    for name, p in net.parameters.items():
        size = math.prod(p.shape)
        result[name] = array_namespace(row).reshape(row[begin : begin + size], tuple(p.shape))
        begin += size
    return result


def _joined(net: MLP, gradients: Mapping[str, Array], batch: int) -> Array:
    xp = array_namespace(*gradients.values())
    # What does not depend on the point, as the last bias of a network, comes without a batch where it is zero.
    parts = []
    for name, p in net.parameters.items():
        g = xp.broadcast_to(gradients[name], (batch, *p.shape))
        parts.append(xp.reshape(g, (batch, math.prod(p.shape))))
    return xp.concat(parts, axis=1)


def _values_and_jacobian(operator: Operator, net: MLP, x: Array) -> tuple[Array, Array]:
    """(L net (batch,), ∂(L net)/∂θ (batch, P))."""
    value, pull = _pushed(operator, net, x)
    return value, _joined(net, pull(None), int(x.shape[0]))


def _pushed(operator: Operator, net: MLP, x: Array) -> tuple[Array, Callable[[Any], dict[str, Array]]]:
    """L net (batch,) from a push a step of the plan, and the way back.

    The latter takes a cotangent (batch,) to the parameters' gradients by name; None to those of every sample alone.
    """
    net.point(x)
    plan = operator.plan(int(x.shape[-1]))
    xp = unwrapped_namespace([x])
    like = {"dtype": x.dtype, "device": device(x)}
    value: Any = xp.zeros((int(x.shape[0]),), **like)
    ways: list[tuple[Any, dict[int, Any]]] = []
    """Pullbacks, and what v_k is multiplied by: (R, batch, 1), or (batch, 1) of f itself."""

    def of_factors(share: Sum, primal: Array) -> Array:
        return (factor_value(share.factors, x, primal) if share.factors else 1.0) * xp.ones_like(primal)

    for step in plan.steps:
        directions, signs = step.at(x)
        v, pullback = net.push([x, directions.stack(x)], step.order)
        flat(v[0])
        of_order: dict[int, Any] = {}
        for share in step.sums:
            k = share.degree
            numbers = [float(w) * math.factorial(k) for w in share.weights]
            numbers = numbers * directions.count if len(numbers) == 1 else numbers
            if signs is not None:
                numbers = [n * s for n, s in zip(numbers, signs, strict=True)]
            if k < len(v) and v[k] is not None:
                weights = xp.asarray(numbers, **like)[:, None, None] * of_factors(share, v[0])
                value = value + xp.sum(weights * v[k], axis=(0, 2))
                of_order[k] = weights + of_order[k] if k in of_order else weights
        ways.append((pullback, of_order))
    if plan.values:
        v, pullback = net.push([x], 0)
        flat(v[0])
        total = sum(float(number) * of_factors(Sum(0, 0, factors, ()), v[0]) for _, factors, number in plan.values)
        value = value + flat(total * v[0])
        ways.append((pullback, {0: total}))

    def pull(cotangent: Any) -> dict[str, Array]:
        result: dict[str, Array] = {}
        for pullback, of_order in ways:
            given: list[Any] = [None] * (max(of_order, default=-1) + 1)
            for k, weights in of_order.items():
                given[k] = weights if cotangent is None else weights * cotangent[:, None]
            if given:
                for name, g in pullback(given, per_sample=cotangent is None)[1].items():
                    result[name] = result[name] + g if name in result else g
        zeros = {name: xp.zeros_like(p) for name, p in net.parameters.items()}
        return {**zeros, **result}

    return value, pull
