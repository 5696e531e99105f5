"""A problem of the suite solved by its recipe: one or two runs of ``train``, and what came of them.

Floor 16.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.commands.arguments import CHECKPOINT, RefusedError
from ntaylor.least_squares import Settings
from ntaylor.namespace import array_namespace, device, to_numpy
from ntaylor.networks import MLP
from ntaylor.posing import Problem
from ntaylor.storage import load_arrays, made_with, save_arrays
from ntaylor.suite.catalogue import find
from ntaylor.suite.entry import Entry, Waves
from ntaylor.suite.random_waves import Marched, beside, joined, wave_network
from ntaylor.training import train
from ntaylor.training_results import Point, TrainingResult, point_as_dict

__all__ = ["BACKENDS", "Solved", "checkpoint_name", "load_solution", "save_network", "solve"]

Array = Any

BACKENDS = {"numpy": "numpy", "torch": "torch", "jax": "jax.numpy"}
"""The module whose arrays the parameters are."""

_NEWTON = Settings(steps=1, solver="auto", acceleration=False, factors=(1e-4, 1e-2, 1.0), stall=0.1)
"""For what is nearly linear: the damping may fall by four digits a step, and there is nothing to accelerate."""

_FORMAT = 1


@dataclass(frozen=True)
class Solved:
    """A network that solves a problem, and how far it is from the solution."""

    entry: Entry
    backend: str
    optimizer: str
    words: str
    """The network, in a few words."""
    seed: int
    networks: dict[str, MLP]
    """By what stands before its parameters' names: one, "", or one a window, "window 0.", …"""
    function: Callable[[Array], Array]
    unknowns: dict[str, float]
    errors: dict[str, float]
    """On the entry's test points."""
    steps: int
    seconds: float
    history: list[Point]
    reason: str

    def values(self, points: Array) -> Array:
        """The solution found, at NumPy points, as a NumPy array (n, fields)."""
        return _values(self.function, next(iter(self.networks.values())), points)

    @property
    def parameters(self) -> dict[str, Array]:
        """Of all networks."""
        return {prefix + name: p for prefix, n in self.networks.items() for name, p in n.parameters.items()}

    def report(self) -> dict[str, Any]:
        """All that is known of it but the network, ready for JSON."""
        return {
            "problem": self.entry.name,
            "equation": self.entry.equation,
            "order": self.entry.order,
            "backend": self.backend,
            "network": self.words,
            "parameters": sum(int(np.prod(tuple(p.shape))) for p in self.parameters.values()),
            "optimizer": self.optimizer,
            "seed": self.seed,
            # What is no number is no number of JSON's either.
            **{name: value if np.isfinite(value) else None for name, value in self.errors.items()},
            "test_points": len(self.entry.test_points()),
            "unknowns": self.unknowns,
            "true_unknowns": dict(self.entry.truth),
            "statistical_limit": {} if self.entry.limit is None else dict(self.entry.limit()),
            "steps": self.steps,
            "seconds": self.seconds,
            "ended_by": self.reason,
            "history": [point_as_dict(p) for p in self.history],
            "made_with": made_with(),
        }


def solve(
    entry: Entry,
    *,
    backend: str = "numpy",
    optimizer: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Solved:
    """Solve it by its recipe; with an ``optimizer``, by the recipe's network trained by that alone.

    ``seconds`` is a limit for all. With a folder the runs are stored there as they go, and gone on from with
    ``resume``; the caller removes the checkpoints once the result is safe. Raises RefusedError for a backend that is
    not installed.
    """
    xp, recipe = _library(backend), entry.recipe
    plain = optimizer is not None or steps is not None
    runs = _Runs(seconds, folder, resume, progress)
    if plain or (recipe.waves is None and not recipe.march):
        words = replace(recipe, waves=None, march=()).words
        changed: dict[str, Any] = {} if steps is None else {"steps": steps}
        if optimizer is not None:
            changed["optimizer"] = optimizer
        networks, function = _trained(entry, xp, seed, changed, runs)
    elif recipe.march:
        words = recipe.words
        networks, function = _marched(entry, xp, seed, runs)
    else:
        words = recipe.words
        networks, function = _with_waves(entry, xp, seed, runs)
    points = entry.test_points()
    found = _values(function, next(iter(networks.values())), points)
    return Solved(
        entry=entry,
        backend=backend,
        optimizer=str(optimizer or (recipe.train["optimizer"] if plain or recipe.first else "lm")),
        words=words,
        seed=seed,
        networks=networks,
        function=function,
        unknowns=runs.results[-1].unknowns,
        errors=entry.make().errors(found, points),
        steps=sum(r.steps for r in runs.results),
        seconds=sum(r.seconds for r in runs.results),
        history=[p for r in runs.results for p in r.history],
        reason=runs.results[-1].reason,
    )


class _Runs:
    """Runs of ``train`` one after another, that share a folder and a limit of time."""

    def __init__(self, seconds: float | None, folder: Path | None, resume: bool, progress: bool):
        self.seconds, self.folder, self.resume, self.progress = seconds, folder, resume, progress
        self.results: list[TrainingResult] = []

    def run(self, problem: Problem, network: MLP, options: Mapping[str, Any]) -> TrainingResult:
        """One more; its checkpoint's name follows from its number."""
        where = None if self.folder is None else self.folder / checkpoint_name(len(self.results))
        limit = {}
        if self.seconds is not None:
            limit["stop"] = {"seconds": max(self.seconds - sum(r.seconds for r in self.results), 1e-3)}
        on = self.resume and where is not None and where.exists()
        result = train(problem, network, checkpoint=where, resume=on, progress=self.progress, **{**options, **limit})
        self.results.append(result)
        return result


def checkpoint_name(number: int) -> str:
    """Of the run with this number, the first being the one that tells of an interrupted command."""
    return f"checkpoint-{number}.safetensors" if number else CHECKPOINT


Found = tuple[dict[str, MLP], Callable[[Array], Array]]


def _trained(entry: Entry, xp: Any, seed: int, changed: Mapping[str, Any], runs: _Runs) -> Found:
    """The recipe's network, trained."""
    widths, activation, options = _arguments(entry.recipe.network)
    network = MLP.create(widths, activation, xp=xp, dtype=xp.float64, seed=seed, **options)
    problem = entry.make()
    network = runs.run(problem, network, {**entry.recipe.train, "seed": seed, **changed}).network
    return {"": network}, problem.function(network)


def _with_waves(entry: Entry, xp: Any, seed: int, runs: _Runs) -> Found:
    """Waves alone, or beside the recipe's network when that has been trained."""
    problem, recipe = entry.make(), entry.recipe
    assert recipe.waves is not None
    like = xp.zeros(1, dtype=xp.float64)
    added = wave_network(problem, recipe.waves, like, seed, recipe.network.get("periods"))
    if not recipe.first:
        added = runs.run(problem, added, _newton(recipe.waves, seed)).network
        return {"": added}, problem.function(added)
    base = _trained(entry, xp, seed, {}, runs)[0][""]
    posed = beside(replace(problem, unknowns=runs.results[-1].unknowns), base)
    network = joined(base, runs.run(posed, added, _newton(recipe.waves, seed)).network)
    return {"": network}, problem.function(network)


def _marched(entry: Entry, xp: Any, seed: int, runs: _Runs) -> Found:
    """Window by window."""
    assert entry.window is not None
    like = xp.zeros(1, dtype=xp.float64)
    first = list(entry.make().domain.values())[-1][0]
    start, networks, functions = None, {}, []
    for number, (end, waves) in enumerate(entry.recipe.march):
        problem = entry.window(first, end, start)
        network = wave_network(problem, waves, like, seed + number)
        network = runs.run(problem, network, _newton(waves, seed + number)).network
        start = problem.function(network)
        networks[f"window {number}."] = network
        functions.append(start)
        first = end
    return networks, _assembled(entry, functions)


def _assembled(entry: Entry, functions: Sequence[Callable[[Array], Array]]) -> Callable[[Array], Array]:
    marched = Marched([end for end, _ in entry.recipe.march], functions)
    return marched if entry.whole is None else entry.whole(marched)


def _newton(waves: Waves, seed: int) -> dict[str, Any]:
    return {
        "optimizer": _NEWTON, "steps": waves.steps, "points": waves.points,
        "condition_points": waves.condition_points, "seed": seed + 1,
    }  # fmt: skip


def _arguments(options: Mapping[str, Any]) -> tuple[list[int], str, dict[str, Any]]:
    rest = {k: v for k, v in options.items() if k not in ("widths", "activation")}
    return options["widths"], options.get("activation", "tanh"), rest


def _library(backend: str) -> Any:
    try:
        module = importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        raise RefusedError(f"{backend} is not installed ({error}): pip install 'ntaylor[{backend}]'") from error
    if backend == "jax":
        # Float64 is an option of JAX's; no library is named in an import here.
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    return module


def _values(function: Callable[[Array], Array], network: MLP, points: Array) -> Array:
    """(n, fields), NumPy."""
    like = next(iter(network.parameters.values()))
    parts = []
    for part in np.array_split(np.asarray(points, dtype=np.float64), 1 + len(points) // 5000):
        found = function(array_namespace(like).asarray(part, dtype=like.dtype, device=device(like)))
        parts.append(np.asarray(to_numpy(found), dtype=np.float64).reshape(len(part), -1))
    return np.concatenate(parts)


def save_network(path: Path, solved: Solved) -> None:
    """Its parameters, with the problem, the seed and the unknowns, as safetensors."""
    arrays = {name: np.array(to_numpy(p), dtype=np.float64, order="C") for name, p in solved.parameters.items()}
    about = {
        "format": _FORMAT, "problem": solved.entry.name, "seed": solved.seed, "network": solved.words,
        "unknowns": solved.unknowns,
    }  # fmt: skip
    save_arrays(path, arrays, about)


def load_solution(path: Path) -> Callable[[Array], Array]:
    """What solves the problem, from a network.safetensors of ``ntaylor solve``, as a function of NumPy points.

    What is fixed in it, the random waves, follows from the problem's recipe and the seed.
    """
    arrays, about = load_arrays(path)
    if about.get("format") != _FORMAT or "problem" not in about:
        raise ValueError(f"{path} is not the network of ntaylor solve: it should be a network.safetensors")
    entry, seed, like = find(about["problem"]), about["seed"], np.zeros(1)
    problem, recipe = entry.make(), entry.recipe
    if "windows" in about["network"]:
        assert entry.window is not None
        start, functions, first = None, [], list(problem.domain.values())[-1][0]
        for number, (end, waves) in enumerate(recipe.march):
            posed, prefix = entry.window(first, end, start), f"window {number}."
            own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            start = posed.function(wave_network(posed, waves, like, seed + number).replace(own))
            functions.append(start)
            first = end
        return _assembled(entry, functions)
    parts = []
    if "waves" not in about["network"] or recipe.first:
        widths, activation, options = _arguments(recipe.network)
        parts.append(MLP.create(widths, activation, **options))
    if "waves" in about["network"]:
        assert recipe.waves is not None
        parts.append(wave_network(problem, recipe.waves, like, seed, recipe.network.get("periods")))
    network = (parts[0] if len(parts) == 1 else joined(*parts)).replace(arrays)
    function: Callable[[Array], Array] = problem.function(network)
    return function
