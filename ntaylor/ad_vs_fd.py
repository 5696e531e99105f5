"""Automatic against finite differences: what is compared, cell by cell.

Floor 14: builds the problems, fits random features, trains two-layer networks, and returns plain numbers; what they
say is read off in ``ad_vs_fd_findings``. The question is that of arXiv 2405.14099; its problems are of this file's
making, because its body was not at hand.

The equations are Δ^p u = f, p = 1, 2, 3 (Poisson, biharmonic, triharmonic; u″, u⁗ and u⁽⁶⁾ in one dimension) on
[−1, 1]^d with u, Δu, …, Δ^(p−1) u given on the boundary, and the solution u = Π sin(π x_i + 0.4), for which
Δ^k u = (−d π²)^k u. Every block of rows is divided by the size of its own Δ^k u and by the root of its number of
points, so that |r|² is 1 a block where u = 0. Exact rows and rows by differences differ in nothing but the method.
Steps of differences are powers of two, for then x + s h is a float and no rounding comes of the points.
"""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor import operators, random_features, spectra, training_kernels
from ntaylor.activations import Activation, get, relu_power
from ntaylor.ad_vs_fd_findings import JETS, method_name, smooth_enough
from ntaylor.collocation import Rows, residuals, residuals_and_gradient, residuals_and_jacobian
from ntaylor.networks import MLP
from ntaylor.storage import made_with
from ntaylor.study_records import load_record, rounded, save_record

__all__ = [
    "QUICK",
    "Cell",
    "Settings",
    "activation_named",
    "cells",
    "run",
    "solution",
    "study",
]

Array = Any

_PHASE = 0.4


@dataclass(frozen=True)
class Settings:
    """What a study runs over. All of it is in the record, so that a record is continued only as it was begun."""

    orders: tuple[int, ...] = (2, 4, 6)
    dimensions: tuple[int, ...] = (1, 2)
    activations: tuple[str, ...] = ("tanh", "sin", "relu3")
    seeds: int = 5
    steps: dict[str, list[float]] = field(
        default_factory=lambda: {
            "2": [2.0**-3, 2.0**-5, 2.0**-7, 2.0**-10, 2.0**-13],
            "4": [2.0**-3, 2.0**-4, 2.0**-5, 2.0**-7, 2.0**-9],
            "6": [2.0**-2, 2.0**-3, 2.0**-4, 2.0**-5, 2.0**-6],
        }
    )
    """Order → steps h, coarse to fine."""
    accuracy: int = 2
    features: dict[str, int] = field(default_factory=lambda: {"1": 100, "2": 300})
    """Dimension → how many random features."""
    points: dict[str, int] = field(default_factory=lambda: {"1": 100, "2": 20})
    """Dimension → interior points an axis, for random features."""
    scale: dict[str, float] = field(default_factory=lambda: {"1": 4.0, "2": 2.0})
    """Dimension → s: w and b are uniform in [−s, s]."""
    cutoffs: tuple[float, ...] = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)
    """Relative to σ_1."""
    training_seeds: int = 3
    width: int = 50
    training_points: dict[str, int] = field(default_factory=lambda: {"1": 64, "2": 12})
    training_scale: float = 2.0
    training_steps: dict[str, int] = field(default_factory=lambda: {"1": 1000, "2": 400})
    """Dimension → how many."""
    optimisers: tuple[str, ...] = ("gd", "adam")
    rate: float = 3e-3
    """Of Adam. Gradient descent takes 1/(2 λ_1), λ_1 the largest eigenvalue of the exact rows' kernel at the start."""
    training_fd: tuple[int, ...] = (0,)
    """Which of the order's steps are trained with, beside the chosen one."""
    single: tuple[str, ...] = ("tanh", "sin")
    """Activations that are trained in float32 too, with every step of the order, in one dimension by Adam; and long."""
    long: int = 10_000
    """Steps of the long trainings by Adam, whose rate falls linearly to 0."""
    long_seeds: int = 1


QUICK = Settings(
    seeds=2,
    features={"1": 60, "2": 120},
    points={"1": 60, "2": 12},
    training_seeds=1,
    width=30,
    training_points={"1": 40, "2": 8},
    training_steps={"1": 300, "2": 150},
    training_fd=(0,),
    long=600,
)


@dataclass(frozen=True)
class Cell:
    """One unit of work: fits by every method with one draw of features, or trainings by every method from one start."""

    kind: str
    """ "features", "training" or "long"."""
    order: int
    dimension: int
    activation: str
    seed: int
    optimiser: str = ""
    dtype: str = "float64"

    @property
    def key(self) -> str:
        """Its name in the record."""
        dtype = "" if self.dtype == "float64" else self.dtype
        parts = [self.kind, f"order {self.order}", f"{self.dimension}-D", self.activation, self.optimiser, dtype]
        return ", ".join([*filter(None, parts), f"seed {self.seed}"])


def activation_named(name: str) -> Activation:
    """An activation of the table, or ``reluP`` with any power P."""
    if name.startswith("relu") and name[4:].isdigit():
        return relu_power(int(name[4:]))
    return get(name)


def cells(settings: Settings) -> Iterator[Cell]:
    """Fits, then trainings. A power of ReLU that is too rough is fitted only, and a smoother one joins it."""
    for order in settings.orders:
        for dimension in settings.dimensions:
            for name in settings.activations:
                both = [name] if smooth_enough(name, order) else [name, f"relu{order + 1}"]
                for chosen in both:
                    for seed in range(settings.seeds):
                        yield Cell("features", order, dimension, chosen, seed)
    for order in settings.orders:
        for dimension in settings.dimensions:
            for name in settings.activations:
                chosen = name if smooth_enough(name, order) else f"relu{order + 1}"
                for optimiser in settings.optimisers:
                    for seed in range(settings.training_seeds):
                        yield Cell("training", order, dimension, chosen, seed, optimiser)

    for order in settings.orders:
        for name in settings.single:
            if 1 in settings.dimensions and name in settings.activations and "adam" in settings.optimisers:
                for seed in range(settings.training_seeds):
                    yield Cell("training", order, 1, name, seed, "adam", "float32")
                    if seed < settings.long_seeds:
                        yield Cell("long", order, 1, name, seed, "adam")


def run(cell: Cell, settings: Settings) -> dict[str, Any]:
    """The numbers of a cell, JSON-like: per method, in the order that they ran."""
    found = _fits(cell, settings) if cell.kind == "features" else _trainings(cell, settings)
    return {**asdict(cell), "methods": {name: rounded(figures) for name, figures in found.items()}}


def _made_with() -> dict[str, str]:
    """As every record's, and what else the times depend on."""
    numba = importlib.util.find_spec("numba") is not None and not os.environ.get("NUMBA_DISABLE_JIT")
    return {**made_with(), "threads": os.environ.get("OMP_NUM_THREADS", "all"), "numba": "yes" if numba else "no"}


def study(
    settings: Settings,
    path: Path,
    *,
    each: Callable[[int, int, str], None] | None = None,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Run the cells that the record at ``path`` lacks, written after every one, until ``seconds`` are over.

    ``each(done, of, key)`` is called before every cell and at the end, with an empty key.
    """
    content = load_record(path, asdict(settings))
    wanted = list(cells(settings))
    began = time.monotonic()
    for cell in wanted:
        if cell.key in content["cells"]:
            continue
        if time.monotonic() - began > seconds:
            break
        if each is not None:
            each(len(content["cells"]), len(wanted), cell.key)
        content["cells"][cell.key] = run(cell, settings)
        content["made_with"] = _made_with()
        save_record(path, content)
    if each is not None:
        each(len(content["cells"]), len(wanted), "")
    return content


# --- problems ----------------------------------------------------------------------------------------


def solution(x: Array) -> Array:
    """Π sin(π x_i + 0.4)."""
    return np.prod(np.sin(np.pi * x + _PHASE), axis=-1)


def _ways(steps: Sequence[float | None], accuracy: int) -> dict[str, Callable[[Rows], Rows]]:
    def by(step: float | None) -> Callable[[Rows], Rows]:
        def way(rows: Rows) -> Rows:
            # u itself is a value, with nothing to difference.
            return rows if rows.operator == operators.identity() else rows.by("fd", step=step, accuracy=accuracy)

        return way

    return {JETS: lambda rows: rows, **{method_name(step): by(step) for step in steps}}


def _problem(order: int, dimension: int, count: int, dtype: str = "float64") -> list[Rows]:
    """Exact rows: interior, then Δ^k u on the boundary for k below p."""
    inner = (np.arange(count) + 0.5) / count * 2 - 1
    power = order // 2
    if dimension == 1:
        interior, boundary = inner[:, None], np.asarray([[-1.0], [1.0]])
    else:
        grid = np.meshgrid(*[inner] * dimension, indexing="ij")
        interior = np.stack([g.ravel() for g in grid], axis=-1)
        faces = np.meshgrid(*[inner] * (dimension - 1), indexing="ij")
        on_face = np.stack([g.ravel() for g in faces], axis=-1)
        boundary = np.concatenate(
            [np.insert(on_face, axis, side, axis=1) for axis in range(dimension) for side in (-1.0, 1.0)]
        )

    def rows(k: int, points: Array) -> Rows:
        eigenvalue = (-dimension * np.pi**2) ** k
        values = eigenvalue * solution(points)
        weight = 1 / (abs(eigenvalue) * float(np.sqrt(np.mean(solution(points) ** 2))) * len(points) ** 0.5)
        operator = operators.polyharmonic(k, dimension) if k else operators.identity()
        return Rows(operator, points.astype(dtype), values.astype(dtype), weight)

    return [rows(power, interior), *(rows(k, boundary) for k in range(power))]


def _test_points(dimension: int) -> Array:
    line = np.linspace(-1, 1, 401 if dimension == 1 else 41)
    return np.stack([g.ravel() for g in np.meshgrid(*[line] * dimension, indexing="ij")], axis=-1)


def _diagnosed(values: Array, cutoffs: Sequence[float]) -> dict[str, Any]:
    """A spectrum's figures at every cut-off, as lists."""
    relative = {"relative": True}
    return {
        "largest": float(values[0]),
        "number": [int(spectra.effective_number(values, a, **relative)) for a in cutoffs],
        "entropy": [float(spectra.entropy(values, a, **relative)) for a in cutoffs],
        "normalised": [float(spectra.truncated_entropy(values, a, **relative, normalised=True)) for a in cutoffs],
        "smallest_kept": [float(spectra.smallest_kept(values, a, **relative)) for a in cutoffs],
        "effective_rank": float(spectra.effective_rank(values)),
    }


def _rounded(values: Array) -> list[float]:
    """Four digits, for a picture."""
    return [float(f"{v:.4g}") for v in np.asarray(values)]


def compared(values: Array, exact: Array) -> dict[str, float]:
    """A spectrum beside the exact rows': the largest within 1e-2 of σ_1, and the last quarter by number.

    "large" is max |σ_k/σ_k^exact − 1| of the first; "small" is the geometric mean of σ_k/σ_k^exact of the latter, and
    "small_share" the share of them that are larger.
    """
    large = exact > 1e-2 * exact[0]
    last = slice(3 * len(exact) // 4, None)
    tiny = np.finfo(exact.dtype).tiny
    ratios = np.maximum(values[last], tiny) / np.maximum(exact[last], tiny)
    return {
        "large": float(np.max(np.abs(values[large] / exact[large] - 1))),
        "small": float(np.exp(np.mean(np.log(ratios)))),
        "small_share": float(np.mean(ratios > 1)),
    }


# --- random features ---------------------------------------------------------------------------------


def _fits(cell: Cell, settings: Settings) -> dict[str, Any]:
    dimension = cell.dimension
    features = random_features.create(
        dimension,
        settings.features[str(dimension)],
        activation_named(cell.activation),
        scale=settings.scale[str(dimension)],
        seed=cell.seed,
    )
    exact_rows = _problem(cell.order, dimension, settings.points[str(dimension)])
    test = _test_points(dimension)
    exact_on_test = solution(test)
    features_on_test = features(test)
    found: dict[str, Any] = {}
    exact: Any = None
    for name, way in _ways([*settings.steps[str(cell.order)], None], settings.accuracy).items():
        rows = [way(r) for r in exact_rows]
        random_features.system(features, rows)  # plans and stencils are made once, not a time
        started = time.process_time()
        matrix, right = random_features.system(features, rows)
        seconds = time.process_time() - started
        fits = random_features.solve_at(features, rows, settings.cutoffs)
        # Not those of the fits: computed with vectors, by divide and conquer, small values end at eps·σ_1.
        values = spectra.singular_values(matrix)
        exact = (matrix, values) if exact is None else exact
        solutions = np.stack([fit.coefficients for fit in fits], axis=1)
        off = features_on_test @ solutions - exact_on_test[:, None]
        of_exact_rows = exact[0] @ solutions - right[:, None]
        found[name] = {
            "seconds": seconds,
            **_diagnosed(values, settings.cutoffs),
            **compared(values, exact[1]),
            "residual": [fit.residual for fit in fits],
            "exact_residual": (np.linalg.norm(of_exact_rows, axis=0) / np.linalg.norm(right)).tolist(),
            "error": (np.linalg.norm(off, axis=0) / np.linalg.norm(exact_on_test)).tolist(),
            "condition": [fit.condition for fit in fits],
        }
        if cell.seed == 0:
            found[name]["values"] = _rounded(values)
    return found


# --- two-layer networks ------------------------------------------------------------------------------


def _start(cell: Cell, settings: Settings) -> MLP:
    """Random features as in the fits, with output weights of N(0, 1/width)."""
    width = settings.width
    features = random_features.create(
        cell.dimension, width, activation_named(cell.activation), scale=settings.training_scale, seed=cell.seed
    )  # the same numbers in both dtypes
    coefficients = np.random.default_rng([cell.seed, 1]).standard_normal(width) / width**0.5
    # Powers of ReLU grow with the scale to that power; tanh and sin are of size 1.
    size = float(np.sqrt(np.mean(features(_test_points(cell.dimension)) ** 2)))
    return features.model(coefficients / max(size, 1.0))


def _trainings(cell: Cell, settings: Settings) -> dict[str, Any]:
    exact_rows = _problem(cell.order, cell.dimension, settings.training_points[str(cell.dimension)])
    start = _start(cell, settings)
    rate = settings.rate
    if cell.optimiser == "gd":
        _, jacobian = residuals_and_jacobian(exact_rows, start)
        rate = 0.5 / float(training_kernels.eigenvalues(jacobian)[0])
    steps = settings.steps[str(cell.order)]
    tried = steps if cell.dtype == "float32" else [steps[i] for i in settings.training_fd]
    chosen: list[float | None] = [*tried, None]
    trained = _problem(cell.order, cell.dimension, settings.training_points[str(cell.dimension)], cell.dtype)
    return {
        name: _trained([way(r) for r in trained], exact_rows, start, rate, cell, settings)
        for name, way in _ways(chosen, settings.accuracy).items()
    }


def _trained(
    rows: list[Rows], exact_rows: list[Rows], start: MLP, rate: float, cell: Cell, settings: Settings
) -> dict[str, Any]:
    """A training by gradient descent, or by Adam as published (β 0.9 and 0.999, ε 1e-8), on ½|r|²."""
    net = start.replace({name: p.astype(cell.dtype) for name, p in start.parameters.items()})
    test = _test_points(cell.dimension)
    exact_on_test = solution(test)
    long = cell.kind == "long"
    total = settings.long if long else settings.training_steps[str(cell.dimension)]
    shown = sorted({0, total, *np.geomspace(1, total, 40).astype(int).tolist()})
    at_kernel = {0, total // 10, total}
    curve: dict[str, list[float]] = {"step": [], "loss": [], "exact_loss": [], "error": []}
    kernels: list[dict[str, Any]] = []
    first = {name: 0 * p for name, p in net.parameters.items()}
    second = dict(first)
    seconds, diverged = 0.0, None
    residuals_and_gradient(rows, net)  # what is recorded, or found as exact fractions, is found before the clock runs
    for step in range(total + 1):
        started = time.process_time()
        r, gradient = residuals_and_gradient(rows, net)
        seconds += time.process_time() - started
        loss = float(r @ r)
        if not math.isfinite(loss) or loss > 1e12:
            diverged = step
            break
        if step in shown:
            wide = start.replace({name: p.astype(np.float64) for name, p in net.parameters.items()})
            exact = residuals(exact_rows, wide)
            off = wide(test)[:, 0] - exact_on_test
            curve["step"].append(step)
            curve["loss"].append(loss)
            curve["exact_loss"].append(float(exact @ exact))
            curve["error"].append(float(np.linalg.norm(off) / np.linalg.norm(exact_on_test)))
        if step in at_kernel:
            values = training_kernels.eigenvalues(residuals_and_jacobian(rows, net)[1])
            kernels.append({"step": step, **_diagnosed(values, settings.cutoffs)})
            if cell.seed == 0 and cell.dimension == settings.dimensions[0]:  # those that are drawn
                kernels[-1]["values"] = _rounded(values)
        parameters = {}
        for name, p in net.parameters.items():
            g = gradient[name]
            if cell.optimiser == "adam":
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g * g
                root = np.sqrt(second[name] / (1 - 0.999 ** (step + 1)))
                g = first[name] / (1 - 0.9 ** (step + 1)) / (root + 1e-8)
            parameters[name] = p - (rate * (1 - step / total) if long else rate) * g
        net = net.replace(parameters)
    return {
        "rate": rate,
        "seconds_a_step": seconds / max(1, total + 1 if diverged is None else diverged),
        "diverged_at": diverged,
        "curve": curve,
        "kernels": kernels,
    }
