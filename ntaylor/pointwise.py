"""Residuals of an equation at points, order by order, and their Jacobian.

Floor 8: joins a network's jet with an equation written on jets. Nothing here knows an optimiser or a
particular equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ntaylor.gradients import Variable, sweep
from ntaylor.jets import Jet, stack_coefficients
from ntaylor.namespace import array_namespace, as_floating, check_order, check_same_dtype, check_same_kind, describe
from ntaylor.networks import MLP

__all__ = ["PointwiseResidual", "ResidualSystem"]

Array = Any
Equation = Callable[..., Jet]
"""equation(X, U, **unknowns) -> R: jets of the coordinate and of the network along it, scalars; a jet."""


@dataclass(frozen=True)
class PointwiseResidual:
    """An ordinary differential equation's residual R(x) = 0 with its Taylor coefficients at given points.

    Parameters
    ----------
    equation:
        ``equation(X, U, **unknowns)`` on jets in X. ``U.derivative()`` is U′; each one costs an order, so
        the result is a jet of a lower order than U. This is the only statement of the equation: its
        derivatives come from the arithmetic of jets.
    x:
        the points, (batch,), of a floating dtype: that of the network and of the unknowns.
    order:
        the highest order of R wanted, an integer >= 0.
    depth:
        the order of the equation, an integer >= 0: how many more orders U needs than R.

    The network maps 1 feature to 1. Raises TypeError for an equation that is no function or gives no Jet, and for
    points of another kind; ValueError for points, a network or a residual of another shape, a depth that is too
    low, and, with the Jacobian, for a residual that does not depend on U.
    """

    equation: Equation
    x: Array
    order: int
    depth: int = 1

    def __post_init__(self) -> None:
        if not callable(self.equation):
            raise TypeError(
                f"the equation must be a function (X, U, **unknowns) of jets, got {describe(self.equation)}"
            )
        object.__setattr__(self, "x", as_floating(self.x, "x"))
        if self.x.ndim != 1:
            raise ValueError(
                f"x holds points of one coordinate, of shape (batch,); got {describe(self.x)}: "
                "pass xp.reshape(x, (-1,))"
            )
        for name in ("order", "depth"):
            try:
                check_order(getattr(self, name))
            except (TypeError, ValueError) as error:
                raise type(error)(str(error).replace("order", name)) from None

    def values(self, network: MLP, unknowns: Mapping[str, Array]) -> Array:
        """Taylor coefficients (not derivatives) R^(m)/m! for m = 0..order, shape (order+1, batch).

        ``unknowns`` are 0-d arrays by the names that the equation gives its keyword arguments.
        """
        xp = array_namespace(self.x)
        u, _ = self._push(xp, network)
        return stack_coefficients(self._residual(xp, [c[:, 0] for c in u], unknowns))

    def values_and_jacobian(
        self, network: MLP, unknowns: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """The values, and their derivatives by every parameter and every unknown.

        Shapes (order+1, batch), ``{name: (order+1, batch, *parameter.shape)}`` and
        ``{name: (order+1, batch)}``. From two closed-form adjoints: that of the equation gives ∂R_m/∂U_k
        at each point, that of the network takes them on to the parameters, sample by sample.
        """
        xp = array_namespace(self.x)
        u, pullback = self._push(xp, network)
        # Each point's residual depends on that point's U_k only. So with every leaf repeated once an
        # order m, and the cotangent of R_m put into the m-th repetition alone, one sweep back gives
        # ∂R_m/∂U_k for all m, k and points.
        count = self.order + 1
        wide = (count, *self.x.shape)
        leaves = [Variable(xp.broadcast_to(c[:, 0], wide)) for c in u]
        named = {name: Variable(xp.broadcast_to(value, wide)) for name, value in unknowns.items()}
        residual = self._residual(xp, leaves, named)
        outputs, cotangents = [], []
        rows = xp.arange(count)[:, None]
        for m, coefficient in enumerate(residual):
            if isinstance(coefficient, Variable):
                outputs.append(coefficient)
                cotangents.append(xp.broadcast_to(xp.astype(rows == m, coefficient.dtype), wide))
        zeros = xp.zeros(wide, dtype=self.x.dtype)
        swept = sweep(outputs, cotangents, [*leaves, *named.values()])
        if all(c is None for c in swept[: len(leaves)]):
            raise ValueError(
                "the equation's residual does not depend on U: use U, a jet, in it; its .primal or a NumPy copy of it "
                "is not followed"
            )
        found = [zeros if c is None else c for c in swept]
        _, of_network = pullback([c[..., None] for c in found[: len(leaves)]], per_sample=True)
        values = [c.value[0, ...] if isinstance(c, Variable) else c for c in residual]
        return stack_coefficients(values), of_network, dict(zip(named, found[len(leaves) :], strict=True))

    def _push(self, xp: Any, network: MLP) -> Any:
        """Coefficients (batch, 1) of the network along x, and its pullback."""
        x = self.x[:, None]
        named = {f"net.parameters[{name!r}]": p for name, p in network.parameters.items()}
        check_same_kind(x=x, **named)
        check_same_dtype(x=x, **named)
        if network.width_in != 1:
            raise ValueError(f"the network takes {network.width_in} features, an equation in one coordinate needs 1")
        top = self.order + self.depth
        u, pullback = network.push([x, xp.ones_like(x)] if top else [x], top)
        if u[0].shape[-1] != 1:
            raise ValueError(
                f"the network gives {u[0].shape[-1]} outputs, the equation takes one function U: make it 1"
            )
        u = [xp.zeros_like(x) if c is None else xp.broadcast_to(c, x.shape) for c in u]
        return u + [xp.zeros_like(x)] * (top + 1 - len(u)), pullback

    def _residual(self, xp: Any, u: list[Array], unknowns: Mapping[str, Array]) -> list[Array | None]:
        """Coefficients 0..order of R."""
        point = Jet([self.x, xp.ones_like(self.x)] if self.order else [self.x], self.order)
        residual = self.equation(point, Jet(u), **unknowns)
        if not isinstance(residual, Jet):
            raise TypeError(
                f"the equation must return a Jet, it returned a {describe(residual)}: build the residual from X and U "
                "by operators and array functions, and leave .primal and .coefficients to the caller"
            )
        if residual.order < self.order:
            raise ValueError(
                f"the equation gave its residual to order {residual.order}, wanted {self.order}: pass depth=, "
                "the highest derivative of U in it"
            )
        if residual.shape not in (tuple(u[0].shape), tuple(self.x.shape)):
            raise ValueError(
                f"the equation gave a residual of shape {residual.shape} for a U of shape {tuple(u[0].shape)}: "
                "it must act on each point alone, without sums or stacking"
            )
        return [residual.primal, *residual.series[: self.order]]


@dataclass(frozen=True)
class ResidualSystem:
    """Weighted pointwise residuals as one vector r(θ), for a least-squares method.

    θ holds every network parameter, in the order of ``network.parameters``, then the unknown scalars.
    ``blocks`` are pairs of a :class:`PointwiseResidual` and weights that broadcast to (order+1, batch); r(θ) is
    their Taylor coefficients, weighted, orders first, one block after another: (rows,).
    """

    network: MLP
    unknowns: tuple[str, ...]
    blocks: tuple[tuple[PointwiseResidual, Array], ...]
    _sizes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = {name: math.prod(p.shape) for name, p in self.network.parameters.items()}
        object.__setattr__(self, "_sizes", sizes)

    def pack(self, network: MLP, unknowns: Mapping[str, float]) -> Array:
        """θ, shape (parameters + unknowns,), of a network of this architecture and the unknowns' values.

        Raises ValueError for an unknown without a value.
        """
        missing = [name for name in self.unknowns if name not in unknowns]
        if missing:
            raise ValueError(f"no value for the unknowns {', '.join(missing)}: pass a number for each")
        parameters = network.parameters
        xp = array_namespace(*parameters.values())
        scalars = [xp.asarray([unknowns[name]], dtype=next(iter(parameters.values())).dtype) for name in self.unknowns]
        return xp.concat([*(xp.reshape(parameters[name], (-1,)) for name in self._sizes), *scalars])

    def unpack(self, theta: Array) -> tuple[MLP, dict[str, Array]]:
        """The network and the unknowns (0-d arrays) that θ stands for; ValueError for a θ of another length."""
        xp = array_namespace(theta)
        length = sum(self._sizes.values()) + len(self.unknowns)
        if tuple(theta.shape) != (length,):
            raise ValueError(f"theta has shape {tuple(theta.shape)}, this system needs ({length},): see pack")
        parameters, start = {}, 0
        for name, size in self._sizes.items():
            parameters[name] = xp.reshape(theta[start : start + size], self.network.parameters[name].shape)
            start += size
        return self.network.replace(parameters), {name: theta[start + i] for i, name in enumerate(self.unknowns)}

    def mask(self, *suffixes: str) -> list[bool]:
        """Which entries of θ belong to parameters or unknowns whose name ends so."""
        flags: list[bool] = []
        for name, size in [*self._sizes.items(), *((name, 1) for name in self.unknowns)]:
            flags.extend([name.endswith(suffixes)] * size)
        return flags

    def residual(self, theta: Array) -> Array:
        """r(θ), all blocks' weighted coefficients one after another."""
        xp = array_namespace(theta)
        network, unknowns = self.unpack(theta)
        parts = [xp.reshape(block.values(network, unknowns) * weight, (-1,)) for block, weight in self.blocks]
        return xp.concat(parts)

    def residual_and_jacobian(self, theta: Array) -> tuple[Array, Array]:
        """r(θ) and ∂r/∂θ, shape (rows, len(θ))."""
        xp = array_namespace(theta)
        network, unknowns = self.unpack(theta)
        parts, rows = [], []
        for block, weight in self.blocks:
            values, of_network, of_unknowns = block.values_and_jacobian(network, unknowns)
            count = math.prod(values.shape)
            scale = xp.reshape(xp.broadcast_to(weight, values.shape), (count, 1))
            columns = [of_network[name] for name in self._sizes] + [of_unknowns[name] for name in self.unknowns]
            parts.append(xp.reshape(values * weight, (count,)))
            rows.append(scale * xp.concat([xp.reshape(c, (count, -1)) for c in columns], axis=1))
        return xp.concat(parts), xp.concat(rows)
