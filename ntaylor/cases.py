"""The matrix of ``ntaylor verify``: tiny networks and functions, and what is exact for them.

Floor 8. Parameters, points and directions are numbers of float32, so that one exact answer serves both dtypes. Every
case has three distinct points, repeated to 513 rows: more than one block of a kernel, and no whole number of them; one
has 1026, from which on NumPy's kernels are compiled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy

from ntaylor import fifty_digits
from ntaylor.layers import Activate, Dense, FourierFeatures
from ntaylor.networks import MLP

__all__ = ["COMBINED", "FUNCTIONS", "NETWORKS", "Case", "Exact", "activation_cases"]

Array = Any
_REPEATS = 171
_MANY = 342


@dataclass(frozen=True)
class Exact:
    """Derivatives (order+1, points, outputs), and of each order's term of the loss the gradient by every parameter.

    Each array is a pair of float64 ones, the nearest and what it lacks, so that a difference from it is exact to
    rounding.
    """

    derivatives: tuple[numpy.ndarray, numpy.ndarray]
    gradients: list[dict[str, tuple[numpy.ndarray, numpy.ndarray]]]
    scales: list[float]
    """By which the loss multiplies each order: powers of two that bring derivatives near 1."""


@dataclass(frozen=True, eq=False)
class Case:
    """One function with parameters, where it is differentiated, and its value in mpmath.

    ``function(xp, dtype, device)`` gives (parameters, f) in a library: a dict of arrays, and f(parameters) the function
    of x to be differentiated. ``value(u, parameters)`` is the same at one point in mpmath numbers: lists of features
    in and out, parameters as nested lists.
    """

    name: str
    points: numpy.ndarray
    """(3, d), float32."""
    direction: numpy.ndarray | None
    """(d,) or (3, d), float32; None for d = 1."""
    parameters: Mapping[str, numpy.ndarray]
    function: Callable[[Any, Any, Any], Callable[[Mapping[str, Array]], Callable[[Array], Array]]]
    value: Callable[[list[Any], Mapping[str, Any]], list[Any]]
    repeats: int = _REPEATS

    @property
    def rows(self) -> tuple[numpy.ndarray, numpy.ndarray | None]:
        """x (rows, d) and the direction (d,) or (rows, d), float32: the points over and over."""
        direction = self.direction
        if direction is not None and direction.ndim == 2:
            direction = numpy.tile(direction, (self.repeats, 1))
        return numpy.tile(self.points, (self.repeats, 1)), direction

    @property
    def weight(self) -> float:
        """Of a row's square in the loss: one half of what makes it a sum over the distinct points."""
        return 0.5 / self.repeats

    @functools.cache  # noqa: B019 the cases are few and live as long as the process
    def exact(self, order: int, gradients: bool = True) -> Exact:
        """What is exact to ``order``: by mpmath, once for all backends, devices and dtypes."""
        with fifty_digits.digits():
            parameters = {name: _in_mpmath(p.tolist()) for name, p in self.parameters.items()}
            found = self._derivatives(parameters, order)
            largest = [max(abs(c) for point in of_order for c in point) for of_order in found]
            scales = [2.0 ** -math.frexp(float(size))[1] if size else 1.0 for size in largest]

            def terms(moved: Mapping[str, Any]) -> list[Any]:
                """Of the loss ½ Σ_k Σ (s_k u^(k))², one an order."""
                return [
                    sum((s * c) ** 2 for point in of_order for c in point) / 2
                    for s, of_order in zip(scales, self._derivatives(moved, order), strict=True)
                ]

            by_order = fifty_digits.gradient(terms, parameters) if gradients else []
            return Exact(
                _split(found),
                [
                    {name: _split(flat, self.parameters[name].shape) for name, flat in of_order.items()}
                    for of_order in by_order
                ],
                scales,
            )

    def _derivatives(self, parameters: Mapping[str, Any], order: int) -> list[list[list[Any]]]:
        """u^(k) at every point: [order][point][output]."""
        points = self.points.tolist()
        direction = [[1.0]] if self.direction is None else numpy.atleast_2d(self.direction).tolist()
        directions = direction * len(points) if len(direction) == 1 else direction
        of_points = []
        for x, v in zip(points, directions, strict=True):

            def along(t: Any, x: list[float] = x, v: list[float] = v) -> list[Any]:
                return self.value([a + t * b for a, b in zip(x, v, strict=True)], parameters)

            of_points.append(fifty_digits.coefficients(along, order))
        return [[[math.factorial(k) * c for c in at[k]] for at in of_points] for k in range(order + 1)]


def _in_mpmath(numbers: Any) -> Any:
    """Nested lists of floats as nested lists of mpmath numbers: the same numbers."""
    import mpmath

    return [_in_mpmath(entry) for entry in numbers] if isinstance(numbers, list) else mpmath.mpf(numbers)


def _split(exact: Any, shape: tuple[int, ...] | None = None) -> tuple[numpy.ndarray, numpy.ndarray]:
    nearest = numpy.vectorize(float, otypes=[float])(numpy.asarray(exact, dtype=object))
    rest = numpy.vectorize(float, otypes=[float])(numpy.asarray(exact, dtype=object) - nearest)
    return (nearest, rest) if shape is None else (nearest.reshape(shape), rest.reshape(shape))


# --- networks -------------------------------------------------------------------------------------


def _of_network(
    name: str,
    create: Callable[[Any, Any, Any], MLP],
    parameters: Mapping[str, numpy.ndarray],
    points: numpy.ndarray,
    direction: numpy.ndarray | None,
) -> Case:
    template = create(numpy, numpy.float32, None)

    def value(u: list[Any], exact_parameters: Mapping[str, Any]) -> list[Any]:
        return fifty_digits.value(template, u, exact_parameters)

    return Case(name, points, direction, parameters, lambda *space: create(*space).replace, value)


def _created(name: str, widths: list[int], activation: str = "tanh", one_each: bool = False, **options: Any) -> Case:
    """A network of ``MLP.create`` with biases that are not zero; one direction for all points, or ``one_each``."""

    def create(xp: Any, dtype: Any, device: Any) -> MLP:
        return MLP.create(widths, activation, xp=xp, dtype=dtype, device=device, seed=1, **options)

    rng = numpy.random.default_rng(len(name))
    template = create(numpy, numpy.float32, None)
    parameters = {
        key: (p + 0.2 * rng.standard_normal(p.shape)).astype(numpy.float32) for key, p in template.parameters.items()
    }
    return _of_network(name, create, parameters, *_points(rng, widths[0], one_each))


def _points(
    rng: numpy.random.Generator, width: int, one_each: bool = False
) -> tuple[numpy.ndarray, numpy.ndarray | None]:
    points = rng.uniform(-0.9, 0.9, (3, width)).astype(numpy.float32)
    if width == 1:
        return points, None
    return points, rng.standard_normal((3, width) if one_each else (width,)).astype(numpy.float32)


def _fourier(name: str) -> Case:
    """Frequencies of float32 in every dtype, which those of ``MLP.create`` are not."""
    rng = numpy.random.default_rng(7)
    frequencies = (0.25 * rng.standard_normal((2, 2))).astype(numpy.float32)

    def create(xp: Any, dtype: Any, device: Any) -> MLP:
        rest = MLP.create([4, 3, 1], xp=xp, dtype=dtype, device=device, seed=1)
        return MLP([FourierFeatures(xp.asarray(frequencies.tolist(), dtype=dtype, device=device)), *rest.layers])

    parameters = {
        key: (p + 0.2 * rng.standard_normal(p.shape)).astype(numpy.float32)
        for key, p in create(numpy, numpy.float32, None).parameters.items()
    }
    return _of_network(name, create, parameters, *_points(rng, 2))


NETWORKS: tuple[Case, ...] = (
    _created("plain", [1, 3, 3, 1]),
    replace(_created("many rows", [1, 3, 3, 1]), repeats=_MANY),
    _created("no bias", [1, 3, 3, 1], bias=False),
    _created("residual", [1, 3, 3, 1], residual=True),
    _created("gated", [1, 3, 3, 1], gated=True),
    _created("odd", [1, 3, 1], odd=True),
    _fourier("fourier"),
    _created("periodic", [2, 3, 1], periods=(2.0, None)),
    _created("ranges", [1, 3, 1], input_range=(-1.0, 3.0), output_range=(-4.0, 4.0)),
    _created("learnable snake", [1, 3, 3, 1], "snake"),
    _created("learnable tanh", [1, 3, 3, 1], "adaptive_tanh"),
    _created("several inputs", [3, 3, 3, 2]),
    _created("many directions", [2, 3, 1], "gelu", one_each=True),
)
"""Every kind of layer and option, alone."""

COMBINED: tuple[Case, ...] = (
    _created("deep", [1, 3, 3, 3, 3, 1], "silu"),
    _created("odd residual", [2, 3, 3, 1], "sin", odd=True, residual=True),
    _created("gated periodic", [1, 2, 2, 1], "sigmoid", gated=True, periods=(3.0,)),
)
"""Several layers and options together."""


# --- activations ------------------------------------------------------------------------------------

_ORDINARY = ((-0.7, 0.9), 0.8)
_POSITIVE = ((1.25, 2.0), 0.8)
_BRANCHES = ((-1.25, 1.0), 0.8)
_CENTRES = {
    **dict.fromkeys(("log", "log2", "log10", "log1p", "sqrt", "reciprocal"), _POSITIVE),
    **dict.fromkeys(("asin", "acos", "atanh"), ((-0.2, 0.1), 0.5)),
    **dict.fromkeys(("elu", "softsign", "relu", "relu2", "relu3", "relu4", "relu5"), _BRANCHES),
    "acosh": ((2.25, 3.0), 0.8),
    "tan": ((-0.3, 0.2), 0.7),
}
"""Where an activation is evaluated: u within the spread of each of two centres, which lie in its domain."""


def activation_cases() -> list[Case]:
    """A network of one hidden layer for every built-in activation, at points of its domain, off its kinks."""
    return [_activation(name) for name in sorted(fifty_digits.FUNCTIONS)]


@functools.cache
def _activation(name: str) -> Case:
    centres, spread = _CENTRES.get(name, _ORDINARY)

    def create(xp: Any, dtype: Any, device: Any) -> MLP:
        def array(values: Any) -> Array:
            return xp.asarray(values, dtype=dtype, device=device)

        # The learnable ones are not at their starting values.
        learnable = {key: array(1.25) for key in ("a",) if name in ("snake", "adaptive_tanh")}
        hidden = Dense(array([[spread, -0.75 * spread]]), array(list(centres)))
        return MLP([hidden, Activate(name, learnable), Dense(array([[1.0], [-0.75]]), array([0.5]))])

    parameters = create(numpy, numpy.float32, None).parameters
    points = numpy.asarray([[-0.875], [0.125], [0.75]], numpy.float32)
    return _of_network(name, create, dict(parameters), points, None)


# --- functions ----------------------------------------------------------------------------------------


def _space(x: Any, xp: Any) -> Any:
    """The namespace of x where it has one, as jets do, else the library's own."""
    own = getattr(x, "__array_namespace__", None)
    return xp if own is None else own()


def _of_function(
    name: str,
    parameters: Mapping[str, Any],
    write: Callable[[Any, Mapping[str, Any], Any], Any],
    value: Callable[[list[Any], Mapping[str, Any]], Any],
    width: int = 1,
) -> Case:
    """``write(x, p, xp)`` maps (rows, width) to (rows, 1), ``value`` one point's list to a number."""

    def function(xp: Any, dtype: Any, device: Any) -> Callable[[Mapping[str, Array]], Callable[[Array], Array]]:
        return lambda p: lambda x: write(x, p, _space(x, xp))

    rng = numpy.random.default_rng(len(name))
    arrays = {key: numpy.asarray(p, numpy.float32) for key, p in parameters.items()}
    return Case(name, *_points(rng, width), arrays, function, lambda u, p: [value(u, p)])


def _mp(name: str) -> Callable[..., Any]:
    import mpmath

    return getattr(mpmath, name)  # type: ignore[no-any-return]


def _waves(x: Any, p: Mapping[str, Any], xp: Any) -> Any:
    return p["a"] * xp.exp(xp.sin(p["b"] * x)) / (1 + x**2)


def _roots(x: Any, p: Mapping[str, Any], xp: Any) -> Any:
    return xp.sqrt(p["a"] + x * x) * xp.log(2 - x) - xp.atan(p["b"] * x) ** 3


def _attention(x: Any, p: Mapping[str, Any], xp: Any) -> Any:
    weights = xp.exp(x @ p["keys"])
    return xp.sum(weights * xp.tanh(x @ p["values"]), axis=-1, keepdims=True) / xp.sum(weights, axis=-1, keepdims=True)


def _attention_value(u: list[Any], p: Mapping[str, Any]) -> Any:
    def products(name: str) -> list[Any]:
        return [_mp("fdot")(u, column) for column in zip(*p[name], strict=True)]

    weights = [_mp("exp")(a) for a in products("keys")]
    values = [_mp("tanh")(a) for a in products("values")]
    return _mp("fdot")(weights, values) / sum(weights)


def _columns(x: Any, p: Mapping[str, Any], xp: Any) -> Any:
    a, b = x[:, 0:1], x[:, 1:2]
    return xp.cos(p["a"] * a * b) / (2 + b) + xp.sinh(a - b) * p["b"]


FUNCTIONS: tuple[Case, ...] = (
    _of_function(
        "exp sin quotient",
        {"a": 1.25, "b": 1.5},
        _waves,
        lambda u, p: p["a"] * _mp("exp")(_mp("sin")(p["b"] * u[0])) / (1 + u[0] ** 2),
    ),
    _of_function(
        "sqrt log atan",
        {"a": 1.75, "b": 0.75},
        _roots,
        lambda u, p: _mp("sqrt")(p["a"] + u[0] ** 2) * _mp("log")(2 - u[0]) - _mp("atan")(p["b"] * u[0]) ** 3,
    ),
    _of_function(
        "attention",
        {"keys": [[0.5, -0.75, 1.0], [0.25, 0.5, -0.5]], "values": [[1.0, 0.5, -1.25], [-0.5, 0.75, 0.25]]},
        _attention,
        _attention_value,
        width=2,
    ),
    _of_function(
        "columns cos sinh",
        {"a": 1.5, "b": -0.5},
        _columns,
        lambda u, p: _mp("cos")(p["a"] * u[0] * u[1]) / (2 + u[1]) + _mp("sinh")(u[0] - u[1]) * p["b"],
        width=2,
    ),
)
"""Functions of array operations, which jets are pushed through."""
