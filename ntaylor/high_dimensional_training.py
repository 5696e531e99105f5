"""A training run on a high-dimensional task: steps, checkpoints, the curve of its error, and what it cost.

Floor 14. Where gradients come from, and what a step is, is the backend's ``trainer``; here it is only counted, timed,
looked at and stored. A run that is interrupted between two steps goes on, with ``resume``, on the trajectory that it
would have followed. One whose loss is no finite number any more ends, and keeps its last good parameters.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.dispatch import Adapter, Trainer, adapter_for
from ntaylor.high_dimensional_tasks import Elliptic, Errors, Settings, Task
from ntaylor.interruptions import interruptions_between_steps
from ntaylor.networks import MLP
from ntaylor.problems.high_dimensional import PUBLISHED_ERRORS, PUBLISHED_SPEEDS
from ntaylor.storage import load_arrays, made_with, save_arrays
from ntaylor.verification import BACKENDS

__all__ = ["LIBRARIES", "Point", "Progress", "Result", "report", "save_network", "train"]

Array = Any

LIBRARIES = ("jax", "torch")
"""The backends that can train, the default first."""

_REPORTS = 100
_FORMAT = 1


@dataclass(frozen=True)
class Point:
    """One point of the curve of a run."""

    step: int
    loss: float
    """The mean over the steps since the point before."""
    error: float | None
    """Relative L2 on the first of the test points, or the relative error where only one value is known."""
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a run stands, as given to ``on_step``."""

    step: int
    loss: float
    error: float | None
    """The latest that was measured."""


@dataclass(frozen=True)
class Result:
    """What a run ended with."""

    task: Task
    settings: Settings
    parameters: dict[str, Array]
    errors: Errors
    steps: int
    """That these parameters have gone: fewer than asked for only if the run diverged."""
    diverged: int | None
    """The step whose loss was no finite number; the parameters are then those of the last checkpoint before it."""
    curve: list[Point]
    seconds: float
    """Of ``timed_steps`` steps alone: neither the first one, which compiles, nor the measuring of errors."""
    timed_steps: int
    peak_bytes: int
    about: dict[str, Any]


@dataclass
class _Position:
    """All that a checkpoint holds besides the trainer's state."""

    step: int
    curve: list[Point]
    sum_of_losses: float
    """Over the steps since the last point of the curve."""
    seconds: float
    timed_steps: int


def train(
    task: Task,
    settings: Settings,
    *,
    on_step: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    every_seconds: float = 60,
) -> Result:
    """Train for ``task`` and measure.

    With ``checkpoint`` the position is stored there every so many seconds at a point of the curve, when interrupted,
    and at the end: the file is the caller's to remove. With ``resume`` the run goes on from it. Raises ValueError for
    a checkpoint of another task or other settings, ImportError for a backend that is not installed.
    """
    net, trainer = _prepared(task, settings)
    predict = task.predictor(net)

    def evaluate(points: Array) -> Array:
        return trainer.evaluate(predict, points)

    at = _Position(0, [], 0.0, 0.0, 0)
    if resume and checkpoint is not None and checkpoint.exists():
        at = _load(checkpoint, task, settings, trainer)
    watch = task.watch(evaluate, settings)
    every = max(1, settings.steps // _REPORTS)
    stored = time.monotonic()
    diverged = None
    clock: float | None = None  # runs from the end of the first step on
    with interruptions_between_steps() as interrupted:
        while at.step < settings.steps:
            if interrupted():
                if checkpoint is not None:
                    _save(checkpoint, task, settings, at, trainer)
                raise KeyboardInterrupt
            loss = float(trainer.step())
            if not math.isfinite(loss):
                diverged = at.step
                break
            at.step += 1
            at.sum_of_losses += loss
            if clock is None:
                clock = time.perf_counter()
            else:
                at.seconds, clock, at.timed_steps = _lap(at.seconds, clock), time.perf_counter(), at.timed_steps + 1
            if at.step % every == 0 or at.step == settings.steps:
                since = at.step - (at.curve[-1].step if at.curve else 0)
                error = watch()
                if error is not None and not math.isfinite(error):
                    # The last step's gradient was no number, although its loss still was one.
                    diverged = at.step
                    break
                at.curve.append(Point(at.step, at.sum_of_losses / since, error, at.seconds))
                at.sum_of_losses = 0.0
                if checkpoint is not None and (time.monotonic() - stored >= every_seconds):
                    _save(checkpoint, task, settings, at, trainer)
                    stored = time.monotonic()
                clock = time.perf_counter()
            if on_step is not None:
                on_step(Progress(at.step, loss, at.curve[-1].error if at.curve else None))
    curve = at.curve
    if diverged is not None:
        at = _last_good(task, settings, trainer, checkpoint)
    elif checkpoint is not None:
        _save(checkpoint, task, settings, at, trainer)
    about = trainer.about()
    peak = about.pop("peak_bytes")
    return Result(
        task,
        settings,
        {k.removeprefix("parameter."): p for k, p in trainer.state().items() if k.startswith("parameter.")},
        task.errors(evaluate, settings),
        at.step,
        diverged,
        curve,
        at.seconds,
        at.timed_steps,
        _peak_of_process() if peak is None else peak,
        about,
    )


def _lap(seconds: float, since: float) -> float:
    return seconds + time.perf_counter() - since


def _prepared(task: Task, settings: Settings) -> tuple[MLP, Trainer]:
    """The network, as made from the seed, and the trainer that has its parameters."""
    adapter = _adapter(settings)
    widths = [task.inputs, *[settings.width] * settings.depth, 1]
    net = MLP.create(widths, "tanh", xp=np, dtype=getattr(np, settings.dtype), seed=settings.seed)
    assert adapter.trainer is not None
    loss = task.loss(net, settings, adapter)
    schedule = settings.steps, settings.rate, settings.seed, settings.beta2
    trainer = adapter.trainer(loss, net.parameters, task.constants(), *schedule)
    return net, trainer


def _adapter(settings: Settings) -> Adapter:
    if settings.backend not in LIBRARIES:
        raise ValueError(f"training runs on {' or '.join(LIBRARIES)}, got {settings.backend!r}")
    if importlib.util.find_spec(settings.backend) is None:
        raise ImportError(f"{settings.backend} is not installed: pip install 'ntaylor[{settings.backend}]'")
    if settings.backend == "jax" and settings.dtype == "float64":
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    xp = importlib.import_module(BACKENDS[settings.backend].module)
    return adapter_for(xp.zeros(1))


def _peak_of_process() -> int:
    """The most memory this process has held at once, the libraries' own included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- checkpoints ------------------------------------------------------------------------------------


def _identity(task: Task, settings: Settings) -> dict[str, Any]:
    return {"task": task.describe(), "settings": asdict(settings)}


def _save(path: Path, task: Task, settings: Settings, at: _Position, trainer: Trainer) -> None:
    state = trainer.state()
    if not all(np.all(np.isfinite(a)) for a in state.values()):
        return  # the file keeps what was good
    about = {"format": _FORMAT, **_identity(task, settings), "position": asdict(at)}
    save_arrays(path, {name: np.asarray(a, order="C") for name, a in state.items()}, about)


def _load(path: Path, task: Task, settings: Settings, trainer: Trainer) -> _Position:
    state, about = load_arrays(path)
    expected = _identity(task, settings)
    for part in ("task", "settings"):
        found = about.get(part)
        if about.get("format") != _FORMAT or not isinstance(found, dict):
            raise ValueError(f"{path} is not the checkpoint of such a run")
        for name, value in expected[part].items():
            if found.get(name) != value:
                raise ValueError(
                    f"{path} is the checkpoint of a run with {name} {found.get(name)}; asked for {value}: give the "
                    "arguments of that run, another --output, or --overwrite"
                )
    trainer.load(state)
    position = about["position"]
    return _Position(**{**position, "curve": [Point(**point) for point in position["curve"]]})


def _last_good(task: Task, settings: Settings, trainer: Trainer, checkpoint: Path | None) -> _Position:
    """The last checkpoint, or where there is none the start, put back into the trainer."""
    if checkpoint is not None and checkpoint.exists():
        return _load(checkpoint, task, settings, trainer)
    _, fresh = _prepared(task, settings)
    trainer.load(fresh.state())
    return _Position(0, [], 0.0, 0.0, 0)


def save_network(path: Path, result: Result) -> None:
    """The parameters, with what they were trained for, as safetensors."""
    arrays = {name: np.asarray(p, order="C") for name, p in result.parameters.items()}
    save_arrays(path, arrays, {"format": _FORMAT, "steps": result.steps, **_identity(result.task, result.settings)})


# --- reports ----------------------------------------------------------------------------------------


def report(result: Result) -> dict[str, Any]:
    """All that is known of a result, ready for JSON."""
    problem = result.task.describe()
    content = {
        "problem": problem,
        "settings": asdict(result.settings),
        "errors": {name: e if e is None or math.isfinite(e) else None for name, e in result.errors.items()},
        "steps": result.steps,
        "diverged_at_step": result.diverged,
        "steps_per_second": result.timed_steps / result.seconds if result.seconds > 0 else None,
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
        "curve": [asdict(point) for point in result.curve],
        "made_with": {**made_with(), **result.about},
    }
    if isinstance(result.task, Elliptic):
        dimension = problem["dimension"]
        error = PUBLISHED_ERRORS.get((problem["equation"], problem["solution"]), {}).get(dimension)
        speed = PUBLISHED_SPEEDS.get(dimension) if error is not None else None
        if error is not None:
            content["published"] = {
                "source": "arXiv 2412.00088, sparse estimate with 16 samples, the least error on the way",
                "l2": error,
                **({} if speed is None else {"steps_per_second": speed[0], "megabytes": speed[1], "on": "A100 40 GB"}),
            }
    return content
