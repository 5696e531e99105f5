"""The search for a self-similar profile: U and λ together, from a seed to a verdict.

Floor 14. Three stages of Levenberg–Marquardt on one odd network:

1. *hold*: λ is kept at the middle of its interval until U has formed, for a free λ runs to its bound before.
   The residuals above order 2k+1 are left out: at a wrong λ that of order 2k+3 asks for U^(2k+3)(0) = 0
   (equation (7.1)), which would erase the one coefficient that identifies λ.
2. *release*: λ is free and all orders are imposed.
3. *widen*: a second block of many tanh features of short wavelength is put beside the first, with output
   weights zero, and everything is trained on. The problem is nearly linear in those weights; with the
   hidden weights' columns scaled down the steps are almost Newton's, and the last digits come in a few.

The verdict is :meth:`SelfSimilarBurgers.diagnose`. A run that ends in a trap is started again from other
random weights; what never passes is reported as not converged, whatever its residual: the last attempt's
network, with what spoke against each.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ntaylor.composites import Chain, Odd, Sum
from ntaylor.differentiate import derivatives
from ntaylor.layers import Activate, Dense
from ntaylor.least_squares import Settings, State, levenberg_marquardt
from ntaylor.networks import MLP
from ntaylor.pointwise import ResidualSystem
from ntaylor.problems.self_similar_burgers import LIMITS, SelfSimilarBurgers, output_weights
from ntaylor.storage import load_arrays, made_with, save_arrays

__all__ = [
    "STAGES",
    "Progress",
    "Result",
    "derivatives_beside_exact",
    "load_network",
    "report",
    "save_network",
    "search",
]

Array = Any

STAGES = ("hold", "release", "widen")
_WIDTH = 20
_WIDE = 200
_ATTEMPTS = 4


@dataclass(frozen=True)
class Progress:
    """Where the search stands, as given to ``on_step`` after every step."""

    attempt: int
    stage: str
    step: int
    steps: int
    """At most this many in this stage."""
    cost: float
    lam: float


@dataclass(frozen=True)
class Result:
    """What the search ended with. ``against`` is empty if and only if the profile counts as found."""

    problem: SelfSimilarBurgers
    seed: int
    network: MLP
    lam: float
    figures: dict[str, float]
    against: list[str]
    steps: int
    """Levenberg–Marquardt steps of all attempts."""
    attempts: int
    seconds: float
    costs: list[float]
    """r·r after every step of the last attempt."""
    rejected: list[list[str]]
    """What spoke against each earlier attempt."""

    @property
    def converged(self) -> bool:
        return not self.against


@dataclass(frozen=True)
class _Position:
    """All that a checkpoint holds."""

    attempt: int
    stage: int
    state: State
    steps: int
    seconds: float
    costs: list[float]
    rejected: list[list[str]]


def search(
    problem: SelfSimilarBurgers,
    seed: int,
    *,
    on_step: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Result:
    """Find the profile, starting from λ in the middle of its interval and random weights from ``seed``.

    With ``checkpoint`` the position is stored there once a second, when interrupted, and at the end: the file is
    the caller's to remove once the result is safe. With ``resume`` the search goes on from it, on the
    trajectory it would have followed. Raises ValueError for a checkpoint of another profile or seed.
    """
    position = None
    if resume and checkpoint is not None and checkpoint.exists():
        position = _load(checkpoint, problem, seed)
    if position is None:
        position = _Position(0, 0, _start(problem, seed, 0), 0, 0.0, [], [])
    clock = _Clock(position.seconds)
    stored = time.monotonic()
    # These matrices are small: a second BLAS thread gains nothing, and waits for a core when others run.
    single = threadpool_limits(limits=1, user_api="blas")
    try:
        while True:
            system, settings = _stage(problem, seed, position.attempt, position.stage)
            for state in levenberg_marquardt(system, position.state, settings):
                # One assignment, so that an interruption finds a position that is whole.
                position = replace(position, state=state, steps=position.steps + 1, costs=[*position.costs, state.cost])
                if on_step is not None:
                    stage, lam = STAGES[position.stage], float(state.theta[-1])
                    on_step(Progress(position.attempt, stage, state.step, settings.steps, state.cost, lam))
                if checkpoint is not None and time.monotonic() - stored > 1:
                    _save(checkpoint, problem, seed, position, clock)
                    stored = time.monotonic()
            if position.stage + 1 < len(STAGES):
                entered = _enter(problem, seed, position, system)
                position = replace(position, stage=position.stage + 1, state=entered)
                continue
            network, unknowns = system.unpack(position.state.theta)
            figures, against = problem.diagnose(network, unknowns["lam"])
            if not against or position.attempt + 1 == _ATTEMPTS:
                break
            following = position.attempt + 1
            position = replace(
                position, attempt=following, stage=0, costs=[], state=_start(problem, seed, following),
                rejected=[*position.rejected, against],
            )  # fmt: skip
    except KeyboardInterrupt:
        if checkpoint is not None:
            _save(checkpoint, problem, seed, position, clock)
        raise
    finally:
        single.restore_original_limits()
    if checkpoint is not None:
        _save(checkpoint, problem, seed, position, clock)
    return Result(
        problem, seed, network, float(unknowns["lam"]), figures, against, position.steps, position.attempt + 1,
        clock.elapsed(), position.costs, position.rejected,
    )  # fmt: skip


class _Clock:
    """Seconds of this run and of those that it goes on from."""

    def __init__(self, before: float):
        self._before = before
        self._begun = time.monotonic()

    def elapsed(self) -> float:
        return self._before + time.monotonic() - self._begun


# --- the stages -----------------------------------------------------------------------------------


def _generator(seed: int, attempt: int, stage: int) -> np.random.Generator:
    return np.random.default_rng([seed, attempt, stage])


def _features(rng: np.random.Generator, widths: tuple[int, ...], frequency: float) -> Chain:
    """A tanh network 1 → widths → 1 without output bias (it would cancel in an odd one), output weights 0.

    First-layer slopes are ±frequency·[0.3, 1] and the features are centred at points of [−2, 2].
    """
    slope = frequency * rng.uniform(0.3, 1, widths[0]) * rng.choice([-1.0, 1.0], widths[0])
    layers = [Dense(slope[None, :], -slope * rng.uniform(-2, 2, widths[0])), Activate("tanh")]
    for n_in, n_out in itertools.pairwise(widths):
        weight = rng.standard_normal((n_in, n_out)) / np.sqrt(n_in)
        layers += [Dense(weight, rng.uniform(-1, 1, n_out)), Activate("tanh")]
    return Chain([*layers, Dense(np.zeros((widths[-1], 1)))])


def _architecture(seed: int, attempt: int, stage: int) -> MLP:
    """The network of a stage with the random weights it starts from."""
    first = _features(_generator(seed, attempt, 0), (_WIDTH, _WIDTH), 1.0)
    if STAGES[stage] != "widen":
        return MLP([Odd([first])])
    second = _features(_generator(seed, attempt, stage), (_WIDE,), 8.0)
    return MLP([Odd([Sum([first, second])])])


def _start(problem: SelfSimilarBurgers, seed: int, attempt: int) -> State:
    """The straight line between the boundary values, as nearly as the random features give it.

    From random output weights the network can fall to U = 0, for R′(0) = U′(1 + U′) allows U′(0) = 0 too.
    """
    network = _architecture(seed, attempt, 0)
    (name,) = output_weights(network)
    x = np.linspace(0, 2, 60)
    features = np.stack(
        [network.replace({**network.parameters, name: column[:, None]})(x) for column in np.eye(_WIDTH)], axis=1
    )
    normal = features.T @ features + 1e-3 * np.eye(_WIDTH)
    weights = np.linalg.solve(normal, features.T @ (-x / 2))
    network = network.replace({**network.parameters, name: weights[:, None]})
    return State(problem.system(network, 81, 0).pack(network, {"lam": problem.middle}))


def _stage(problem: SelfSimilarBurgers, seed: int, attempt: int, stage: int) -> tuple[ResidualSystem, Settings]:
    """What is to vanish in a stage, and how it is stepped."""
    network = _architecture(seed, attempt, stage)
    top = problem.selecting_order
    if STAGES[stage] == "hold":
        system = problem.system(network, 81, top - 2)
        return system, Settings(steps=20, held=system.mask("lam"))
    low, high = problem.interval
    wide = STAGES[stage] == "widen"
    system = problem.system(network, 161 if wide else 81, top)
    is_lam = np.asarray(system.mask("lam"))
    bounds: dict[str, Any] = {"lower": np.where(is_lam, low, -np.inf), "upper": np.where(is_lam, high, np.inf)}
    if not wide:
        return system, Settings(steps=120, tolerance=1e-7, **bounds)
    linear = np.asarray(system.mask(*output_weights(network), "lam"))
    scale = np.where(linear, 1.0, 0.03)
    return system, Settings(
        steps=10, tolerance=1e-24, stall=0.5, factors=(1e-6, 1e-4, 1e-2, 1.0), acceleration=False, scale=scale, **bounds
    )


def _enter(problem: SelfSimilarBurgers, seed: int, position: _Position, system: ResidualSystem) -> State:
    """The state that the next stage starts from: the same function, in that stage's network."""
    network, unknowns = system.unpack(position.state.theta)
    stage = position.stage + 1
    if STAGES[stage] != "widen":
        return State(position.state.theta)
    following = _architecture(seed, position.attempt, stage)
    old = list(network.parameters.values())
    # The first block's parameters come first in both, in the same order.
    parameters = dict(following.parameters)
    parameters.update(zip(list(parameters)[: len(old)], old, strict=True))
    following = following.replace(parameters)
    theta = problem.system(following, 161, problem.selecting_order).pack(following, {"lam": float(unknowns["lam"])})
    return State(theta, damping=1e-12)


# --- reports --------------------------------------------------------------------------------------


def derivatives_beside_exact(result: Result) -> tuple[Array, Array, Array]:
    """(x, found, exact) on a fine grid of [−2, 2]: derivatives to the highest order that the search used."""
    order = result.problem.selecting_order + 1
    x = np.linspace(-2, 2, 4001)
    factorials = np.asarray([math.factorial(k) for k in range(order + 1)], dtype=float)[:, None]
    return x, derivatives(result.network, x, order), result.problem.exact_coefficients(x, order) * factorials


def report(result: Result) -> dict[str, Any]:
    """All that is known of a result, ready for JSON. Here, and only here, the exact solution is looked at."""
    problem = result.problem
    _, found, exact = derivatives_beside_exact(result)
    errors = np.max(np.abs(found - exact), axis=1)
    sizes = np.max(np.abs(exact), axis=1)
    return {
        "profile": problem.profile,
        "lambda": result.lam,
        "lambda_exact": problem.exact_lambda,
        "lambda_error": abs(result.lam - problem.exact_lambda),
        "lambda_interval": list(problem.interval),
        "max_error": float(errors[0]),
        "max_error_is": "max |U − U_exact| on 4001 equidistant points of [−2, 2]",
        "converged": result.converged,
        "against": result.against,
        "seed": result.seed,
        "steps": result.steps,
        "attempts": result.attempts,
        "rejected_attempts": result.rejected,
        "seconds": result.seconds,
        "residual_norms": {
            "what": "max |R^(m)/m!|; m = 0, 1 on 2000 points of [0, 2], the others on 6 points of [0, 0.1]",
            **{str(m): norm for m, norm in enumerate(problem.residual_norms(result.network, np.asarray(result.lam)))},
        },
        "derivative_errors": {
            "what": "max |U^(m) − exact| / max |exact| on [−2, 2]",
            **{str(m): float(e / s) for m, (e, s) in enumerate(zip(errors, sizes, strict=True))},
        },
        "diagnosis": {
            # A figure that is no number (0/0 where U has collapsed) speaks against the run already.
            name: {
                "value": value if math.isfinite(value) else None,
                "must_be_below": LIMITS[name].below,
                "what": LIMITS[name].what,
            }
            for name, value in result.figures.items()
        },
        "costs_of_the_last_attempt": result.costs,
        "network": repr(result.network),
        "made_with": made_with(),
    }


# --- files ----------------------------------------------------------------------------------

_FORMAT = 1


def save_network(path: Path, result: Result) -> None:
    """The found network's parameters, with profile, seed and λ, as safetensors."""
    arrays = {name: np.ascontiguousarray(p) for name, p in result.network.parameters.items()}
    about = {"format": _FORMAT, "profile": result.problem.profile, "seed": result.seed, "lambda": result.lam}
    save_arrays(path, arrays, about)


def load_network(path: Path) -> tuple[MLP, float]:
    """(U, λ) from a file of :func:`save_network`: a network on the whole of [−2, 2], and its λ."""
    arrays, about = load_arrays(path)
    if about.get("format") != _FORMAT or "lambda" not in about:
        raise ValueError(f"{path} is not the network of a profile search: it should be a network.safetensors")
    return _architecture(0, 0, STAGES.index("widen")).replace(arrays), about["lambda"]


def _save(path: Path, problem: SelfSimilarBurgers, seed: int, position: _Position, clock: _Clock) -> None:
    state = position.state
    save_arrays(
        path,
        {"theta": state.theta, "costs": np.asarray(position.costs)},
        {
            "format": _FORMAT,
            "profile": problem.profile,
            "seed": seed,
            "attempt": position.attempt,
            "stage": position.stage,
            "steps": position.steps,
            "seconds": clock.elapsed(),
            "rejected": position.rejected,
            # As text with all digits: the trajectory goes on from these very numbers.
            "damping": state.damping.hex(),
            "cost": float(state.cost).hex(),
            "step": state.step,
            "slow": state.slow,
            "finished": state.finished,
        },
    )


def _load(path: Path, problem: SelfSimilarBurgers, seed: int) -> _Position:
    arrays, data = load_arrays(path)
    found = (data.get("format"), data.get("profile"), data.get("seed"))
    if found != (_FORMAT, problem.profile, seed):
        raise ValueError(
            f"{path} is a checkpoint of profile {found[1]}, seed {found[2]} (format {found[0]}); asked for profile "
            f"{problem.profile}, seed {seed}: give --profile {found[1]} --seed {found[2]}, or start without --resume"
        )
    state = State(
        arrays["theta"], float.fromhex(data["damping"]), float.fromhex(data["cost"]), data["step"], data["slow"],
        data["finished"],
    )  # fmt: skip
    return _Position(
        data["attempt"], data["stage"], state, data["steps"], data["seconds"], arrays["costs"].tolist(),
        data["rejected"],
    )  # fmt: skip
