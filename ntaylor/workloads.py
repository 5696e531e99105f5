"""What a benchmark computes: functions, points and parameters, and the lists of them that are run.

Floor 8: numbers in NumPy's arrays, and functions written against any array namespace. Parameters and points are
float32 numbers in float64 too, so that one reference serves both; a batch repeats a few different points, so that a
reference is quick, which no contestant can profit from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

__all__ = ["FULL_GRID", "PARTS", "PUBLISHED_GRID", "Job", "Workload", "full", "quick"]

Array = Any

_DIFFERENT = 8


@dataclass(frozen=True)
class Workload:
    """One thing to compute: outputs, the sum of their squares, and its gradient by every parameter.

    ``task`` is "derivatives" (along all-ones, derivatives 0..order), "laplacian" or "biharmonic"; ``model`` "network",
    tanh with ``depth`` hidden layers of ``width``, or "function", which is no network.
    """

    order: int = 1
    depth: int = 3
    width: int = 24
    batch: int = 256
    inputs: int = 1
    dtype: str = "float64"
    task: str = "derivatives"
    model: str = "network"

    def __post_init__(self) -> None:
        if self.batch % self.different:
            raise ValueError(f"batch must be a multiple of {self.different}, the different points; got {self.batch}")

    @property
    def label(self) -> str:
        """In words, without the order and the dtype: ``3×24, batch 256``."""
        size = f"{self.depth}×{self.width}" if self.model == "network" else f"function of width {self.width}"
        task = "" if self.task == "derivatives" else f"{self.task} of "
        return f"{task}{size}{f', D = {self.inputs:,}' if self.inputs > 1 else ''}, batch {self.batch}"

    @property
    def key(self) -> str:
        """What tells it from every other."""
        return f"{self.label}, n = {self.order}, {self.dtype}"

    @property
    def different(self) -> int:
        """How many different points the batch repeats."""
        return _DIFFERENT if self.task == "derivatives" else 1

    def parameters(self) -> dict[str, Array]:
        """By name: of a network weights (inputs, outputs) and biases, named as those of an ``nt.MLP``."""
        rng = numpy.random.default_rng(0)

        def drawn(*shape: int, scale: float) -> Array:
            return (rng.standard_normal(shape) * scale).astype(numpy.float32).astype(self.dtype)

        if self.model == "function":
            wide = (self.inputs, self.width)
            return {"A": drawn(*wide, scale=0.7), "B": drawn(*wide, scale=0.7), "c": drawn(self.width, 1, scale=0.3)}
        found = {}
        for i, (a, b) in enumerate(itertools.pairwise(self.widths)):
            found[f"{2 * i}.weight"] = drawn(a, b, scale=(2 / (a + b)) ** 0.5)
            found[f"{2 * i}.bias"] = drawn(b, scale=0.1)
        return found

    @property
    def widths(self) -> list[int]:
        """Of the network, inputs first."""
        return [self.inputs, *[self.width] * self.depth, 1]

    def points(self) -> Array:
        """(batch, inputs), the first ``different`` rows repeated."""
        if self.inputs == 1:
            rows = numpy.linspace(-0.9, 0.9, self.different)[:, None]
        else:
            rows = numpy.random.default_rng(1).standard_normal((self.different, self.inputs))
            rows = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
        index = numpy.arange(self.batch) % self.different
        return rows.astype(numpy.float32).astype(self.dtype)[index]

    def apply(self, parameters: Mapping[str, Array], x: Array, xp: Any) -> Array:
        """The function itself, (…, inputs) → (…, 1), with the operations of ``xp``; complex numbers do too."""
        if self.model == "function":
            decay = xp.exp(-0.5 * xp.sum(x * x, -1, keepdims=True))
            softplus = xp.log(1 + xp.exp(x @ parameters["B"]))
            return (xp.sin(x @ parameters["A"]) * decay / (1 + softplus)) @ parameters["c"]
        for i in range(self.depth + 1):
            x = x @ parameters[f"{2 * i}.weight"] + parameters[f"{2 * i}.bias"]
            if i < self.depth:
                x = xp.tanh(x)
        return x

    def floor(self) -> Workload | None:
        """The plain evaluation of as many numbers, (order+1)·batch rows; None where no such count is meant."""
        return replace(self, order=0, batch=(self.order + 1) * self.batch) if self.task == "derivatives" else None


@dataclass(frozen=True)
class Job:
    """A workload as part of a figure, and which contestants do not take part, by name, mode, both or role."""

    part: str
    workload: Workload
    without: frozenset[str] = frozenset()
    share: float = 1.0
    """Of the seconds that a cell is timed for."""

    def leaves_out(self, name: str, mode: str, role: str) -> bool:
        """Whether this contestant does not take part."""
        return bool(self.without & {name, mode, role, f"{name}, {mode}"})


PARTS = {
    "published": "the published figure: 3×24, batch 256",
    "large": "a larger network: 5×128, batch 1024",
    "function": "a function that is no network",
    "operators": "Laplacian and biharmonic",
    "grid": "the published grid",
    "memory": "peak memory of a step",
}
"""What is measured, by the name that ``ntaylor bench --part`` takes."""

PUBLISHED_GRID = {
    "depth": (3, 5, 7),
    "width": (24, 32, 48, 64, 76, 88, 104, 128),
    "batch": (32, 64, 256, 1024, 4096),
    "order": (1, 3, 6, 8),
}
"""Of arXiv 2412.09752."""

FULL_GRID = {"depth": (3, 5, 7), "width": (24, 64, 128), "batch": (32, 256), "order": (1, 3, 6, 8)}
"""What of it a full run does."""

_MLP, _MODULE, _FUNCTION = "ntaylor, nt.MLP", "ntaylor, nn.Sequential", "ntaylor, function"
_NESTED = frozenset({"nested torch.autograd", "nested jax.grad"})
_OPERATORS = (("laplacian", 10), ("laplacian", 100), ("laplacian", 1000), ("biharmonic", 5), ("biharmonic", 20))


def _orders(
    part: str, like: Workload, orders: Iterable[int], compiled: Sequence[int] = (), without: Iterable[str] = ()
) -> list[Job]:
    """A job an order; PyTorch's compiler, which takes up to a minute, at some of them only."""

    def left_out(n: int) -> frozenset[str]:
        # Minutes at high orders, of compiling and of partitions.
        slow = {"torch-jet, compiled"} if n > 2 else set()
        slow |= {"n-TangentProp"} if n > 10 and like.width > 100 else set()
        slow |= _NESTED if n > 4 and like.width > 100 else set()  # gigabytes, which the others then lack
        slow |= {f"{_MODULE}, compiled"} if n not in (4, 8, 10) else set()
        return frozenset({*without, *slow, *([] if n in compiled else ["compiled"])})

    return [Job(part, replace(like, order=n), left_out(n)) for n in orders]


def full() -> list[Job]:
    """Everything that ``ntaylor bench --full`` measures, in the order in which it does."""
    small, large = Workload(), Workload(depth=5, width=128, batch=1024)
    function = Workload(model="function", inputs=3, width=64, batch=1024)
    jobs = _orders("published", small, range(13), (4, 6, 8, 10))
    jobs += _orders("published", replace(small, dtype="float32"), (1, 4, 8))
    jobs += _orders("large", large, (1, 2, 4, 6, 8, 10, 12, 16), (4, 8, 10), {_FUNCTION})
    jobs += _orders("large", replace(large, dtype="float32"), (4,))
    for task, inputs in _OPERATORS:
        of = Workload(2 if task == "laplacian" else 4, 4, 128, 100, inputs, task=task)
        left_out = {"torch-jet, compiled"} if inputs == 100 else {"compiled"}
        jobs.append(Job("operators", of, frozenset(left_out)))
        if inputs in (100, 5):
            jobs.append(Job("operators", replace(of, dtype="float32"), frozenset({"compiled"})))
    # A batch that makes the arrays large against what a process takes anyhow.
    wide = replace(small, batch=4096)
    jobs += _orders("memory", wide, (1, 4, 7, 16), (4,), {_MODULE, _FUNCTION})
    jobs += _orders("function", function, (1, 2, 4, 6, 8, 10), (4,))
    jobs += _orders("function", replace(function, dtype="float32"), (4,))
    # The two that the published grid compares, and nothing else.
    others = {"compiled", "jitted", "floor", "n-TangentProp", "torch-jet", _MODULE, _FUNCTION, "Numba", "NumPy alone"}
    for n, depth, width, batch in itertools.product(*(FULL_GRID[k] for k in ("order", "depth", "width", "batch"))):
        jobs.append(Job("grid", Workload(n, depth, width, batch), frozenset(others), 0.3))
    return jobs


def quick() -> list[Job]:
    """What a user sees in about a minute: the published network at a few orders, and one operator."""
    jobs = _orders("published", Workload(), (1, 2, 4), without={_FUNCTION})
    jobs += _orders("published", Workload(), (8,), without={_FUNCTION, *_NESTED})
    laplacian = Workload(2, 4, 128, 100, 100, task="laplacian")
    return [*jobs, Job("operators", laplacian, frozenset({"compiled", _FUNCTION, *_NESTED}))]
