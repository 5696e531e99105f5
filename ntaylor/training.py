"""``train``: a problem, a network, and a run from one to the other that can be stopped, stored and gone on with.

Floor 14. What is minimised is said in ``objectives``, how a step is made in ``optimisers``; here steps are counted,
looked at, shown and stored. A run that is interrupted between two steps goes on, with ``resume``, on the trajectory
that it would have followed. One whose loss is no finite number any more ends, and keeps its last good parameters.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.interruptions import interruptions_between_steps
from ntaylor.least_squares import Settings
from ntaylor.namespace import describe, is_count, is_number
from ntaylor.objectives import UNKNOWN
from ntaylor.optimisers import Stage, stage_for
from ntaylor.preparation import Prepared, Request, prepared
from ntaylor.progress_bar import bar_on
from ntaylor.storage import load_arrays, save_arrays
from ntaylor.training_results import Point, TrainingResult, point_as_dict, point_of_dict

__all__ = ["train"]

Array = Any

_FORMAT = 1
_POINTS = 400
"""Of a run's history, at most about so many a stage."""
_STOPS = ("loss", "error", "patience", "seconds")


def train(
    problem: Any,
    net: Any,
    *,
    optimizer: Any = "lm",
    steps: int | Sequence[int] = 200,
    points: Any = 2000,
    condition_points: int | None = None,
    sampling: str = "sobol",
    resample: int | None = None,
    weights: Mapping[str, float] | None = None,
    balance: str | None = None,
    sobolev: int = 0,
    sobolev_weights: Any = None,
    rate: float = 1e-3,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    every_seconds: float = 30.0,
    progress: bool = True,
    stop: Mapping[str, float] | None = None,
    devices: Any = None,
    on_step: Callable[[Point], None] | None = None,
) -> TrainingResult:
    """Train a network to solve a problem, on the library and device that its parameters are on.

    Parameters
    ----------
    problem: an :class:`ntaylor.Problem`.
    net: an ``nt.MLP``, a ``torch.nn.Module`` (trained in place), or a JAX tree such as an Equinox module (a new one is
        in the result).
    optimizer: ``"lm"``, Levenberg–Marquardt, on every library; ``"adam"``, its ``rate`` falling linearly to 0;
        ``"lbfgs"`` (SciPy's, torch's, Optax's); ``"least_squares"`` (SciPy's, on NumPy); any other name that
        ``torch.optim`` or Optax has; a class or factory of torch's, an Optax transformation, an Optimistix solver,
        or ``least_squares.Settings``. A list of them is a stage each.
    steps: at most so many, one number a stage.
    points: how many of the interior, or an array (n, d) of them. ``condition_points``: how many on each condition.
    sampling: "sobol", "latin", "uniform" or "grid"; ``resample=K`` draws fresh ones every K steps.
    weights: by term, such as ``{"t=0": 100.0}``, in place of the conditions' own.
    balance: ``"gradients"`` or a rule of ``ntaylor.balancing``: weights such that the terms' gradients are of one size,
        found anew every 100 steps.
    sobolev, sobolev_weights: the equation's residual with its derivatives to this order: see :func:`ntaylor.residual`.
    seed: of the points.
    checkpoint: a file that the run is stored in every so many seconds, when interrupted, and at the end; with
        ``resume`` the run goes on from it, if it is there.
    stop: any of ``{"loss": …, "error": …, "patience": steps, "seconds": …}``: below such a loss or error, after so many
        steps in which the loss did not fall by a thousandth, or after such a time.
    devices: on JAX a ``jax.sharding.Mesh`` over which the points are shared out. On torch, points are shared out among
        the processes of ``torch.distributed``, where that runs.
    on_step: called with a :class:`ntaylor.training_results.Point` after every step.

    Raises TypeError or ValueError for arguments that do not fit, or a checkpoint of another run; a loss that becomes no
    finite number is a RuntimeWarning that names the term and the step, and ``diverged`` in the result.
    """
    # Optax's transformations are named tuples.
    stages = list(optimizer) if type(optimizer) in (list, tuple) else [optimizer]
    counts: list[Any] = list(steps) if isinstance(steps, (list, tuple)) else [steps] * len(stages)
    if not stages or len(stages) != len(counts) or not all(is_count(n) for n in counts):
        raise ValueError(
            f"steps is a whole number > 0 for every optimizer; got steps={steps!r}, optimizer={optimizer!r}"
        )
    counts = [int(n) for n in counts]
    if any(chosen is None for chosen in stages):
        raise TypeError("optimizer=None is none: leave it out for 'lm', or pass a name such as 'adam'")
    if not (is_number(rate) and 0 < rate < math.inf):
        raise ValueError(f"rate is a finite number > 0, got {rate!r}")
    if not isinstance(stop or {}, Mapping):
        raise TypeError(f"stop takes numbers > 0 by {', '.join(_STOPS)}, such as {{'loss': 1e-9}}; got {stop!r}")
    for name, value in (stop or {}).items():
        if name not in _STOPS or not (is_number(value) and value > 0):
            raise ValueError(f"stop takes numbers > 0 by {', '.join(_STOPS)}; got {name!r}: {value!r}")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs the checkpoint to go on from: pass checkpoint=…")
    request = Request(
        points, condition_points, sampling, resample, weights, balance, sobolev, sobolev_weights, seed, devices
    )
    run = _Run(
        prepared(problem, net, request), stages, counts, rate, dict(stop or {}), on_step,
        None if checkpoint is None else Path(checkpoint), every_seconds,
    )  # fmt: skip
    if resume and run.checkpoint is not None and run.checkpoint.exists():
        run.load()
    return run.to_the_end(progress)


class _Run:
    """The state of a run between two steps."""

    def __init__(
        self,
        ready: Prepared,
        stages: list[Any],
        counts: list[int],
        rate: float,
        stop: dict[str, float],
        on_step: Callable[[Point], None] | None,
        checkpoint: Path | None,
        every_seconds: float,
    ):
        self.ready, self.stages, self.counts, self.rate, self.stop = ready, stages, counts, rate, stop
        self.on_step, self.every_seconds = on_step, every_seconds
        self.checkpoint = checkpoint
        self.place = 0
        """The stage that runs."""
        self.done = 0
        """Its steps that are done."""
        self.history: list[Point] = []
        self.seconds = 0.0
        self.best, self.waited = math.inf, 0
        self.reason, self.failed = "", ""
        self.parameters = dict(ready.start)
        """The last that were good."""
        self.kept = 0
        """Their step."""
        self.mistake: Exception | None = None
        """An error of what looks on, which is none of the numbers'."""
        self.stage: Stage | None = None
        self.clock = time.perf_counter()
        self.stored = time.monotonic()
        if "seconds" in stop and not ready.alone:
            raise ValueError("stop={'seconds': …} is for one process: several would not stop at the same step")

    # --- the run --------------------------------------------------------------------------------------

    def to_the_end(self, progress: bool) -> TrainingResult:
        from rich.console import Console

        bar = bar_on(Console(stderr=True))
        bar.disable = bar.disable or not progress or not self.ready.first_process
        self.clock = time.perf_counter()
        try:
            with bar, interruptions_between_steps() as interrupted:
                while self.place < len(self.stages) and not self.reason:
                    self._run_stage(bar, interrupted)
        except KeyboardInterrupt:
            self._store()
            self._given()
            raise
        if not self.reason:
            self.reason = "steps"
        result = self._result()
        self._store()
        return result

    def _run_stage(self, bar: Any, interrupted: Callable[[], bool]) -> None:
        steps = self.counts[self.place]
        stage = self.stage or self._made()
        self.stage = stage
        label = _name(self.stages[self.place])
        task = bar.add_task(label, total=steps, completed=self.done)

        def note(loss: float, terms: Mapping[str, float]) -> str:
            try:
                reason = self._noted(loss, {name: terms[name] for name in self.ready.terms if name in terms}, stage)
            except ValueError as error:
                self.mistake = error
                raise
            if interrupted():
                raise KeyboardInterrupt
            bar.update(task, completed=self.done, description=f"{label} {_shown(loss, terms, self.history)}")
            return reason

        while self.done < steps:
            every = self.ready.period
            # Counted over all stages, so that a run that goes on changes its data at the same steps.
            left = steps - self.done if every is None else min(steps - self.done, every - self._step % every)
            self.reason = self._advanced(stage, left, note)
            if self.reason == "converged" and self.place + 1 < len(self.stages):
                self.reason = ""  # the next method may still get further
                break
            if self.reason:
                return
            if self.done < steps:
                stage.replace_data(self.ready.data(self._step, stage.parameters()))
        self.parameters, self.kept = dict(stage.parameters()), self._step
        bar.remove_task(task)
        self.place, self.done, self.stage = self.place + 1, 0, None
        self.best, self.waited = math.inf, 0

    def _advanced(self, stage: Stage, steps: int, note: Callable[[float, Mapping[str, float]], str]) -> str:
        try:
            return stage.advance(steps, note)
        except ValueError as error:
            if not self.history or error is self.mistake:
                raise
            # NumPy's functions say that they were left without a derivative where others give no number.
            self.failed = f"no finite number at step {self._step + 1}: {error}"
            return self.failed

    def _made(self) -> Stage:
        ready = self.ready
        data = ready.data(self._step, self.parameters)
        chosen, steps = self.stages[self.place], self.counts[self.place]
        return stage_for(
            chosen, ready.objective, self.parameters, data, steps=steps, rate=self.rate, seed=ready.request.seed
        )

    @property
    def _step(self) -> int:
        """Steps of all stages; one that ended early counts as asked for, so that points follow from it alone."""
        return sum(self.counts[: self.place]) + self.done

    def _noted(self, loss: float, terms: dict[str, float], stage: Stage) -> str:
        """Count a step; why to end, or ""."""
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if bad or not math.isfinite(loss):
            what = ", ".join(f"{name} is {terms[name]}" for name in bad) or f"the loss is {loss}"
            self.failed = f"no finite number at step {self._step + 1}: {what}"
            return self.failed
        self.done += 1
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        reason, error = "", None
        looked = self.done % max(1, self.counts[self.place] // _POINTS) == 0 or self.done == self.counts[self.place]
        if looked or "error" in self.stop or self.on_step is not None:
            parameters = stage.parameters()
            if not self.ready.finite(parameters):
                self.failed = f"no finite number at step {self._step}: the parameters, after a loss of {loss:.3g}"
                return self.failed
            self.parameters, self.kept = dict(parameters), self._step
            error = self.ready.error(parameters) if looked or "error" in self.stop else None
            unknowns = {n: float(parameters[UNKNOWN + n]) for n in self.ready.problem.unknowns}
            point = Point(self._step, self.place, loss, terms, error, unknowns, self.seconds)
            if looked:
                self.history.append(point)
            if self.on_step is not None:
                self.on_step(point)
            self.clock = time.perf_counter()  # looking is not training
        if loss < (1 - 1e-3) * self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        reason = self._stops(loss, error)
        if self.checkpoint is not None and time.monotonic() - self.stored >= self.every_seconds:
            self._store()
        return reason

    def _stops(self, loss: float, error: float | None) -> str:
        stop = self.stop
        if loss < stop.get("loss", 0.0):
            return "loss"
        if error is not None and error < stop.get("error", 0.0):
            return "error"
        if self.waited >= stop.get("patience", math.inf):
            return "patience"
        return "seconds" if self.seconds > stop.get("seconds", math.inf) else ""

    def _good(self) -> dict[str, Array]:
        """The parameters to keep."""
        if self.failed or self.stage is None:
            return self.parameters
        return dict(self.stage.parameters())

    def _given(self) -> Any:
        """The network that the user gets."""
        good = self._good()
        return self.ready.model.given({name: good[name] for name in self.ready.model.arrays})

    def _result(self) -> TrainingResult:
        good = self._good()
        if self.failed:
            warnings.warn(f"{self.failed}; the network is that of step {self.kept}", RuntimeWarning, stacklevel=4)
        errors = self.ready.errors(good)
        return TrainingResult(
            network=self._given(),
            function=self.ready.objective.function(good),
            unknowns={name: float(good[UNKNOWN + name]) for name in self.ready.problem.unknowns},
            history=list(self.history),
            error=errors.get("relative_l2"),
            errors=errors,
            steps=self.kept if self.failed else self._step,
            reason=self.reason,
            diverged=bool(self.failed),
            seconds=self.seconds,
            settings=self._identity(),
            parameters=self.ready.to_numpy(good),
        )

    # --- checkpoints ----------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {
            **self.ready.identity(),
            "optimizer": [str(c) if isinstance(c, Settings) else _name(c) for c in self.stages],
            "steps": self.counts,
            "rate": self.rate,
        }

    def _store(self) -> None:
        """Write where the run is; after a failure what was good is written as a network alone."""
        if self.checkpoint is None or not self.ready.first_process:  # which all read, and one writes
            return
        arrays = {f"good.{name}": a for name, a in self.ready.to_numpy(self._good()).items()}
        if self.stage is not None and not self.failed:
            arrays |= {f"stage.{name}": np.array(a, order="C") for name, a in self.stage.state().items()}
        about = {
            "format": _FORMAT,
            "identity": self._identity(),
            "place": self.place,
            "done": self.done,
            "seconds": self.seconds,
            "best": None if math.isinf(self.best) else self.best.hex(),
            "waited": self.waited,
            "kept": self.kept,
            "reason": self.reason,
            "failed": self.failed,
            "history": [point_as_dict(p) for p in self.history],
        }
        arrays |= {f"data.{name}": a for name, a in self.ready.kept().items()}
        save_arrays(self.checkpoint, arrays, about)
        self.stored = time.monotonic()

    def load(self) -> None:
        """Go on from the checkpoint; ValueError for one of another run."""
        assert self.checkpoint is not None
        arrays, about = load_arrays(self.checkpoint)
        if about.get("format") != _FORMAT or not isinstance(about.get("identity"), dict):
            raise ValueError(f"{self.checkpoint} is not the checkpoint of such a run")
        for name, value in self._identity().items():
            if about["identity"].get(name) != value:
                raise ValueError(
                    f"{self.checkpoint} is the checkpoint of a run with {name} = {about['identity'].get(name)}; asked "
                    f"for {value}: give the arguments of that run, another checkpoint, or leave resume out"
                )
        self.place, self.done, self.seconds = about["place"], about["done"], about["seconds"]
        self.best = math.inf if about["best"] is None else float.fromhex(about["best"])
        self.waited, self.failed, self.kept = about["waited"], about["failed"], about["kept"]
        # What the run ended for may be asked for no longer; a run that came to its end stays there.
        self.reason = about["reason"] if about["reason"] in ("steps", "converged") or self.failed else ""
        self.history = [point_of_dict(p) for p in about["history"]]

        def of(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        self.parameters = self.ready.of_numpy(of("good."))
        self.ready.keep(of("data."))
        state = of("stage.")
        if state and not self.failed:
            self.stage = self._made()
            self.stage.load(state)


def _name(chosen: Any) -> str:
    if isinstance(chosen, str):
        return chosen
    return getattr(chosen, "__name__", None) or type(chosen).__name__ or describe(chosen)


def _shown(loss: float, terms: Mapping[str, float], history: Sequence[Point]) -> str:
    parts = [f"loss {loss:.2e}", *(f"{name} {value:.1e}" for name, value in list(terms.items())[:4])]
    error = next((p.error for p in reversed(history) if p.error is not None), None)
    return "  ".join(parts if error is None else [*parts, f"error {error:.1e}"])
