"""A problem of the suite solved by its recipe: one or two runs of ``train``, and what came of them.

Floor 16.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.commands.arguments import CHECKPOINT, RefusedError
from ntaylor.least_squares import Settings
from ntaylor.namespace import array_namespace, device
from ntaylor.networks import MLP
from ntaylor.posing import Problem
from ntaylor.storage import load_arrays, made_with, save_arrays
from ntaylor.suite.catalogue import find
from ntaylor.suite.entry import Entry
from ntaylor.suite.random_waves import beside, joined, wave_network
from ntaylor.training import train
from ntaylor.training_results import Point, TrainingResult, point_as_dict

__all__ = ["BACKENDS", "Solved", "load_network", "save_network", "solve"]

Array = Any

BACKENDS = {"numpy": "numpy", "torch": "torch", "jax": "jax.numpy"}
"""The module whose arrays the parameters are."""

WAVES_CHECKPOINT = "checkpoint-waves.safetensors"

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
    network: MLP
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
        return _values(self.function, self.network, points)

    def report(self) -> dict[str, Any]:
        """All that is known of it but the network, ready for JSON."""
        return {
            "problem": self.entry.name,
            "equation": self.entry.equation,
            "order": self.entry.order,
            "backend": self.backend,
            "network": self.words,
            "parameters": sum(int(np.prod(tuple(p.shape))) for p in self.network.parameters.values()),
            "optimizer": self.optimizer,
            "seed": self.seed,
            "relative_l2": self.errors["relative_l2"],
            "max_error": self.errors["max_error"],
            "test_points": len(self.entry.test_points()),
            "unknowns": self.unknowns,
            "true_unknowns": dict(self.entry.truth),
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
    xp, problem, recipe = _library(backend), entry.make(), entry.recipe
    plain = optimizer is not None or steps is not None
    waves = None if plain else recipe.waves
    results: list[TrainingResult] = []

    def run(posed: Problem, network: Any, options: Mapping[str, Any], name: str) -> TrainingResult:
        spent = sum(r.seconds for r in results)
        limit = {} if seconds is None else {"stop": {"seconds": max(seconds - spent, 1e-3)}}
        where = None if folder is None else folder / name
        on = resume and where is not None and where.exists()
        results.append(train(posed, network, checkpoint=where, resume=on, progress=progress, **{**options, **limit}))
        return results[-1]

    network, words = None, recipe.words
    if waves is None or recipe.first:
        widths, activation, options = _arguments(recipe.network)
        network = MLP.create(widths, activation, xp=xp, dtype=xp.float64, seed=seed, **options)
        chosen: dict[str, Any] = {**recipe.train, "seed": seed}
        if optimizer is not None:
            chosen["optimizer"] = optimizer
        if steps is not None:
            chosen["steps"] = steps
        network = run(problem, network, chosen, CHECKPOINT).network
        problem = replace(problem, unknowns=results[-1].unknowns)
        words = replace(recipe, waves=None).words if waves is None else words
    if waves is not None:
        like = xp.zeros(1, dtype=xp.float64)
        added = wave_network(problem, waves, like, seed, recipe.network.get("periods"))
        posed = problem if network is None else beside(problem, network)
        chosen = {
            "optimizer": _NEWTON, "steps": waves.steps, "points": waves.points,
            "condition_points": waves.condition_points, "seed": seed + 1,
        }  # fmt: skip
        added = run(posed, added, chosen, CHECKPOINT if network is None else WAVES_CHECKPOINT).network
        network = added if network is None else joined(network, added)
    assert network is not None
    function, points = problem.function(network), entry.test_points()
    return Solved(
        entry=entry,
        backend=backend,
        optimizer=optimizer or str(recipe.train["optimizer"]),
        words=words,
        seed=seed,
        network=network,
        function=function,
        unknowns=results[-1].unknowns,
        errors=problem.errors(_values(function, network, points), points),
        steps=sum(r.steps for r in results),
        seconds=sum(r.seconds for r in results),
        history=[p for r in results for p in r.history],
        reason=results[-1].reason,
    )


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
        found = found.detach().cpu() if hasattr(found, "detach") else found
        parts.append(np.asarray(found, dtype=np.float64).reshape(len(part), -1))
    return np.concatenate(parts)


def save_network(path: Path, solved: Solved) -> None:
    """Its parameters, with the problem, the seed and the unknowns, as safetensors."""
    arrays = {}
    for name, p in solved.network.parameters.items():
        p = p.detach().cpu() if hasattr(p, "detach") else p
        arrays[name] = np.array(p, dtype=np.float64, order="C")
    about = {
        "format": _FORMAT, "problem": solved.entry.name, "seed": solved.seed, "network": solved.words,
        "unknowns": solved.unknowns,
    }  # fmt: skip
    save_arrays(path, arrays, about)


def load_network(path: Path) -> tuple[MLP, Callable[[Array], Array]]:
    """(network, the function that solves the problem) from a file of ``ntaylor solve``, on NumPy.

    What is fixed in it, the random waves, follows from the problem's recipe and the seed.
    """
    arrays, about = load_arrays(path)
    if about.get("format") != _FORMAT or "problem" not in about:
        raise ValueError(f"{path} is not the network of ntaylor solve: it should be a network.safetensors")
    entry = find(about["problem"])
    problem, recipe, parts = entry.make(), entry.recipe, []
    if "waves" not in about["network"] or recipe.first:
        widths, activation, options = _arguments(recipe.network)
        parts.append(MLP.create(widths, activation, **options))
    if "waves" in about["network"]:
        assert recipe.waves is not None
        parts.append(wave_network(problem, recipe.waves, np.zeros(1), about["seed"], recipe.network.get("periods")))
    network = (parts[0] if len(parts) == 1 else joined(*parts)).replace(arrays)
    return network, problem.function(network)
