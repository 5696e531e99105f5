"""How a step is made: every optimiser, of whichever library, as a stage that goes some steps on and can be stored.

Floor 12. First-order methods are the backend's ``trainer``, or the few lines of Adam here where there is none;
Levenberg–Marquardt is ours, on rows and Jacobian of whatever library; SciPy's methods run on NumPy. What is minimised
is an :class:`ntaylor.objectives.Objective` of one data, which may be replaced between steps.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ntaylor import gradients
from ntaylor.dispatch import Trainer, adapter_for
from ntaylor.least_squares import Settings, State, levenberg_marquardt
from ntaylor.namespace import array_namespace, describe, device, did_you_mean, to_numpy
from ntaylor.objectives import FlatSystem, Objective

__all__ = ["CoreTrainer", "Note", "Stage", "stage_for"]

Array = Any
Note = Callable[[float, Mapping[str, float]], str]
"""note(loss, means of the terms) after every step -> why to stop now, "" to go on."""


class Stage(Protocol):
    """Some steps by one method."""

    exact: bool
    """Whether going on from ``state`` gives the very steps that would have followed."""

    def advance(self, steps: int, note: Note) -> str:
        """Go at most so many steps on, and say why it ended before: what ``note`` said, or "converged"; else ""."""

    def parameters(self) -> Mapping[str, Array]:
        """Arrays of the library that later steps do not change."""

    def replace_data(self, data: Mapping[str, Array]) -> None:
        """Other points or weights of the same shapes, from the next step on."""

    def state(self) -> dict[str, Array]:
        """NumPy arrays from which ``load`` goes on."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from such a state."""


def stage_for(
    chosen: Any,
    objective: Objective,
    parameters: Mapping[str, Array],
    data: Mapping[str, Array],
    *,
    steps: int,
    rate: float,
    seed: int,
) -> Stage:
    """The stage of an optimiser: a name, :class:`least_squares.Settings`, or what the library takes as one.

    Raises ValueError for an unknown name, TypeError for what is none.
    """
    first = next(iter(parameters.values()))
    adapter = adapter_for(first)
    on_numpy = isinstance(first, np.ndarray)
    if adapter.share is not None and adapter.share()[1] > 1 and _is_least_squares(chosen):
        raise ValueError(
            "least squares run in one process, all points in it: train with adam or lbfgs, or without torchrun"
        )
    if chosen == "lm" or isinstance(chosen, Settings):
        settings = Settings(steps=steps, solver="auto") if chosen == "lm" else replace(chosen, steps=steps)
        return _LevenbergMarquardt(settings, objective, parameters, data)
    if on_numpy and chosen in ("lbfgs", "least_squares"):
        return _Scipy(str(chosen), objective, parameters, data)
    own = adapter.least_squares
    trainer = None if own is None else own(lambda p, data: objective.rows(p, data)[0], parameters, data, chosen)
    if trainer is None:
        if chosen == "least_squares":
            raise ValueError("'least_squares' is SciPy's, for NumPy's arrays: use 'lm' here")
        make = adapter.trainer or CoreTrainer
        optimiser = None if chosen == "adam" else chosen
        trainer = make(objective.loss, parameters, data, steps, rate, seed, optimiser=optimiser, auxiliary=True)
    return _Steps(trainer)


def _is_least_squares(chosen: Any) -> bool:
    return isinstance(chosen, Settings) or chosen in ("lm", "least_squares")


class _Steps:
    """Steps of a trainer, counted; its loss is that before the step."""

    exact = True

    def __init__(self, trainer: Trainer):
        self._trainer = trainer
        self.parameters, self.state = trainer.parameters, trainer.state
        self.replace_data = trainer.replace_constants

    def load(self, state: Mapping[str, Array]) -> None:
        self._trainer.load(dict(state))

    def advance(self, steps: int, note: Note) -> str:
        for _ in range(steps):
            value, terms = self._trainer.step()
            reason = note(float(value), {name: float(a) for name, a in terms.items()})
            if reason:
                return reason
        return ""


class CoreTrainer:
    """A :class:`ntaylor.dispatch.Trainer` for libraries without one: Adam, its rate falling linearly to 0."""

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Mapping[str, Array],
        constants: Mapping[str, Array],
        steps: int,
        rate: float,
        seed: int,
        beta2: float = 0.999,
        optimiser: Any = None,
        auxiliary: bool = False,
    ):
        xp = array_namespace(*parameters.values())
        if optimiser is not None:
            known = ("adam", "lm", *(("lbfgs", "least_squares") if xp.__name__.endswith("numpy") else ()))
            if isinstance(optimiser, str):
                raise ValueError(
                    f"{xp.__name__.rpartition('.')[2]} has no optimiser {optimiser!r}: {did_you_mean(optimiser, known)}"
                    f"there are {', '.join(known)}"
                )
            raise TypeError(f"an optimiser is a name, one of {', '.join(known)}; got {describe(optimiser)}")
        self._loss, self._steps, self._rate, self._beta2, self._auxiliary = loss, steps, rate, beta2, auxiliary
        self._parameters = dict(parameters)
        self._first = {name: xp.zeros_like(p) for name, p in parameters.items()}
        self._second = dict(self._first)
        self._constants, self._count = constants, 0

    def replace_constants(self, constants: Mapping[str, Array]) -> None:
        self._constants = constants

    def step(self) -> Any:
        value, gradient = gradients.value_and_grad(lambda p: self._loss(p, self._constants, None), self._parameters)
        xp = array_namespace(*self._parameters.values())
        rate = self._rate * max(0.0, 1 - self._count / self._steps)
        self._count += 1
        corrected = [1 - beta**self._count for beta in (0.9, self._beta2)]
        for name, g in gradient.items():
            self._first[name] = 0.9 * self._first[name] + (1 - 0.9) * g
            self._second[name] = self._beta2 * self._second[name] + (1 - self._beta2) * g * g
            step = self._first[name] / corrected[0] / (xp.sqrt(self._second[name] / corrected[1]) + 1e-8)
            self._parameters[name] = self._parameters[name] - rate * step
        return value

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        return function(self._parameters, self._constants, *points)

    def parameters(self) -> Mapping[str, Array]:
        return dict(self._parameters)

    def state(self) -> dict[str, Any]:
        kinds = {"parameter": self._parameters, "first": self._first, "second": self._second}
        found = {f"{kind}.{name}": np.asarray(a) for kind, arrays in kinds.items() for name, a in arrays.items()}
        return {"count": np.asarray(self._count), **found}

    def load(self, state: Mapping[str, Any]) -> None:
        self._count = int(state["count"])
        for kind, arrays in {"parameter": self._parameters, "first": self._first, "second": self._second}.items():
            for name, old in arrays.items():
                made = array_namespace(old).asarray(state[f"{kind}.{name}"], dtype=old.dtype, device=device(old))
                arrays[name] = made

    def about(self) -> dict[str, Any]:
        return {"library": "ntaylor", "device": "cpu", "peak_bytes": None}


class _Flat:
    """What works on one vector θ."""

    def __init__(self, objective: Objective, parameters: Mapping[str, Array], data: Mapping[str, Array]):
        self._objective = objective
        self._system = FlatSystem(objective, parameters, data)
        self._theta = self._system.joined(parameters)

    def parameters(self) -> Mapping[str, Array]:
        return self._system.parameters(self._theta)

    def replace_data(self, data: Mapping[str, Array]) -> None:
        self._system.data = dict(data)

    def _terms(self) -> dict[str, float]:
        return self._system.means(self._theta)


class _LevenbergMarquardt(_Flat):
    exact = True

    def __init__(self, settings: Settings, *rest: Any):
        super().__init__(*rest)
        self._settings, self._now = settings, State(self._theta)

    def replace_data(self, data: Mapping[str, Array]) -> None:
        super().replace_data(data)
        self._now = replace(self._now, slow=0)

    def advance(self, steps: int, note: Note) -> str:
        settings = replace(self._settings, steps=self._now.step + steps)
        for state in levenberg_marquardt(self._system, replace(self._now, finished=""), settings):
            self._now, self._theta = state, state.theta
            if state.finished == "no decrease":
                # A cost that is no number is a matter for who is told of it.
                return (not math.isfinite(state.cost) and note(state.cost, self._terms())) or "converged"
            reason = note(state.cost, self._terms())
            if reason:
                return reason
            if state.finished in ("tolerance", "stalled"):
                return "converged"
        return ""

    def state(self) -> dict[str, Array]:
        now = self._now
        numbers = {"damping": now.damping, "cost": now.cost, "step": now.step, "slow": now.slow}
        return {"theta": np.array(to_numpy(now.theta)), **{name: np.asarray(v) for name, v in numbers.items()}}

    def load(self, state: Mapping[str, Array]) -> None:
        theta = np.asarray(state["theta"])
        if not self._system.on_host:
            theta = array_namespace(self._theta).asarray(theta, dtype=self._theta.dtype, device=device(self._theta))
        damping, cost = float(state["damping"]), float(state["cost"])
        self._theta = theta
        self._now = State(theta, damping, cost, int(state["step"]), int(state["slow"]))


class _Scipy(_Flat):
    """SciPy's L-BFGS-B and least squares: from where they are, but what they remember of their way is theirs alone."""

    exact = False

    def __init__(self, method: str, *rest: Any):
        super().__init__(*rest)
        self._method = method

    def advance(self, steps: int, note: Note) -> str:
        from scipy import optimize

        reasons: list[str] = []
        count = 0

        def stepped(intermediate_result: Any) -> None:
            nonlocal count
            self._theta = np.array(intermediate_result.x)
            count += 1
            terms = self._terms()
            loss = sum(float(self._system.data[f"weight {name}"]) * mean for name, mean in terms.items())
            reason = note(loss, terms)
            if reason or count >= steps:
                reasons.append(reason)
                raise StopIteration

        with self._without_numbers(note, reasons):
            if self._method == "lbfgs":
                options = {"maxiter": steps, "maxfun": 50 * steps + 100, "ftol": 0.0, "gtol": 1e-14, "maxcor": 50}
                optimize.minimize(
                    self._value_and_gradient,
                    self._theta,
                    jac=True,
                    method="L-BFGS-B",
                    callback=stepped,
                    options=options,
                )
            else:
                system = self._system
                optimize.least_squares(
                    system.residual,
                    self._theta,
                    jac=lambda theta: system.residual_and_jacobian(theta)[1],
                    callback=stepped,
                    max_nfev=20 * steps,
                    xtol=1e-15,
                    ftol=1e-15,
                    gtol=1e-15,
                )
        if not reasons:
            terms = self._terms()
            bad = not all(math.isfinite(mean) for mean in terms.values())
            return note(math.nan, terms) if bad else "converged"
        return reasons[0]

    @contextlib.contextmanager
    def _without_numbers(self, note: Note, reasons: list[str]) -> Iterator[None]:
        """SciPy refuses residuals that are no numbers where it begins; then they are named as everywhere."""
        try:
            yield
        except ValueError:
            terms = self._terms()
            if all(math.isfinite(mean) for mean in terms.values()):
                raise
            reasons.append(note(math.nan, terms))

    def _value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        (value, _), gradient = gradients.value_and_grad(
            lambda p: self._objective.loss(p, self._system.data), self._system.parameters(theta)
        )
        return float(value), self._system.joined(gradient)

    def state(self) -> dict[str, Array]:
        return {"theta": np.array(self._theta)}

    def load(self, state: Mapping[str, Array]) -> None:
        self._theta = np.array(state["theta"])


def names_of(chosen: Any) -> Sequence[str]:
    """An optimiser as words, for reports and to tell whether a checkpoint is of the same."""
    return [chosen] if isinstance(chosen, str) else [type(chosen).__name__, getattr(chosen, "__name__", "")]
