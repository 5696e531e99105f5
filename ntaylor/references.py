"""What a workload's outputs and the slope of its loss are: Cauchy's integral on values of the plain function.

Floor 9. Nothing of Taylor arithmetic, of adjoints or of any autograd: the function is called with complex points and
complex parameters. Derivatives are compared entry by entry; the gradient along random directions in the space of all
parameters, in which no error can hide but by chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from ntaylor.value_oracles import on_circles
from ntaylor.workloads import Workload

__all__ = ["Reference", "errors", "reference", "tolerance"]

Array = Any


@dataclass(frozen=True)
class Reference:
    """Of the orders 0..n together: outputs (n+1, different), and d loss_k/ds of parameters + s·v by the batch.

    loss_k is that of the orders 0..k.
    """

    outputs: Array
    slopes: Array


def tolerance(dtype: str) -> float:
    """The relative error from which on a contestant is wrong: 1e-8 in float64, 2e-3 in float32.

    Wide, as it has to tell another result from another rounding: the published algorithm's tables cancel.
    """
    return 1e-8 if dtype == "float64" else 2e-3


def _directions(workload: Workload) -> tuple[list[Array], list[float], int]:
    """Input directions, the weight of the top derivative along each, and the order of that."""
    d = workload.inputs
    axes = numpy.eye(d)
    if workload.task == "laplacian":
        return list(axes), [1.0] * d, 2
    # ∂_i²∂_j² = (D⁴ along i+j + along i−j − 2 D⁴_i − 2 D⁴_j)/12; Δ² = Σ_i D⁴_i + 2 Σ_{i<j} ∂_i²∂_j².
    pairs = list(itertools.combinations(range(d), 2))
    sums = [axes[i] + sign * axes[j] for i, j in pairs for sign in (1, -1)]
    return [*axes, *sums], [1 - (d - 1) / 3] * d + [1 / 6] * len(sums), 4


def _outputs(workload: Workload, parameters: Mapping[str, Array], real: bool) -> Array:
    """Derivatives (order+1, different), or the operator (1, different), of real or complex parameters."""
    x = workload.points()[: workload.different].astype(numpy.float64)
    if workload.task == "derivatives":

        def along(t: complex) -> Array:
            return workload.apply(parameters, x + t, numpy)[:, 0]

        order = workload.order
        # Singularities may be near or far: the best of several circles, at every order.
        points = max(64, 8 * order)
        found = on_circles(along, order, 1.0, real, exponents=(-0.5, 0, 0.25, 0.5, 0.75, 1, 1.5, 2), points=points)
    else:
        directions, weights, order = _directions(workload)
        steps = numpy.stack(directions)[:, None, :]

        def along(t: complex) -> Array:
            return workload.apply(parameters, x + t * steps, numpy)[..., 0]

        # One circle: wide enough for rounding, which grows as r^−order, and small enough for so few points.
        exponent, points = (4, 16) if order == 2 else (2, 32)
        found = on_circles(along, order, 1.0, real, exponents=(exponent,), points=points)
    if found is None:
        raise ArithmeticError(f"Cauchy's integral gives nothing for {workload.key}: the function is not holomorphic")
    if workload.task == "derivatives":
        return numpy.stack([math.factorial(k) * found[k].coefficient for k in range(order + 1)])
    return (math.factorial(order) * numpy.asarray(weights) @ found[order].coefficient)[None]


def _random_direction(workload: Workload) -> dict[str, Array]:
    """A direction in the space of the parameters, of the size of the parameters."""
    rng = numpy.random.default_rng(2)
    return {name: rng.standard_normal(p.shape) * float(numpy.std(p)) for name, p in workload.parameters().items()}


def reference(workload: Workload) -> Reference:
    """Outputs and slopes of a workload and of the same with any lower order; takes seconds where it is wide."""
    parameters = {name: p.astype(numpy.float64) for name, p in workload.parameters().items()}
    v = _random_direction(workload)

    def losses(s: complex) -> Array:
        moved = {name: p + s * v[name] for name, p in parameters.items()}
        return numpy.cumsum(numpy.mean(_outputs(workload, moved, real=False) ** 2, axis=1))

    found = on_circles(losses, 1, 1.0, True, exponents=(7,), points=16)
    if found is None:
        raise ArithmeticError(f"Cauchy's integral gives no slope for {workload.key}")
    return Reference(_outputs(workload, parameters, real=True), found[1].coefficient)


def errors(workload: Workload, exact: Reference, outputs: Array, gradient: Mapping[str, Array]) -> tuple[float, float]:
    """(of the outputs, of the gradient), relative and the worst: by the largest of an order; by a slope's usual size.

    Outputs are (rows, batch) or of as many entries; the reference may be of a higher order. NaN where something is no
    number.
    """
    rows = workload.order + 1 if workload.task == "derivatives" else 1
    found = numpy.asarray(outputs, numpy.float64).reshape(rows, workload.batch)
    wanted = exact.outputs[:rows, numpy.arange(workload.batch) % workload.different]
    worst = numpy.max(numpy.abs(found - wanted) / numpy.max(numpy.abs(wanted), axis=1, keepdims=True))
    v, slope = _random_direction(workload), exact.slopes[rows - 1] * workload.batch
    g = {name: numpy.asarray(gradient[name], numpy.float64) for name in v}
    size, length = (sum(float(numpy.sum(a * a)) for a in d.values()) for d in (g, v))
    usual = math.sqrt(size * length / sum(a.size for a in v.values()))
    off = sum(float(numpy.sum(g[name] * v[name])) for name in v) - slope
    return float(worst), float(abs(off) / max(abs(slope), usual))
