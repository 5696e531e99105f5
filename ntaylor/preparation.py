"""A problem and a network made ready to be trained: parameters, points, weights and errors on the network's library.

Floor 12. All that a run needs to know of libraries, processes and devices is here: which points this process has, where
they lie, what the parameters are, and how far the network is from the solution.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntaylor import balancing
from ntaylor.differentiate import value_and_grad
from ntaylor.dispatch import Model, adapter_for
from ntaylor.models import model_of
from ntaylor.namespace import array_namespace, describe, device, is_count, is_number, near_names, to_numpy
from ntaylor.objectives import UNKNOWN, WEIGHT, Objective, term_names

__all__ = ["Prepared", "Request", "prepared"]

Array = Any

_TEST_POINTS = 2000
_TEST_SEED = 2**31 - 1
"""Of the points that errors are measured on: no run is trained on them but by chance."""
_BALANCED = 100
"""Steps after which weights are balanced anew."""


@dataclass(frozen=True)
class Request:
    """What was asked of points and weights: arguments of ``train``."""

    points: Any
    condition_points: int | None
    sampling: str
    resample: int | None
    weights: Mapping[str, float] | None
    balance: Any
    sobolev: int
    sobolev_weights: Any
    seed: int
    devices: Any


def prepared(problem: Any, net: Any, request: Request) -> Prepared:
    """Everything checked, and put where the network's parameters are. Raises TypeError and ValueError."""
    if not all(hasattr(problem, name) for name in ("terms", "arrays", "function", "unknowns")):
        raise TypeError(f"train takes an nt.Problem and a network; the problem is a {describe(problem)}")
    if request.sobolev_weights is not None and not request.sobolev:
        raise ValueError("sobolev_weights= are for sobolev=1 or more, the order of the derivatives to train on")
    if not (is_count(request.seed) or request.seed == 0):
        raise ValueError(f"seed is a whole number >= 0, got {request.seed!r}")
    if not isinstance(request.weights or {}, Mapping):
        raise TypeError(f"weights takes numbers by term, such as {{'equation': 1.0}}; got {request.weights!r}")
    for name in ("resample", "sobolev"):
        value = getattr(request, name)
        if value is not None and not (isinstance(value, int) and value >= (name == "resample")):
            raise ValueError(f"{name} is a whole number >= {int(name == 'resample')}, got {value!r}")
    if is_count(request.points):
        request = replace(request, points=operator.index(request.points))
    if not isinstance(request.points, int):
        given = np.asarray(request.points, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(problem.inputs):
            raise ValueError(
                f"points is a whole number, or an array (n, {len(problem.inputs)}) with columns "
                f"{', '.join(problem.inputs)}; got shape {given.shape}"
            )
        if not np.isfinite(given).all():
            raise ValueError("points has coordinates that are no finite numbers")
        if request.resample is not None:
            raise ValueError("resample= draws points, but points are given: pass how many")
        request = replace(request, points=given)
    return Prepared(problem, model_of(net, problem.points(3, 0)), request)


class Prepared:
    """A run's material. ``start`` are the parameters it begins with; ``alone`` whether there is one process."""

    def __init__(self, problem: Any, model: Model, request: Request):
        self.problem, self.model, self.request = problem, model, request
        like = next(iter(model.arrays.values()))
        self._like, self._xp = like, array_namespace(like)
        self._adapter = adapter_for(like)
        rank, self._processes = (0, 1) if self._adapter.share is None else self._adapter.share()
        self._rank, self.first_process, self.alone = rank, rank == 0, self._processes == 1
        if request.devices is not None and self._adapter.placed is None:
            raise ValueError(f"devices= is for JAX's meshes; these parameters are a {describe(like)}")
        unknowns = {UNKNOWN + name: self._array(value) for name, value in problem.unknowns.items()}
        self.start = self._placed({**model.arrays, **unknowns}, split=False)
        self._round = -1
        self._points: dict[str, Array] = {}
        self._points_of(0)
        totals = {} if self.alone else dict(self._totals)
        self.objective = Objective(problem, model, request.sobolev, request.sobolev_weights, totals)
        ones = {name: a[:1, ...] for name, a in self._local.items()}
        few = self._placed({name: self._array(a) for name, a in ones.items()}, split=False)
        self.terms = list(term_names(self.objective, self.start, few))
        self._weights = self._own_weights()
        self._balanced_at, self._first_balance = -1, True
        self._balance = None if request.balance is None else self._checked_balance(request.balance)
        compiled = self._adapter.compiled or (lambda f: f)
        self._values = compiled(lambda parameters, points: self.objective.function(parameters)(points))
        self._test: Any = None

    # --- data -----------------------------------------------------------------------------------------

    @property
    def period(self) -> int | None:
        """Steps after which the data change."""
        periods = [p for p in (self.request.resample, _BALANCED if self._balance else None) if p]
        return math.gcd(*periods) if periods else None

    def data(self, step: int, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """What is trained on from this step on: points of its round, weights balanced for these parameters."""
        resample = self.request.resample
        self._points_of(0 if resample is None else step // resample)
        if self._balance is not None and step // _BALANCED != self._balanced_at:
            self._balanced_at = step // _BALANCED
            self._weights = self._balanced(parameters)
        return {**self._points, **self._weight_arrays(self._weights)}

    def _checked_balance(self, kind: Any) -> str:
        known = ("gradients", *balancing.KINDS)
        if kind not in known:
            raise ValueError(f"balance is one of {', '.join(known)}; got {kind!r}")
        if not self.alone:
            raise ValueError("balance= is for one process, which has all points: pass weights=")
        return "norms" if kind == "gradients" else str(kind)

    def _balanced(self, parameters: Mapping[str, Array]) -> dict[str, float]:
        """Weights from the terms' gradients at these parameters; what was asked for multiplies them."""
        statistics: list[Any] = []
        for name in self.terms:
            # The loss of this term alone, unweighted.
            only = {**self._points, **self._weight_arrays({n: float(n == name) for n in self.terms})}
            if self._balance == "ntk":
                _, jacobian = self.objective.rows_and_jacobian(parameters, only)
                size = float(self._xp.sum(jacobian * jacobian))  # of rows of the mean: the trace a point
                statistics.append(size)
                continue
            found = value_and_grad(lambda p, data: self.objective.loss(p, data)[0])(dict(parameters), only)[1]
            flat = np.concatenate([to_numpy(g).ravel() for g in found.values()])
            largest, mean = float(np.abs(flat).max()), float(np.abs(flat).mean())
            statistics.append((largest, mean) if self._balance == "first" else float(np.linalg.norm(flat)))
        asked = self._own_weights()
        before = [self._weights[n] / asked[n] if asked[n] else 1.0 for n in self.terms]
        found = balancing.balanced(statistics, None if self._first_balance else before, kind=str(self._balance))
        self._first_balance = False
        return {name: asked[name] * w for name, w in zip(self.terms, found, strict=True)}

    def _weight_arrays(self, weights: Mapping[str, float]) -> dict[str, Array]:
        return self._placed({WEIGHT + name: self._array(w) for name, w in weights.items()}, split=False)

    def _points_of(self, number: int) -> None:
        """The points of a round: they follow from the seed and its number alone."""
        if number == self._round:
            return
        request = self.request
        given = not isinstance(request.points, int)
        count = len(request.points) if given else request.points
        arrays = self.problem.arrays(count, request.seed + 7919 * number, request.sampling, request.condition_points)
        if given:
            arrays["equation"] = request.points
        self._totals = {name: len(a) for name, a in arrays.items()}
        for name, total in self._totals.items():
            if total < self._processes:
                raise ValueError(f"{name!r} has {total} points for {self._processes} processes: each needs one")
        self._local = {name: a[self._rank :: self._processes] for name, a in arrays.items()}
        self._points = self._placed({name: self._array(a) for name, a in self._local.items()}, split=True)
        self._round = number

    def _own_weights(self) -> dict[str, float]:
        weights = {name: float(self.problem.weight(name)) for name in self.terms}
        for name, value in (self.request.weights or {}).items():
            matching = [t for t in self.terms if t == name or t.startswith(f"{name}[")]
            if not matching:
                raise ValueError(f"weights: no term is called {name!r}; {near_names(name, self.terms)}")
            if not (is_number(value) and 0 <= value < math.inf):
                raise ValueError(f"weights[{name!r}] is a finite number >= 0, got {value!r}")
            weights |= dict.fromkeys(matching, float(value))
        return weights

    def _array(self, values: Any) -> Array:
        made = np.asarray(values, dtype=np.float64)
        where = None if self.request.devices is not None else device(self._like)
        return self._xp.asarray(made, dtype=self._like.dtype, device=where)

    def _placed(self, arrays: dict[str, Array], *, split: bool) -> dict[str, Array]:
        devices = self.request.devices
        return arrays if devices is None else self._adapter.placed(arrays, devices, split)  # type: ignore[misc]

    # --- errors ---------------------------------------------------------------------------------------

    def error(self, parameters: Mapping[str, Array]) -> float | None:
        """Relative L2 against the solution, on points that are not trained on; None without a solution."""
        return self.errors(parameters).get("relative_l2")

    def errors(self, parameters: Mapping[str, Array]) -> dict[str, float]:
        """What :meth:`ntaylor.Problem.errors` measures, with the solution evaluated once."""
        if self.problem.solution is None:
            return {}
        if self._test is None:
            points = self.problem.points(_TEST_POINTS, _TEST_SEED)
            exact = np.asarray(self.problem.solution(points), dtype=np.float64)
            on_library = self._placed({"points": self._array(points)}, split=False)["points"]
            self._test = on_library, points, replace(self.problem, solution=lambda _: exact)
        on_library, points, known = self._test
        found: dict[str, float] = known.errors(to_numpy(self._values(parameters, on_library)), points)
        return found

    def finite(self, parameters: Mapping[str, Array]) -> bool:
        """Whether all parameters are finite numbers."""
        return all(bool(np.isfinite(to_numpy(p)).all()) for p in parameters.values())

    # --- storage --------------------------------------------------------------------------------------

    def to_numpy(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """Parameters as NumPy's arrays."""
        return {name: np.array(to_numpy(p), order="C") for name, p in parameters.items()}

    def of_numpy(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """What :meth:`to_numpy` gave; ValueError for other names or shapes."""
        found = {}
        for name, p in self.start.items():
            if name not in arrays or tuple(arrays[name].shape) != tuple(p.shape):
                raise ValueError(f"the checkpoint is of another network: {name!r} does not fit")
            where = None if self.request.devices is not None else device(self._like)
            found[name] = self._xp.asarray(arrays[name], dtype=p.dtype, device=where)
        return self._placed(found, split=False)

    def kept(self) -> dict[str, Array]:
        """Weights as they are now, for a checkpoint."""
        return {"balanced at": np.asarray(self._balanced_at), **{n: np.asarray(w) for n, w in self._weights.items()}}

    def keep(self, kept: Mapping[str, Array]) -> None:
        """Go on with what :meth:`kept` gave."""
        self._balanced_at = int(kept["balanced at"])
        self._first_balance = self._balanced_at < 0
        self._weights = {name: float(kept[name]) for name in self.terms}

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with a run that goes on from it, ready for JSON."""
        request, weights = self.request, self.request.sobolev_weights
        given = not isinstance(request.points, int)
        return {
            "terms": self.terms,
            "inputs": list(self.problem.inputs),
            "unknowns": {name: float(v) for name, v in self.problem.unknowns.items()},
            "parameters": {name: list(p.shape) for name, p in self.start.items()},
            "library": self._xp.__name__.rpartition(".")[2],
            "dtype": str(self._like.dtype).rpartition(".")[2],
            "points": f"{len(request.points)} given" if given else operator.index(request.points),
            "condition_points": request.condition_points,
            "sampling": request.sampling,
            "resample": request.resample,
            "weights": self._own_weights(),
            "balance": None if request.balance is None else str(request.balance),
            "domain": {name: [float(b) for b in bounds] for name, bounds in self.problem.domain.items()},
            "sobolev": request.sobolev,
            "sobolev_weights": None if weights is None else [float(w) for w in weights],
            "seed": request.seed,
            "processes": self._processes,
        }
