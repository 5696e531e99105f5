"""Residuals at points as one vector, and its Jacobian, from two closed-form adjoints.

Floor 8. The residual of an equation at a point depends on the network's coefficients at that point alone. So the
Jacobian by a million entries of θ is made in two steps, neither of which differentiates what the other does:

1. The residual is evaluated once with a stand-in for the network, which notes every push, and then again with leaves in
   the place of what these pushes gave. One reverse sweep of this pointwise arithmetic, by whatever the library has for
   it, gives ∂r_i/∂u_k,i for all points at once; of a vector of residuals, one sweep for each entry.
2. The network's own pullback, per sample, takes these to the parameters.

That equations are pointwise is not believed: the first time a residual is met, cotangents drawn at random go back too,
and what they bring must be those numbers times what ones brought.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntaylor import gradients
from ntaylor.array_object import ArrayObject, new_level, unwrapped_namespace
from ntaylor.bundles import Bundle, Family, Total
from ntaylor.directions import Directions
from ntaylor.dispatch import adapter_for
from ntaylor.jets import Jet
from ntaylor.namespace import MissingRule, array_namespace, describe, device, hides_values
from ntaylor.networks import MLP

__all__ = ["Rows", "StandIn", "components", "pointwise_jacobian"]

Array = Any
Residual = Callable[[Any, Mapping[str, Array]], Any]
"""residual(network, unknowns) -> arrays (batch,) or (batch, …), one or a sequence of them."""


@dataclass
class _Tape:
    """What was pushed through a network: once noted, then handed out again with leaves in its place."""

    leaves: list[Array] | None = None
    """None while pushes are noted."""
    held: list[Array] = field(default_factory=list)
    """What all pushes gave, (batch, m) or (R, batch, m), in the order of their making."""
    pushes: list[tuple[Any, list[int | None], int]] = field(default_factory=list)
    """(pullback, for every coefficient its place in ``held``, or None where it is structurally zero; the order)."""
    count: int = 0
    """Pushes so far, of those that are handed out."""
    refused: str = ""
    """What was said to who called the network in a way that cannot be followed, and may have tried another."""


class StandIn(MLP):
    """A network as a residual sees it while its Jacobian is made.

    It has the network's parameters and takes what the network takes: points, jets, directions for operators, which it
    pushes one beside the other, as plain arrays.
    """

    compresses = None
    """Directions are not replaced by fewer: what was compressed could not be pulled back sample by sample."""

    def __init__(self, network: MLP, tape: _Tape, concrete: bool = False):
        self.__dict__.update(network.__dict__)
        self._network, self._tape = network, tape
        self._concrete = concrete
        """Whether nobody traces the residual: then points that hide their values are those of a function that is."""

    def jet_along(self, x: Array, directions: Directions, family: Family, order: int) -> Jet:
        """See :func:`ntaylor.pushing.jet_along`."""
        return Jet(self.propagate([x, Bundle(directions.stack(x), family)], order), order, level=new_level())

    def quadratic(
        self,
        x: Array,
        directions: Directions,
        weights: Any = None,
        max_directions: int | None = None,
    ) -> tuple[Array, Array]:
        """As :func:`ntaylor.pushing.quadratic`, along all directions as they are."""
        array, total = None, float(directions.count)
        if weights is not None:
            xp, where = array_namespace(x), None if hides_values(x) else device(x)
            array, total = xp.asarray(list(weights), dtype=x.dtype, device=where), sum(weights)
        jet = self.jet_along(x, directions, Family(directions.count, new_level(), 2, array, total), 2)
        top = jet._coefficient(2)
        return jet.primal, jet.primal * 0 if top is None else 2 * (top.array if isinstance(top, Total) else top * total)

    def _propagated(self, u: Any, order: int) -> Any:
        family = next((c.family for c in u if isinstance(c, Bundle)), None)
        plain = [c.array if isinstance(c, Bundle) and c.family is family else c for c in u]
        tape = self._tape
        if any(isinstance(c, ArrayObject) for c in plain) or (self._concrete and hides_values(plain[0])):
            tape.refused = (
                "no Jacobian of a residual that differentiates a function of the network, as nt.derivatives(lambda x: "
                "net(x) ** 2, …) does: differentiate the network itself, and write the rest as products of that"
            )
            raise MissingRule(tape.refused)
        if tape.leaves is None:
            self._note(plain, order)
        elif tape.count >= len(tape.pushes) or tape.pushes[tape.count][2] != order:
            raise ValueError("the residual called the network otherwise when it was called a second time")
        places = tape.pushes[-1 if tape.leaves is None else tape.count][1]
        values = tape.held if tape.leaves is None else tape.leaves
        tape.count += 1
        v = [None if place is None else values[place] for place in places]
        if family is None:
            return v
        points = v[0].ndim  # type: ignore[union-attr]  # the primal is there
        return [v[0], *(_along(c, k, family, points) for k, c in enumerate(v[1:], 1))]

    def _note(self, u: Sequence[Array | None], order: int) -> None:
        v, pullback = self._network.push(u, order)
        primal = v[0]
        xp = unwrapped_namespace([primal])
        places: list[int | None] = []
        for c in v:
            places.append(None if c is None else len(self._tape.held))
            if c is not None:
                # What all points share is one number a point from here on, so that it is differentiated point by point.
                full = (*c.shape[: max(0, c.ndim - primal.ndim)], *primal.shape)
                self._tape.held.append(c if tuple(c.shape) == full else xp.broadcast_to(c, full))
        self._tape.pushes.append((pullback, places, order))


def _along(c: Array | None, k: int, family: Family, points: int) -> Any:
    """A coefficient as jets along the family have it."""
    if c is None or c.ndim == points:
        return c
    return Total(family.total(c), family) if k == family.order else Bundle(c, family)


@dataclass(frozen=True)
class Rows:
    """Residuals and their derivatives, for C components a point and a batch of points."""

    values: list[Array]
    """(batch,) each."""
    of_parameters: dict[str, Array]
    """(C, batch, \\*parameter.shape)"""
    of_unknowns: dict[str, Array]
    """(C, batch)"""

    def jacobian(self, names: Sequence[str], unknowns: Sequence[str]) -> Array:
        """(C · batch, entries of the parameters named, then of the unknowns), components first."""
        columns = [self.of_parameters[name] for name in names] + [self.of_unknowns[name] for name in unknowns]
        xp = array_namespace(columns[0])
        rows = len(self.values) * self.values[0].shape[0]
        return xp.concat([xp.reshape(c, (rows, math.prod(c.shape[2:]))) for c in columns], axis=1)


def components(found: Any) -> list[Array]:
    """What a residual returned as arrays (batch,): the columns of one that has several numbers a point."""
    parts = list(found.values()) if isinstance(found, Mapping) else found
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    flat: list[Array] = []
    for part in parts:
        if not getattr(part, "ndim", 0):
            raise ValueError(
                f"a residual must be one number a point, shape (batch,); got {describe(part)}: leave means and sums out"
            )
        if part.ndim == 1:
            flat.append(part)
        else:
            xp = part.__array_namespace__() if isinstance(part, ArrayObject) else array_namespace(part)
            wide = xp.reshape(part, (part.shape[0], -1))
            flat += [wide[:, i] for i in range(wide.shape[1])]
    return flat


def pointwise_jacobian(
    residual: Residual,
    network: MLP,
    unknowns: Mapping[str, Array],
    *,
    check: bool = False,
) -> Rows:
    """The residuals' values and their derivatives by every parameter of the network and every unknown.

    Parameters
    ----------
    residual: called with a :class:`StandIn` and the unknowns, each then (batch,); twice.
    network: whose closed-form pullback takes the derivatives to the parameters.
    unknowns: 0-d arrays by name.
    check: whether the residuals are looked at: a ValueError says that one mixes points.

    Raises ValueError for residuals that are not (batch,) or do not depend on the network, MissingRule for one that
    differentiates a function of the network.
    """
    tape = _Tape()
    values = components(residual(StandIn(network, tape, concrete=check), unknowns))
    if tape.refused:
        raise MissingRule(tape.refused)
    if not tape.held:
        raise ValueError("the residual does not depend on the network: it was not called")
    count = values[0].shape[0]
    if any(tuple(v.shape) != (count,) for v in values) or any(a.shape[-2] != count for a in tape.held):
        shapes = sorted({*(tuple(v.shape) for v in values), *((a.shape[-2],) for a in tape.held)})
        raise ValueError(f"residuals and what they are made of must have one number a point; got shapes {shapes}")
    xp = unwrapped_namespace(tape.held)
    names, pushed = list(unknowns), len(tape.held)

    def replayed(leaves: list[Array]) -> list[Array]:
        again = StandIn(network, _Tape(leaves[:pushed], pushes=tape.pushes), concrete=check)
        return components(residual(again, dict(zip(names, leaves[pushed:], strict=True))))

    leaves = [*tape.held, *(xp.broadcast_to(unknowns[name], (count,)) for name in names)]
    _outputs, pullback = (adapter_for(*tape.held).vjp or gradients.vjp)(replayed, leaves)
    ones = xp.ones_like(values[0])
    swept = []
    for i, value in enumerate(values):
        cotangents = [ones if j == i else None for j in range(len(values))]
        swept.append(list(pullback(cotangents)))
        if check:
            _check_pointwise(pullback, cotangents, i, swept[-1], value)
    if all(c is None for found in swept for c in found[:pushed]):
        raise ValueError("the residual does not depend on the network: use the fields it is called with")
    joined = [_stacked(xp, [found[i] for found in swept], leaf) for i, leaf in enumerate(leaves)]
    totals: dict[str, Array] = {}
    for of_push, places, _ in tape.pushes:
        cotangents = [None if place is None else joined[place] for place in places]
        if all(c is None for c in cotangents):
            continue
        _, found = of_push(cotangents, per_sample=True)
        for name, g in found.items():
            totals[name] = g if name not in totals else totals[name] + g
    for name, p in network.parameters.items():
        full = (len(values), count, *p.shape)
        if tuple(totals[name].shape) != full:  # of what no residual depends on, as a last bias
            totals[name] = xp.broadcast_to(xp.reshape(totals[name], (-1,))[:1] * 0, full)
    zero = xp.zeros((len(values), count), dtype=ones.dtype, device=None if hides_values(ones) else device(ones))
    of_unknowns = {name: zero if c is None else c for name, c in zip(names, joined[pushed:], strict=True)}
    return Rows(values, totals, of_unknowns)


def _stacked(xp: Any, found: Sequence[Array | None], leaf: Array) -> Array | None:
    """(C, \\*leaf.shape) of the sweeps' cotangents of one leaf; None where nothing depends on it."""
    if all(c is None for c in found):
        return None
    return xp.stack([xp.zeros_like(leaf) if c is None else c for c in found])


def _check_pointwise(pullback: Any, cotangents: Sequence[Any], place: int, found: Sequence[Any], value: Array) -> None:
    """ValueError unless random numbers go back as themselves times what ones brought: as of single points."""
    import numpy

    xp = unwrapped_namespace([value])
    drawn = numpy.random.default_rng(7).standard_normal(value.shape[0])
    factors = xp.asarray(drawn, dtype=value.dtype, device=device(value))
    other_way = pullback([None if c is None else c * factors for c in cotangents])
    tolerance = float(xp.finfo(value.dtype).eps) ** 0.5
    for one, other in zip(found, other_way, strict=True):
        if one is None or other is None:
            continue
        expected = one * (factors if one.ndim == 1 else factors[:, None])
        apart, size = float(xp.max(xp.abs(other - expected))), float(xp.max(xp.abs(one)))
        if apart > tolerance * max(size, 1e-300):
            raise ValueError(
                f"residual {place} is not of one point: it mixes the points of the batch, as a mean, a sum or a shift "
                "does. Least squares need one residual a point; minimise such a loss with adam or lbfgs"
            )
