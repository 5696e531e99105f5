"""What is trained for in high dimension: the loss of each task, with the Laplacian by each method, and its errors.

Floor 13. What is minimised is the mean squared residual at fresh random points, with the Laplacian by one of the
``METHODS``; everything else, network, optimiser and schedule, is the same for all of them, as in the benchmark of STDE
(arXiv 2412.00088): a tanh network of four hidden layers of 128, Adam with a rate of 1e-3 falling linearly to 0, 100
points a step. The error that is reported is the last one, not the least on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ntaylor import operators
from ntaylor.dispatch import Adapter, Draw
from ntaylor.namespace import array_namespace, near_names
from ntaylor.networks import MLP
from ntaylor.problems.high_dimensional import HighDimensional, baseline, relative_errors
from ntaylor.problems.semilinear import Semilinear

__all__ = ["METHODS", "Elliptic", "Errors", "Parabolic", "Settings", "Task"]

Array = Any
Parameters = Mapping[str, Array]
Loss = Callable[[Parameters, Sequence[Array], Draw], Array]
Predict = Callable[[Parameters, Sequence[Array], Array], Array]
Evaluate = Callable[[Array], Array]
Errors = dict[str, float | None]

METHODS = {
    "compressed": "exact, by the directions that the first layer tells apart",
    "sparse": "estimated from randomly chosen coordinates, without replacement",
    "rademacher": "estimated from random directions with entries ±1",
    "gaussian": "estimated from random directions with entries of N(0, 1)",
    "full-ad": "exact, by the library's own nested automatic differentiation",
}
"""How the Laplacian is had."""


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides its task. Raises ValueError for values that make no sense."""

    backend: str = "jax"
    method: str = "compressed"
    samples: int = 16
    unbiased: bool = False
    """Estimate with two independent sets, whose residuals are multiplied; as published the one residual is squared."""
    steps: int = 10_000
    batch: int = 100
    rate: float = 1e-3
    beta2: float = 0.999
    """Adam's memory of squared gradients, 1/(1 − β₂) steps. The first gradients, of a solution that is far off in the
    mean, are much larger than those left when it is right: at 0.999 they hold back thousands of later steps."""
    seed: int = 0
    dtype: str = "float32"
    depth: int = 4
    width: int = 128
    test_points: int = 20_000

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"there is no method {self.method!r}: {near_names(self.method, list(METHODS))}")
        for name in ("samples", "steps", "batch", "depth", "width", "test_points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"the rate must be a positive number, such as 1e-3; got {self.rate}")
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2 must be a number from 0 to below 1, such as 0.99; got {self.beta2}")
        if self.unbiased and not self.estimates:
            raise ValueError(
                f"unbiased is for methods that estimate; {self.method} is exact: leave it out, or take --method sparse"
            )

    @property
    def estimates(self) -> bool:
        """Whether the Laplacian is a random estimate."""
        return self.method in ("sparse", "rademacher", "gaussian")


_LARGEST = 2**24
"""Numbers in one array of test points."""


# --- tasks ------------------------------------------------------------------------------------------


class Task(Protocol):
    """What is trained for."""

    inputs: int

    def describe(self) -> dict[str, Any]:
        """The task in words and numbers, for reports; two tasks with equal descriptions are one."""

    def constants(self) -> tuple[Array, ...]:
        """NumPy arrays that the loss needs."""

    def loss(self, net: MLP, settings: Settings, adapter: Adapter) -> Loss:
        """The loss as a function of parameters, constants and a draw."""

    def predictor(self, net: MLP) -> Predict:
        """u (batch,) as a function of parameters, constants and points."""

    def errors(self, evaluate: Evaluate, settings: Settings) -> Errors:
        """The errors that are reported, and the baseline's beside them, of u as a function of NumPy points."""

    def watch(self, evaluate: Evaluate, settings: Settings) -> Callable[[], float | None]:
        """A function that measures one error on the way, quickly."""


def _plain(net: MLP, parameters: Parameters, x: Array) -> Array:
    """The network by the library's own operations, (batch,): what nested automatic differentiation sees."""
    tanh = array_namespace(x).tanh
    arrays = [parameters[name] for name in net.parameters]  # JAX sorts a dict's keys
    for weight, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        x = tanh(x @ weight + bias)
    return (x @ arrays[-2] + arrays[-1])[..., 0]


def _square(residual: Array) -> Array:
    """r² of one set of samples, or r₁r₂ of two: its mean is then that of the squared exact residual."""
    return residual[0] * residual[1] if residual.ndim == 2 else residual * residual


@dataclass(frozen=True)
class Elliptic:
    """Δu + f(u) = g in the unit ball, u = (1 − ‖x‖²) net(x)."""

    problem: HighDimensional

    @property
    def inputs(self) -> int:
        return self.problem.dimension

    def describe(self) -> dict[str, Any]:
        p = self.problem
        return {"equation": p.equation, "solution": p.solution, "dimension": p.dimension, "solution_seed": p.seed}

    def constants(self) -> tuple[Array, ...]:
        return (self.problem.coefficients(),)

    def loss(self, net: MLP, settings: Settings, adapter: Adapter) -> Loss:
        problem = self.problem
        # As Δ(1 − ‖x‖²) is −2D, squares of the residual would leave float32 in a million dimensions. Adam does not
        # see a constant factor.
        scale = 1 / (2 * problem.dimension)

        def loss(parameters: Parameters, constants: Sequence[Array], draw: Draw) -> Array:
            x = problem.sample(draw.normal, draw.uniform, settings.batch)
            value, laplacian = self._laplacian(net, parameters, x, settings, adapter, draw)
            residual = (laplacian + problem.reaction(value) - problem.forcing(x, *constants)) * scale
            return array_namespace(x).mean(_square(residual))

        return loss

    def _laplacian(
        self, net: MLP, parameters: Parameters, x: Array, settings: Settings, adapter: Adapter, draw: Draw
    ) -> tuple[Array, Array]:
        """u (batch,) and Δu, (batch,) or of two sets (2, batch)."""
        if settings.method == "full-ad":
            assert adapter.hessian_diagonal is not None
            value, _, diagonal = adapter.hessian_diagonal(lambda x: _in_ball(_plain(net, parameters, x), x), x)
            return value, array_namespace(x).sum(diagonal, axis=-1)
        u = operators.HardConstraint(net.replace(parameters), operators.Radial(_one_less))
        if settings.estimates:
            return _estimated(operators.laplacian(), u, x, settings, draw)
        value, laplacian = operators.jointly((operators.identity(), operators.laplacian()), u, x)
        return value[..., 0], laplacian[..., 0]

    def predictor(self, net: MLP) -> Predict:
        def predict(parameters: Parameters, constants: Sequence[Array], x: Array) -> Array:
            return _in_ball(net.replace(parameters)(x)[..., 0], x)

        return predict

    def errors(self, evaluate: Evaluate, settings: Settings) -> Errors:
        (c,) = self.constants()
        found, exact, squares = [], [], []
        for x in self.problem.test_points(settings.test_points, settings.dtype, _LARGEST):
            found.append(evaluate(x).astype(np.float64))
            # The same points, rounded to the run's dtype, but the exact solution in float64.
            x = x.astype(np.float64)
            exact.append(self.problem.exact(x, c))
            squares.append(np.sum(x * x, axis=-1))
        u = np.concatenate(exact)
        l2, l1 = relative_errors(np.concatenate(found), u)
        baseline_l2, baseline_l1 = baseline(np.concatenate(squares), u)
        return {"l2": l2, "l1": l1, "baseline_l2": baseline_l2, "baseline_l1": baseline_l1}

    def watch(self, evaluate: Evaluate, settings: Settings) -> Callable[[], float | None]:
        # Every report of a run looks at all of them: few points where they are long.
        count = min(settings.test_points, 2000, max(100, _LARGEST // self.problem.dimension))
        points = list(self.problem.test_points(count, settings.dtype, _LARGEST))
        (c,) = self.constants()
        exact = np.concatenate([self.problem.exact(x.astype(np.float64), c) for x in points])

        def measure() -> float | None:
            return relative_errors(np.concatenate([evaluate(x) for x in points]).astype(np.float64), exact)[0]

        return measure


def _one_less(s: Array, xp: Any) -> Array:
    return 1 - s


def _in_ball(v: Array, x: Array) -> Array:
    return (1 - array_namespace(x).sum(x * x, axis=-1)) * v


def _estimated(operator: Any, u: Any, x: Array, settings: Settings, draw: Draw) -> tuple[Array, Array]:
    """(primal, estimate), without the feature axis; of two sets the estimate has an axis in front."""
    found = operator.estimate(
        u,
        x,
        samples=settings.samples,
        rng=draw.rng(),
        kind=settings.method,
        sets=2 if settings.unbiased else 1,
        standard_error=False,  # without it the top order is carried summed
    )
    return found.primal[..., 0], found.value[..., 0]


@dataclass(frozen=True)
class Parabolic:
    """u_t = Δu + f(u), u(0, ·) = g on the whole space, for u at (0.3, 0).

    ``initial`` is "hard", u = g + t net, where g is smooth, or "soft": u = net, and ten times the squared difference
    at as many random points with t = 0 is added to the loss.
    """

    problem: Semilinear
    initial: str = "hard"

    def __post_init__(self) -> None:
        if self.initial not in ("hard", "soft"):
            raise ValueError(f"the initial value is imposed 'hard' or 'soft', got {self.initial!r}")
        if self.initial == "hard" and not self.problem.smooth:
            raise ValueError(
                f"the initial value of {self.problem.equation} has kinks, so that u = g + t net cannot solve it: give "
                "--initial soft"
            )

    @property
    def inputs(self) -> int:
        return self.problem.dimension + 1

    def describe(self) -> dict[str, Any]:
        p = self.problem
        return {"equation": p.equation, "semilinear": True, "dimension": p.dimension, "initial": self.initial}

    def constants(self) -> tuple[Array, ...]:
        return ()

    def loss(self, net: MLP, settings: Settings, adapter: Adapter) -> Loss:
        problem = self.problem

        def loss(parameters: Parameters, constants: Sequence[Array], draw: Draw) -> Array:
            points = problem.sample(draw.normal, draw.uniform, settings.batch)
            xp = array_namespace(points)
            v, heat = self._heat(net, parameters, points, settings, adapter, draw)
            if self.initial == "hard":
                t, x = points[..., 0], points[..., 1:]
                # u_t − Δu of u = g + tv
                v, heat = problem.initial(x) + t * v, v + t * heat - problem.initial_laplacian(x)
            total = xp.mean(_square(heat - problem.reaction(v)))
            if self.initial == "hard":
                return total
            at_start = problem.sample_initial(draw.normal, settings.batch)
            miss = net.replace(parameters)(at_start)[..., 0] - problem.initial(at_start[..., 1:])
            return total + 10 * xp.mean(miss * miss)

        return loss

    def _heat(
        self, net: MLP, parameters: Parameters, points: Array, settings: Settings, adapter: Adapter, draw: Draw
    ) -> tuple[Array, Array]:
        """v and v_t − Δ_x v of the network itself, (batch,), the latter of two sets (2, batch)."""
        if settings.method == "full-ad":
            assert adapter.hessian_diagonal is not None
            v, gradient, diagonal = adapter.hessian_diagonal(lambda x: _plain(net, parameters, x), points)
            return v, gradient[..., 0] - array_namespace(points).sum(diagonal[..., 1:], axis=-1)
        laplacian = operators.laplacian()
        in_time = operators.D(0) + operators.D(0, 0)  # ∂_t, and the ∂_tt that the Laplacian of (t, x) has too much
        v = net.replace(parameters)
        if settings.estimates:
            time_part = in_time(v, points)[..., 0]
            value, estimate = _estimated(laplacian, v, points, settings, draw)
            return value, time_part - estimate
        value, time_part, all_part = operators.jointly((operators.identity(), in_time, laplacian), v, points)
        return value[..., 0], (time_part - all_part)[..., 0]

    def predictor(self, net: MLP) -> Predict:
        def predict(parameters: Parameters, constants: Sequence[Array], points: Array) -> Array:
            v = net.replace(parameters)(points)[..., 0]
            return self.problem.initial(points[..., 1:]) + points[..., 0] * v if self.initial == "hard" else v

        return predict

    def errors(self, evaluate: Evaluate, settings: Settings) -> Errors:
        published, guess = self.problem.published, self.problem.baseline()
        value = self._value(evaluate)
        return {
            "value": value,
            "published_value": published,
            "baseline_value": guess,
            "relative": None if published is None else abs(value / published - 1),
            "baseline_relative": None if published is None else abs(guess / published - 1),
        }

    def watch(self, evaluate: Evaluate, settings: Settings) -> Callable[[], float | None]:
        published = self.problem.published
        return lambda: None if published is None else abs(self._value(evaluate) / published - 1)

    def _value(self, evaluate: Evaluate) -> float:
        point = np.zeros((1, self.inputs))
        point[0, 0] = self.problem.horizon
        return float(evaluate(point)[0])
