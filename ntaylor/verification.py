"""Whether the backends of this machine give what they should: ``ntaylor verify``.

Floor 9. Runs the matrix of ``cases`` on every backend, device and dtype found, and measures derivatives and gradients
against mpmath and against the first backend. A backend is data here, a row of a table; it is imported by its name when
its turn comes, and one that is not installed is a row that says so.

An error is relative and in norm: for each order k, max |error| over the points and outputs by max |exact|; for a
gradient, of the parameters together, that of the whole loss of orders 0..n. Where an order is exactly zero, as a
polynomial's high ones, it is measured by the largest order that is not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy

from ntaylor import cases, differentiate
from ntaylor.namespace import array_namespace, near_names

__all__ = [
    "BACKENDS",
    "DTYPES",
    "HIGHEST",
    "Backend",
    "Result",
    "Row",
    "chosen",
    "planned",
    "rows",
    "short_name",
    "tolerance",
    "ulp",
]

Array = Any
Namespace = Any

HIGHEST = 12
_QUICK = 8
DTYPES = ("float64", "float32")


def ulp(dtype: str) -> float:
    """The unit in which errors are counted: the distance from 1 to the next number of this dtype."""
    return float(numpy.finfo(dtype).eps)


def tolerance(dtype: str) -> float:
    """The relative error that is allowed, at every order: 1e-12 in float64, which is 4504 units of rounding.

    In float32 it is the same number of units, 5.4e-4.
    """
    return 1e-12 / ulp("float64") * ulp(dtype)


# --- backends ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _jax_in_float64() -> Iterator[None]:
    config = importlib.import_module("jax").config
    before = config.jax_enable_x64
    config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        config.update("jax_enable_x64", before)


def _torch_devices(xp: Namespace) -> list[Any]:
    return ["cpu", *(f"cuda:{i}" for i in range(xp.cuda.device_count()))]


def _jax_devices(xp: Namespace) -> list[Any]:
    jax = importlib.import_module("jax")
    found = []
    with contextlib.suppress(RuntimeError):  # it may have been told to use the GPU alone
        found = jax.devices("cpu")[:1]
    return [*found, *(d for d in jax.devices() if d.platform != "cpu")]


def _cupy_devices(xp: Namespace) -> list[Any]:
    return [xp.cuda.Device(i) for i in range(xp.cuda.runtime.getDeviceCount())]


@dataclass(frozen=True)
class Backend:
    """How an array library is imported, where its arrays can be, and how they come back."""

    module: str
    devices: Callable[[Namespace], list[Any]] = lambda _: ["cpu"]
    to_host: Callable[[Array], numpy.ndarray] = numpy.asarray
    setting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """What has to hold while it computes in float64."""
    on_device: Callable[[Any], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


BACKENDS: dict[str, Backend] = {
    "numpy": Backend("numpy"),
    "torch": Backend("torch", _torch_devices, lambda a: a.detach().cpu().numpy()),
    "jax": Backend("jax.numpy", _jax_devices, setting=_jax_in_float64),
    "cupy": Backend("cupy", _cupy_devices, lambda a: a.get(), on_device=lambda device: device),
}
"""By name, the reference first."""


def chosen(names: Iterable[str] | None) -> list[str]:
    """The backends of these names, in the table's order; all for None. ValueError names an unknown one."""
    asked = list(BACKENDS if names is None else names)
    for name in asked:
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}: {near_names(name, list(BACKENDS))}")
    if not asked:
        raise ValueError(f"no backend was asked for: give one or more of {', '.join(BACKENDS)}")
    return [name for name in BACKENDS if name in asked]


# --- results ----------------------------------------------------------------------------------------


@dataclass
class Result:
    """One case on one backend, device and dtype. Errors are relative; lists have one entry an order.

    ``values[k]`` and ``apart[k]`` are the worst of order k among the runs; ``gradients[n]`` and ``gradients_apart[n]``
    those of the loss of orders 0..n, None where n was not run. ``apart`` is the distance from the first backend, None
    on the first itself.
    """

    case: str
    orders: list[int]
    values: list[float | None] = field(default_factory=list)
    gradients: list[float | None] = field(default_factory=list)
    apart: list[float | None] = field(default_factory=list)
    gradients_apart: list[float | None] = field(default_factory=list)
    problem: str | None = None
    """What was raised, if something was."""

    KINDS: ClassVar = ("values", "gradients", "apart", "gradients_apart")

    def over(self, dtype: str) -> dict[str, tuple[float, int]]:
        """For every kind of figure that is beyond its tolerance, in words, its worst: (error, order)."""
        found = {}
        for kind in self.KINDS:
            errors = [(e, k) for k, e in enumerate(getattr(self, kind)) if e is not None]
            beyond = [(e, k) for e, k in errors if not e <= tolerance(dtype)]
            if beyond:
                found[_WORDS[kind]] = max(beyond, key=_size)
        return found

    def beyond(self, dtype: str) -> list[str]:
        """What was raised, and what is beyond its tolerance: a line each."""
        figures = [
            f"{words} at order {k}: {e:.1e}, tolerance {tolerance(dtype):.1e}"
            for words, (e, k) in self.over(dtype).items()
        ]
        return figures if self.problem is None else [self.problem, *figures]


_WORDS = {
    "values": "derivatives",
    "gradients": "gradient",
    "apart": "derivatives from the first backend's",
    "gradients_apart": "gradient from the first backend's",
}


def _size(found: tuple[Any, ...]) -> tuple[bool, float]:
    """To sort by an error, NaN the largest."""
    return math.isnan(found[0]), found[0]


@dataclass
class Row:
    """One backend on one device in one dtype; or, with a ``reason``, one that could not be run."""

    backend: str
    version: str = ""
    device: str = ""
    dtype: str = ""
    reason: str | None = None
    failed: bool = False
    """Whether a reason is a failure: being absent is none."""
    seconds: float = 0.0
    results: list[Result] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``agrees``, ``DISAGREES``, or for a backend that was not run ``absent`` or ``FAILED``."""
        if self.reason is not None:
            return "FAILED" if self.failed else "absent"
        return "DISAGREES" if any(result.beyond(self.dtype) for result in self.results) else "agrees"

    @property
    def agrees(self) -> bool:
        """False for a disagreement and for a failure; being absent is neither."""
        return self.verdict in ("agrees", "absent")

    def worst(self, *kinds: str) -> tuple[float, str, int] | None:
        """The largest error of these kinds: (relative, case, order); None where there is none. A NaN is largest."""
        found = [
            (e, result.case, k)
            for result in self.results
            for kind in kinds
            for k, e in enumerate(getattr(result, kind))
            if e is not None
        ]
        return max(found, key=_size, default=None)

    def as_json(self) -> dict[str, Any]:
        """Everything, in what JSON knows; what is no finite number is text."""

        def plain(figure: Any) -> Any:
            if isinstance(figure, list):
                return [plain(entry) for entry in figure]
            return figure if not isinstance(figure, float) or math.isfinite(figure) else str(figure)

        head = {key: getattr(self, key) for key in ("backend", "version", "device", "dtype", "verdict", "reason")}
        summary = {}
        for name, kinds in (
            ("values", ["values"]),
            ("gradients", ["gradients"]),
            ("apart", ["apart", "gradients_apart"]),
        ):
            worst = self.worst(*kinds)
            if worst is not None:
                relative, case, order = worst
                in_ulp = plain(relative / ulp(self.dtype))
                summary[name] = {"relative": plain(relative), "ulp": in_ulp, "case": case, "order": order}
        results = [
            {
                "case": result.case,
                "orders": result.orders,
                **{kind: plain(getattr(result, kind)) for kind in Result.KINDS},
                "problem": result.problem,
                "beyond": result.beyond(self.dtype),
            }
            for result in self.results
        ]
        return {**head, "seconds": round(self.seconds, 3), "worst": summary, "cases": results}


# --- the run ----------------------------------------------------------------------------------------


def planned(order: int | None = None, quick: bool = False) -> list[tuple[cases.Case, list[int]]]:
    """Every case with the orders to run it at; the derivatives below each are compared with it.

    The highest is 12 unless given, and 8 in a quick run, which leaves out networks of several options together. The
    plain network runs at every order, for each is another program. ValueError for an order beyond 1 to 12.
    """
    if order is not None and not 1 <= order <= HIGHEST:
        raise ValueError(f"the order to verify is 1 to {HIGHEST}; got {order}")
    top = order or (_QUICK if quick else HIGHEST)
    ends = sorted({1, top} if quick else {1, min(4, top), top})
    activations = [min(5, top)] if quick else sorted({min(2, top), top})
    plain, *networks = cases.NETWORKS
    return [
        (plain, ends if quick else list(range(1, top + 1))),
        *((case, ends) for case in networks),
        *((case, ends) for case in (() if quick else cases.COMBINED)),
        *((case, activations) for case in cases.activation_cases()),
        *((case, ends) for case in cases.FUNCTIONS),
    ]


Reference = dict[tuple[str, str, int], tuple[numpy.ndarray, dict[str, numpy.ndarray]]]


def rows(
    names: Sequence[str],
    plan: Sequence[tuple[cases.Case, list[int]]],
    on_case: Callable[[Row, int, int], object] = lambda *_: None,
) -> Iterator[Row]:
    """Run the plan on each of the named backends; a row each time a backend has done a dtype on a device.

    ``on_case(row, done, total)`` is called after each case. What a backend raises stays in its row.
    """
    reference: Reference = {}
    for name in names:
        backend = BACKENDS[name]
        if importlib.util.find_spec(backend.package) is None:
            yield Row(name, reason="not installed")
            continue
        try:
            xp = importlib.import_module(backend.module)
        except Exception as error:
            yield Row(name, reason=f"import failed: {_in_a_line(error)}", failed=True)
            continue
        version = str(getattr(importlib.import_module(backend.package), "__version__", ""))
        try:
            devices = backend.devices(xp)
        except Exception as error:
            yield Row(name, version, reason=f"no device: {_in_a_line(error)}")
            continue
        if not devices:
            yield Row(name, version, reason="no device")
        for device in devices:
            for dtype in DTYPES:
                row = Row(name, version, short_name(device), dtype)
                for done, (case, orders) in enumerate(plan):
                    on_case(row, done, len(plan))
                    exact = case.exact(orders[-1])  # takes its time once, which is not the backend's
                    start = time.perf_counter()
                    with backend.setting(), backend.on_device(device):
                        row.results.append(_result(case, exact, orders, backend, xp, dtype, device, reference))
                    row.seconds += time.perf_counter() - start
                on_case(row, len(plan), len(plan))
                yield row


def short_name(device: Any) -> str:
    """A device as ``cpu``, ``cuda:0``, ``gpu:1``: JAX and CuPy have longer names."""
    platform, number = getattr(device, "platform", None), getattr(device, "id", None)
    if number is None:
        return str(device)
    return "cpu" if platform == "cpu" else f"{platform or 'cuda'}:{number}"


def _in_a_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _result(
    case: cases.Case,
    exact: cases.Exact,
    orders: list[int],
    backend: Backend,
    xp: Namespace,
    dtype: str,
    device: Any,
    reference: Reference,
) -> Result:
    result = Result(case.name, orders)
    for kind in Result.KINDS:
        setattr(result, kind, [None] * (orders[-1] + 1))
    for order in orders:
        try:
            u, gradient = _computed(case, order, exact.scales, backend, xp, dtype, device)
        except Exception as error:
            result.problem = f"at order {order}: {_in_a_line(error)}"
            break
        hi, lo = (numpy.tile(part[: order + 1], (1, u.shape[1] // part.shape[1], 1)) for part in exact.derivatives)
        exact_gradient = {
            name: tuple(sum(of_order[name][part] for of_order in exact.gradients[: order + 1]) for part in (0, 1))
            for name in gradient
        }
        _keep_worst(result.values, _errors(u, hi, lo))
        result.gradients[order] = _gradient_error(gradient, exact_gradient)
        first = reference.setdefault((case.name, dtype, order), (u, gradient))
        if first[0] is not u:
            _keep_worst(result.apart, _errors(u, first[0], None, hi))
            pairs = {name: (g, numpy.zeros(())) for name, g in first[1].items()}
            result.gradients_apart[order] = _gradient_error(gradient, pairs)
    return result


def _computed(
    case: cases.Case, order: int, scales: list[float], backend: Backend, xp: Namespace, dtype: str, device: Any
) -> tuple[numpy.ndarray, dict[str, numpy.ndarray]]:
    """Derivatives (order+1, rows, outputs) and the gradient of the loss, in float64 on the host."""
    kind = getattr(xp, dtype)
    space = array_namespace(xp.zeros(1))

    def array(values: Any) -> Array:
        return space.asarray(values.tolist(), dtype=kind, device=device)

    points, along = case.rows
    x, direction = array(points), None if along is None else array(along)
    parameters = {name: array(p) for name, p in case.parameters.items()}
    function = case.function(space, kind, device)
    factors = array(numpy.asarray(scales[: order + 1])[:, None, None])

    def loss(p: Mapping[str, Array]) -> Array:
        scaled = differentiate.derivatives(function(p), x, order, direction) * factors
        return array_namespace(scaled).sum(scaled * scaled) * case.weight

    u = differentiate.derivatives(function(parameters), x, order, direction)
    if str(u.dtype).rpartition(".")[2] != dtype:
        raise TypeError(f"the derivatives of a {dtype} x are {u.dtype}")
    _, gradient = differentiate.value_and_grad(loss)(parameters)
    return (
        numpy.asarray(backend.to_host(u), numpy.float64),
        {name: numpy.asarray(backend.to_host(g), numpy.float64) for name, g in gradient.items()},
    )


def _keep_worst(worst: list[float | None], found: list[float]) -> None:
    for k, error in enumerate(found):
        before = worst[k]
        worst[k] = error if before is None or math.isnan(error) else max(before, error)


def _errors(
    u: numpy.ndarray, hi: numpy.ndarray, lo: numpy.ndarray | None, scale: numpy.ndarray | None = None
) -> list[float]:
    """For each order max |u − exact| by max |exact|."""
    axes = (1, 2)
    gap = numpy.abs(u - hi if lo is None else (u - hi) - lo).max(axis=axes)
    size = numpy.abs(hi if scale is None else scale).max(axis=axes)
    size[size == 0] = size.max()
    return [float(e) for e in gap / size]


def _gradient_error(gradient: Mapping[str, numpy.ndarray], exact: Mapping[str, Any]) -> float:
    """max |error| over all parameters by max |exact|."""
    gaps = [numpy.abs((g - exact[name][0]) - exact[name][1]).max() for name, g in gradient.items()]
    return float(numpy.max(gaps) / max(numpy.abs(exact[name][0]).max() for name in gradient))
