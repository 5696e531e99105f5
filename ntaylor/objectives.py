"""What a training run minimises: weighted mean squares of a problem's residuals, as a loss or as rows.

Floor 11. A problem is what has ``terms``, ``function``, ``weight`` and ``unknowns``, as :class:`ntaylor.Problem`; the
loss is Σ_t w_t · mean r_t² over its terms t. For a least-squares method the same number is r·r of the rows
√(w_t / n_t) · r_t. Parameters are one flat dict: the network's, then the unknowns as ``unknown.NAME``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntaylor.array_object import ArrayObject
from ntaylor.dispatch import Model, adapter_for
from ntaylor.namespace import MissingRule, array_namespace, device
from ntaylor.quantities import Repeated
from ntaylor.systems import components, pointwise_jacobian

__all__ = ["UNKNOWN", "VALUES", "WEIGHT", "FlatSystem", "Objective"]

Array = Any

UNKNOWN, WEIGHT, VALUES = "unknown.", "weight ", " values"
"""Before an unknown's name among the parameters, before a term's among the data, behind a condition's there."""

_CHECKED = 16
"""Points at which it is looked at whether residuals are pointwise."""


@dataclass(frozen=True)
class Objective:
    """A problem with a model to solve it.

    ``data`` in the methods is one flat dict of arrays of the library: the problem's points and values by their names,
    and the terms' weights, 0-d, as ``"weight TERM"``.
    """

    problem: Any
    model: Model
    sobolev: int = 0
    sobolev_weights: Any = None
    totals: Mapping[str, int] = field(default_factory=dict)
    """How many points the groups have, where ``data`` holds one process's share of them."""

    def function(self, parameters: Mapping[str, Array]) -> Callable[[Any], Any]:
        """What solves the problem, with these parameters."""
        return self.problem.function(self._network(parameters))  # type: ignore[no-any-return]

    def _network(self, parameters: Mapping[str, Array]) -> Any:
        return self.model.made({name: parameters[name] for name in self.model.arrays})

    def unknowns(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The unknowns among the parameters, by their own names."""
        return {name: parameters[UNKNOWN + name] for name in self.problem.unknowns}

    def terms(self, network: Any, unknowns: Mapping[str, Array], data: Mapping[str, Array]) -> dict[str, Any]:
        """The problem's residuals at the points that are in ``data``."""
        arrays = {name: array for name, array in data.items() if not name.startswith(WEIGHT)}
        options = {"sobolev": self.sobolev} if self.sobolev else {}
        return self.problem.terms(network, arrays, unknowns, **options)  # type: ignore[no-any-return]

    def means(self, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> dict[str, Array]:
        """The terms' mean squares, unweighted; of a process's share its part of them."""
        found = self.terms(self._network(parameters), self.unknowns(parameters), data)
        return {name: self._mean(name, residual) for name, residual in found.items()}

    def loss(self, parameters: Mapping[str, Array], data: Mapping[str, Array], draw: Any = None) -> Any:
        """(Σ_t w_t · mean r_t², the means by name)."""
        means = self.means(parameters, data)
        total: Any = 0.0
        for name, mean in means.items():
            total = total + data[WEIGHT + name] * mean
        return total, means

    def _mean(self, name: str, residual: Any) -> Array:
        if hasattr(residual, "loss"):  # with its derivatives
            mean, count = residual.loss(self.sobolev_weights), int(residual.value.shape[0])
        else:
            mean, count = _space(residual).mean(residual * residual), int(residual.shape[0])
        total = self.totals.get(_group(name, self.totals), count)
        return mean if total == count else mean * (count / total)

    # --- as rows ------------------------------------------------------------------------------------

    def _rows(self, found: Mapping[str, Any], data: Mapping[str, Array]) -> list[Array]:
        """√(w/n)·r of the terms, (batch,) each."""
        rows: list[Array] = []
        for name, residual in found.items():
            weight = data[WEIGHT + name]
            if hasattr(residual, "rows"):  # with its derivatives, in one vector: one after another, each at all points
                flat = residual.rows(self.sobolev_weights)
                parts, count = components(_space(flat).reshape(flat, (-1, residual.value.shape[0])).T), 1
            else:  # of several numbers a point the mean over all of them
                parts = components(residual)
                count = parts[0].shape[0] * len(parts)
            scale = _space(weight).sqrt(weight / count)
            rows += [part * scale for part in parts]
        return rows

    def rows(self, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """(all rows one after another, whose squares sum to the loss; the terms' means)."""
        found = self.terms(self._network(parameters), self.unknowns(parameters), data)
        # By the points they belong to, sorted as groups are: a dict that went through JAX has lost its order.
        own = groups(data)
        ordered = {name: found[name] for name in sorted(found, key=lambda name: _group(name, own))}
        parts = self._rows(ordered, data)
        means = {name: self._mean(name, residual) for name, residual in found.items()}
        return array_namespace(*parts).concat(parts), means

    def rows_and_jacobian(self, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> tuple[Array, Array]:
        """The rows, and their derivatives by all entries of the parameters, (rows, entries)."""
        if self.model.network is None:
            return self._by_autograd(parameters, data)
        xp = array_namespace(*parameters.values())
        parts, blocks = [], []
        for group in groups(data).values():
            found = self._pointwise(parameters, group)
            parts += found.values
            blocks.append(found.jacobian(list(self.model.arrays), list(self.problem.unknowns)))
        return xp.concat(parts), blocks[0] if len(blocks) == 1 else xp.concat(blocks)

    def _pointwise(self, parameters: Mapping[str, Array], group: Mapping[str, Array], *, check: bool = False) -> Any:
        network = self.model.network.replace({name: parameters[name] for name in self.model.arrays})
        unknowns = self.unknowns(parameters)

        def rows(net: Any, given: Mapping[str, Array]) -> list[Array]:
            repeated = {name: Repeated(a) for name, a in given.items()}
            return self._rows(self.terms(net, repeated, group), group)

        return pointwise_jacobian(rows, network, unknowns, check=check)

    def _by_autograd(self, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> tuple[Array, Array]:
        xp = array_namespace(*parameters.values())
        jacobian = adapter_for(*parameters.values()).jacobian
        if jacobian is None:
            raise MissingRule(
                f"least squares need the Jacobian, which for a network of one's own {xp.__name__} has no autograd: "
                "train an nt.MLP, or use adam"
            )
        rows, found = jacobian(lambda p: self.rows(p, data)[0], dict(parameters))
        columns = [xp.reshape(found[name], (rows.shape[0], math.prod(p.shape))) for name, p in parameters.items()]
        return rows, xp.concat(columns, axis=1)

    def check(self, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> None:
        """ValueError or MissingRule for residuals that have no pointwise Jacobian, seen on a few points."""
        if self.model.network is None:
            return
        for group in groups(data).values():
            few = {name: a if name.startswith(WEIGHT) else a[:_CHECKED, ...] for name, a in group.items()}
            self._pointwise(parameters, few, check=True)


def groups(data: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The data apart, by the points that they belong to, each with all weights; sorted by name."""
    weights = {name: array for name, array in data.items() if name.startswith(WEIGHT)}
    own = [
        name for name in data if name not in weights and not (name.endswith(VALUES) and name[: -len(VALUES)] in data)
    ]
    return {
        name: {name: data[name], **({name + VALUES: data[name + VALUES]} if name + VALUES in data else {}), **weights}
        for name in sorted(own)
    }


def _space(array: Array) -> Any:
    return array.__array_namespace__() if isinstance(array, ArrayObject) else array_namespace(array)


def _group(term: str, known: Mapping[str, Any]) -> str:
    """The points that a term belongs to: a system's terms are called NAME[0], NAME[1], …"""
    return term if term in known else term.rpartition("[")[0]


class FlatSystem:
    """An objective's rows as a function of one vector θ, all parameters one after another: what least squares take.

    On the CPU θ, rows and Jacobian are NumPy's, whatever the library: they are views of its memory, and the linear
    algebra is LAPACK's. Elsewhere they stay on the device.
    """

    def __init__(self, objective: Objective, parameters: Mapping[str, Array], data: Mapping[str, Array]):
        self.objective, self.data = objective, dict(data)
        # In the order of the Jacobian's columns, which a dict that went through JAX has lost.
        names = [*objective.model.arrays, *(UNKNOWN + name for name in objective.problem.unknowns)]
        self.shapes = {name: tuple(parameters[name].shape) for name in names}
        first = parameters[names[0]]
        self._like = first
        self.on_host = _is_on_host(first)
        self._known: Any = None
        """Rows where they could be had."""
        objective.check(parameters, data)
        compiled = adapter_for(first).compiled or (lambda f: f)
        self._rows = compiled(lambda theta, data: objective.rows(self.split(theta), data))
        self._both = compiled(lambda theta, data: objective.rows_and_jacobian(self.split(theta), data))

    def joined(self, parameters: Mapping[str, Array]) -> Array:
        """θ of parameters."""
        xp = array_namespace(self._like)
        return self._out(xp.concat([xp.reshape(parameters[name], (-1,)) for name in self.shapes]))

    def split(self, theta: Array) -> dict[str, Array]:
        """Parameters of θ, an array of the library."""
        xp, parameters, start = array_namespace(theta), {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            parameters[name] = xp.reshape(theta[start : start + size], shape)
            start += size
        return parameters

    def parameters(self, theta: Array) -> dict[str, Array]:
        """Parameters of θ as this system has it."""
        return self.split(self._in(theta))

    def residual(self, theta: Array) -> Array:
        """The rows; no numbers where θ leads out of the domain of a function in them, as a trial step may."""
        try:
            return self._out(self._rows(self._in(theta), self.data)[0])
        except ValueError:
            if self._known is None:
                raise
            return self._known * math.nan

    def means(self, theta: Array) -> dict[str, float]:
        """The terms' mean squares."""
        return {name: float(a) for name, a in self._rows(self._in(theta), self.data)[1].items()}

    def residual_and_jacobian(self, theta: Array) -> tuple[Array, Array]:
        """The rows and their derivatives."""
        rows, jacobian = self._both(self._in(theta), self.data)
        self._known = self._out(rows)
        return self._known, self._out(jacobian)

    def _in(self, theta: Array) -> Array:
        if not self.on_host:
            return theta
        return array_namespace(self._like).asarray(theta, dtype=self._like.dtype, device=device(self._like))

    def _out(self, array: Array) -> Array:
        import numpy

        return numpy.asarray(array) if self.on_host else array


def _is_on_host(array: Array) -> bool:
    try:
        return int(array.__dlpack_device__()[0]) == 1  # kDLCPU
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return False  # of several devices


def term_names(objective: Objective, parameters: Mapping[str, Array], data: Mapping[str, Array]) -> Sequence[str]:
    """The names of the terms, by evaluating them at one point each; an error is noted to be of what it is."""
    own = groups({name: array[:1, ...] for name, array in data.items()})
    network, unknowns = objective._network(parameters), objective.unknowns(parameters)
    names: list[str] = []
    for name in data:
        if name in own:
            try:
                names += objective.terms(network, unknowns, own[name])
            except Exception as error:
                error.add_note(f"this is of the problem's {name!r}, tried at one point")
                raise
    return names
