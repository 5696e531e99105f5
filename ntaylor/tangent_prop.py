"""TangentProp: a network trained on values and on derivatives along curves through few samples.

Floor 14. P. Simard, B. Victorri, Y. LeCun, J. Denker, "Tangent Prop – A formalism for specifying selected invariances
in an adaptive network", NIPS 4, 1991. There the loss has, beside the values, the first derivative along a tangent at
every sample: of a given slope, or zero where the tangent is that of a transformation which shall change nothing. Here
to any order,

    Σ_k ω_k mean_i |d^k/dt^k u(x_i(t)) − f_i^(k)|²  at t = 0,  k = 0..n,

where x_i(t) is the straight line x_i + t (:func:`of_function`) or a point's orbit under a rotation
(:func:`invariant`). The curve goes into the network as its Taylor coefficients, so all orders are one pass; the loss
is a sum of squares, and Levenberg–Marquardt brings it down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ntaylor.differentiate import derivatives
from ntaylor.least_squares import Settings, State, levenberg_marquardt
from ntaylor.namespace import check_order, describe
from ntaylor.networks import MLP

__all__ = ["CURVE", "RINGS", "Fit", "Samples", "Task", "fit", "fits", "invariant", "of_function"]

Array = Any


@dataclass(frozen=True)
class Samples:
    """What is known: curves t -> x_i(t) through the samples, and derivatives of the function along them.

    ``curve`` holds Taylor coefficients x_0, x_1, … of the curves, each (count, d), or (1, d) if it is the same for
    all; ``targets`` derivatives d^k/dt^k f(x_i(t)) at t = 0 (not Taylor coefficients), (order+1, count); ``weights``
    the ω_k >= 0, 1/k!² each unless given: those by which a Taylor coefficient counts as much as a value. NumPy,
    float64. Raises ValueError for shapes or weights that do not fit.
    """

    curve: Sequence[Array]
    targets: Array
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        curve = [np.asarray(c, dtype=np.float64) for c in self.curve]
        targets = np.asarray(self.targets, dtype=np.float64)
        if (
            not curve
            or curve[0].ndim != 2
            or targets.ndim != 2
            or targets.shape[1] != len(curve[0])
            or not len(targets)
        ):
            raise ValueError(
                "curve starts with points of shape (count, d), and targets has the shape (order+1, count); got "
                f"{describe(curve[0]) if curve else 'no points'} and {describe(targets)}"
            )
        for k, c in enumerate(curve[1:], 1):
            if c.shape not in (curve[0].shape, (1, curve[0].shape[1])):
                raise ValueError(f"coefficient {k} of the curve has shape {c.shape}, the points {curve[0].shape}")
        weights = self.weights
        if weights is None:
            weights = [1 / math.factorial(k) ** 2 for k in range(len(targets))]
        if len(weights) != len(targets) or not all(0 <= w < math.inf for w in weights):
            raise ValueError(f"weights takes {len(targets)} numbers >= 0, one an order from 0 on; got {weights!r}")
        object.__setattr__(self, "curve", tuple(curve))
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "weights", tuple(float(w) for w in weights))

    @property
    def order(self) -> int:
        """The highest derivative that is known."""
        return len(self.targets) - 1

    def to(self, order: int) -> Samples:
        """The same with less known: derivatives to ``order``."""
        return replace(self, targets=self.targets[: order + 1], weights=(self.weights or ())[: order + 1])


def of_function(
    f: Callable[[Array], Array], points: Array, order: int, weights: Sequence[float] | None = None
) -> Samples:
    """Values and derivatives to ``order`` of a function of one variable, from its own jets, at ``points`` (count,).

    Raises as :func:`ntaylor.derivatives` does, ValueError for points of another shape.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 1:
        raise ValueError(f"points are those of a function of one variable, of shape (count,); got {describe(points)}")
    return Samples([points[:, None], np.ones((1, 1))], derivatives(f, points, order), weights)


def invariant(points: Array, values: Array, order: int, weights: Sequence[float] | None = None) -> Samples:
    """Values at ``points`` (count, 2), and that no rotation about 0 changes them: derivatives 1..order along it are 0.

    Order 1 is the published form, the derivative along the tangent (−y, x). Raises TypeError or ValueError for an
    order that is no integer >= 0, ValueError for other shapes.
    """
    check_order(order)
    points, values = np.asarray(points, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or values.shape != points.shape[:1]:
        raise ValueError(
            f"points lie in the plane, (count, 2), and values are (count,); got {describe(points)} and "
            f"{describe(values)}"
        )
    # x(t) = exp(tJ) x with the quarter turn J: its coefficients are J^k x / k!.
    curve = [points]
    for k in range(1, order + 1):
        curve.append(np.stack([-curve[-1][:, 1], curve[-1][:, 0]], axis=1) / k)
    return Samples(curve, np.concatenate([values[None], np.zeros((order, len(values)))]), weights)


@dataclass(frozen=True)
class Fit:
    """A network trained on derivatives to ``order``, the loss Σ_k ω_k mean |…|² it ended with, its steps, and why."""

    network: MLP
    order: int
    loss: float
    steps: int
    finished: str


def fits(network: MLP, samples: Samples, steps: int = 300) -> Iterator[Fit]:
    """Train on values, then on derivatives to order 1, to 2, …, to all that is known; yield what each ended with.

    ``network`` is NumPy's, in float64 and with one output; training starts from its parameters and takes at most
    ``steps`` an order. With all orders at once some starts end in a trap; one after another none has been seen to.
    Levenberg–Marquardt stops at a loss of 1e-20, or where two steps in a row gain less than a thousandth. With more
    parameters than samples it ends near where it started: what lies between the samples comes from there.

    Raises ValueError for a network that does not fit the samples, and for steps < 1.
    """
    width = samples.curve[0].shape[1]
    if network.width_in != width:
        raise ValueError(f"the network takes {network.width_in} features, the samples have {width}")
    outputs = network(samples.curve[0]).shape[-1]
    if outputs != 1:
        raise ValueError(f"the network gives {outputs} outputs, the samples are of one function: make it 1")
    if steps < 1:
        raise ValueError(f"steps takes an integer >= 1, got {steps}")
    return _fits(network, samples, Settings(steps=steps, tolerance=1e-20, stall=1e-3))


def _fits(network: MLP, samples: Samples, settings: Settings) -> Iterator[Fit]:
    for order in range(samples.order + 1):
        system = _System(network, samples.to(order))
        state = State(np.concatenate([np.ravel(p) for p in network.parameters.values()]))
        # These matrices are small: a second BLAS thread gains nothing.
        with threadpool_limits(limits=1, user_api="blas"):
            *_, state = levenberg_marquardt(system, state, settings)
        network = system.network_of(state.theta)
        yield Fit(network, order, state.cost, state.step, state.finished)


def fit(network: MLP, samples: Samples, steps: int = 300) -> Fit:
    """What :func:`fits` ends with: the network trained on all that is known."""
    *_, last = fits(network, samples, steps)
    return last


@dataclass(frozen=True)
class _System:
    """The weighted differences, orders first, as one vector whose square is the loss; and its Jacobian."""

    network: MLP
    samples: Samples
    _scale: Array = field(init=False)
    _targets: Array = field(init=False)

    def __post_init__(self) -> None:
        factorials = np.asarray([math.factorial(k) for k in range(self.samples.order + 1)], dtype=float)[:, None]
        weights = np.asarray(self.samples.weights)[:, None] / self.samples.targets.shape[1]
        object.__setattr__(self, "_scale", np.sqrt(weights) * factorials)  # of differences of Taylor coefficients
        object.__setattr__(self, "_targets", self.samples.targets / factorials)

    def network_of(self, theta: Array) -> MLP:
        parameters, start = {}, 0
        for name, p in self.network.parameters.items():
            parameters[name] = theta[start : start + p.size].reshape(p.shape)
            start += p.size
        return self.network.replace(parameters)

    def residual(self, theta: Array) -> Array:
        return self._difference(self.network_of(theta).propagate(list(self.samples.curve), self.samples.order))

    def residual_and_jacobian(self, theta: Array) -> tuple[Array, Array]:
        count, size = self._targets.shape
        v, pullback = self.network_of(theta).push(list(self.samples.curve), self.samples.order)
        # A cotangent an order, all pulled back at once: 1 at that order's coefficient of every sample.
        ones = np.eye(count)[:, :, None, None]
        cotangents = [np.broadcast_to(ones[:, k], (count, size, 1)) for k in range(len(v))]
        _, gradients = pullback(cotangents, per_sample=True)
        columns = [gradients[name].reshape(count * size, -1) for name in self.network.parameters]
        rows = np.broadcast_to(self._scale, self._targets.shape).reshape(-1, 1)
        return self._difference(v), rows * np.concatenate(columns, axis=1)

    def _difference(self, v: Sequence[Array | None]) -> Array:
        found = np.zeros_like(self._targets)
        for k, c in enumerate(v):
            if c is not None:
                found[k] = c[:, 0]
        return np.ravel(self._scale * (found - self._targets))


# --- what is shown: fits of a known function, from values alone and with derivatives --------------


@dataclass(frozen=True)
class Task:
    """A known function, the samples that a network sees, the network, and the points that errors are taken on."""

    name: str
    f: Callable[[Array], Array]
    """(batch, d) -> (batch,)."""
    samples: Callable[[int, int], Samples]
    """(number of samples, order) -> samples."""
    widths: tuple[int, ...]
    grid: Array

    def fits(self, points: int, order: int, seed: int) -> Iterator[Fit]:
        """The network of ``seed``, trained on ``points`` samples and their derivatives to 0, 1, …, ``order``."""
        return fits(MLP.create(self.widths, seed=seed), self.samples(points, order))

    def error(self, network: MLP) -> float:
        """Root mean square of network − f on the grid."""
        return float(np.sqrt(np.mean((network(self.grid)[:, 0] - self.f(self.grid)) ** 2)))


def _curve(x: Array) -> Array:
    return np.sin(5 * x) + x / 2


def _equidistant(points: int, order: int) -> Samples:
    return of_function(_curve, np.linspace(-1, 1, points), order)


def _rings(x: Array) -> Array:
    return np.cos(4 * np.sqrt(np.sum(x * x, axis=-1)))


def _spiral(points: int, order: int) -> Samples:
    """Samples all over the unit disc, of equal area each: the sunflower's, whose angles never repeat."""
    i = np.arange(points)
    radius, angle = np.sqrt((i + 0.5) / points), i * math.pi * (3 - math.sqrt(5))
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return invariant(x, _rings(x), order)


def _disc() -> Array:
    x = np.linspace(-1, 1, 61)
    plane = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return plane[np.sum(plane**2, axis=1) <= 1]


CURVE = Task(
    "sin 5x + x/2 on [−1, 1]",
    lambda x: _curve(x[:, 0]),
    _equidistant,
    (1, 20, 20, 1),
    np.linspace(-1, 1, 401)[:, None],
)
RINGS = Task("cos 4r on the unit disc, unchanged by rotations", _rings, _spiral, (2, 20, 20, 1), _disc())
