"""Training runs in high dimension: what a step is, what is minimised, and that a run can be broken off."""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest

from ntaylor import high_dimensional_training as training
from ntaylor.dispatch import adapter_for
from ntaylor.high_dimensional_tasks import METHODS, Elliptic, Parabolic, Settings
from ntaylor.networks import MLP
from ntaylor.problems.high_dimensional import HighDimensional
from ntaylor.problems.semilinear import Semilinear

MODULES = {"jax": "jax.numpy", "torch": "torch"}
BALL = Elliptic(HighDimensional("allen-cahn", "two-body", 4))
HEAT = Parabolic(Semilinear("heat", 3))
SMALL = Settings(width=6, depth=2, batch=8, steps=12, test_points=50, dtype="float64", method="full-ad")


@pytest.fixture(params=["jax", "torch"])
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "jax":
        pytest.importorskip("optax")
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    else:
        importlib.import_module("torch").set_num_threads(1)
    return request.param


def adapter(backend):
    return adapter_for(importlib.import_module(MODULES[backend]).zeros(1))


def number(array):
    return float(array.detach() if hasattr(array, "detach") else array)


# --- a step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta2", [0.999, 0.9])
def test_a_step_is_one_of_adam_with_a_rate_that_falls_linearly_to_zero(backend, beta2):
    """Adam written out, on Σ c_i p_i⁴ / 4, whose gradient is c p³."""
    p, c, steps, rate = np.asarray([1.0, -2.0, 0.5]), np.asarray([1.0, 0.1, 3.0]), 5, 0.1

    def loss(parameters, constants, draw):
        return (constants[0] * parameters["p"] ** 4).sum() / 4

    trainer = adapter(backend).trainer(loss, {"p": p}, [c], steps, rate, 0, beta2)
    m, v = np.zeros(3), np.zeros(3)
    for k in range(steps):
        assert number(trainer.step()) == pytest.approx(float(np.sum(c * p**4) / 4), rel=1e-6)
        gradient = c * p**3
        m, v = 0.9 * m + 0.1 * gradient, beta2 * v + (1 - beta2) * gradient**2
        corrected = (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - beta2 ** (k + 1))) + 1e-8)
        p = p - rate * (1 - k / steps) * corrected
        np.testing.assert_allclose(trainer.state()["parameter.p"], p, rtol=1e-6)  # Optax keeps the rate in float32
    found = trainer.evaluate(lambda parameters, constants, x: parameters["p"] * x + constants[0], np.ones(3))
    np.testing.assert_allclose(found, p + c, rtol=1e-6)
    assert set(trainer.about()) == {"library", "device", "peak_bytes"}


def test_the_numbers_of_a_step_follow_from_seed_and_count_and_differ_within_it(backend):
    def loss(parameters, constants, draw):
        a, b = draw.normal((3,)), draw.normal((3,))
        return (parameters["p"] * 0).sum() + (a - b).sum() + (draw.normal((2,)) - draw.normal((2,))).sum()

    def losses(seed):
        trainer = adapter(backend).trainer(loss, {"p": np.ones(3)}, [], 9, 0.1, seed)
        return [number(trainer.step()) for _ in range(4)]

    # Were two draws of one step the same, every loss would be zero.
    assert losses(0) == losses(0)
    assert len({*losses(0), *losses(1)}) == 8


def test_a_loaded_state_goes_on_where_it_was(backend):
    def loss(parameters, constants, draw):
        return ((parameters["p"] - draw.normal((3,))) ** 2).sum()

    def trainer():
        return adapter(backend).trainer(loss, {"p": np.ones(3)}, [], 9, 0.1, 0)

    one, other = trainer(), trainer()
    for _ in range(3):
        one.step()
    kept = one.state()
    other.load({name: np.array(a) for name, a in kept.items()})
    assert [number(one.step()) for _ in range(3)] == [number(other.step()) for _ in range(3)]
    np.testing.assert_array_equal(one.state()["parameter.p"], other.state()["parameter.p"])


def test_the_diagonal_of_the_hessian_is_that_of_a_closed_form(backend):
    xp = importlib.import_module(MODULES[backend])
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = adapter(backend).hessian_diagonal(lambda x: (x**3).sum(-1) * x[:, 0], xp.asarray(x))
    s, first = np.sum(x**3, axis=-1), x[:, :1]
    gradient = 3 * x**2 * first + s[:, None] * np.eye(3)[0]
    diagonal = 6 * x * first + 6 * x**2 * np.eye(3)[0]
    for a, b in zip(found, (s * x[:, 0], gradient, diagonal), strict=True):
        np.testing.assert_allclose(np.asarray(a.detach() if hasattr(a, "detach") else a), b, rtol=1e-12, atol=1e-12)


# --- what is minimised ------------------------------------------------------------------------------


class Fixed:
    """A draw whose points are known."""

    def __init__(self, backend):
        self.backend, self.numbers = backend, np.random.default_rng(5)

    def normal(self, shape):
        return importlib.import_module(MODULES[self.backend]).asarray(self.numbers.standard_normal(shape))

    def uniform(self, shape):
        return importlib.import_module(MODULES[self.backend]).asarray(self.numbers.random(shape))

    def rng(self):
        module = importlib.import_module(self.backend)
        return module.random.key(1) if self.backend == "jax" else module.Generator().manual_seed(1)


def loss_of(task, settings, parameters=None):
    backend = settings.backend
    xp = importlib.import_module(MODULES[backend])
    net = MLP.create([task.inputs, *[settings.width] * settings.depth, 1], xp=np, dtype=np.float64, seed=3)
    arrays = {name: xp.asarray(p) for name, p in (parameters or net.parameters).items()}
    constants = [xp.asarray(c) for c in task.constants()]
    return number(task.loss(net, settings, adapter(backend))(arrays, constants, Fixed(backend)))


@pytest.mark.parametrize(
    "task", [BALL, HEAT, Parabolic(Semilinear("allen-cahn", 3), "soft")], ids=["ball", "hard", "soft"]
)
def test_exact_methods_minimise_the_same_and_so_does_an_estimate_from_every_coordinate(backend, task):
    settings = replace(SMALL, backend=backend)
    expected = loss_of(task, settings)
    assert expected > 1e-6
    assert loss_of(task, replace(settings, method="compressed")) == pytest.approx(expected, rel=1e-10)
    every = replace(settings, method="sparse", samples=64)
    assert loss_of(task, every) == pytest.approx(expected, rel=1e-10)
    assert loss_of(task, replace(every, unbiased=True)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "sparse"])
def test_the_square_of_one_estimate_is_no_product_of_two(backend, kind):
    settings = replace(SMALL, backend=backend, method=kind, samples=2)
    one, two = loss_of(BALL, settings), loss_of(BALL, replace(settings, unbiased=True))
    assert one > 0
    assert two != pytest.approx(one, rel=1e-6)


def constant_network(task, value):
    net = MLP.create([task.inputs, *[SMALL.width] * SMALL.depth, 1], xp=np, dtype=np.float64)
    parameters = {name: 0 * p for name, p in net.parameters.items()}
    last = list(parameters)[-1]
    parameters[last] = parameters[last] + value
    return parameters


@pytest.mark.parametrize("method", ["full-ad", "compressed"])
def test_the_residual_of_a_constant_network_is_that_on_paper(backend, method):
    """Where net = κ: Δu = −2Dκ in the ball; u_t − Δu = κ − Δg for u = g + tκ, and 0 for u = κ."""
    settings, kappa = replace(SMALL, backend=backend, method=method), 0.7

    def draw():
        numbers = np.random.default_rng(5)
        return numbers.standard_normal, numbers.random, SMALL.batch

    problem = BALL.problem
    x = problem.sample(*draw())
    u = kappa * (1 - np.sum(x * x, axis=-1))
    residual = -8 * kappa + u - u**3 - problem.forcing(x, problem.coefficients())
    assert loss_of(BALL, settings, constant_network(BALL, kappa)) == pytest.approx(
        np.mean((residual / 8) ** 2), rel=1e-10
    )

    points = HEAT.problem.sample(*draw()[:2], SMALL.batch)
    # The sampler asks for the uniform numbers first.
    t, x = points[:, 0], points[:, 1:]
    u = HEAT.problem.initial(x) + t * kappa
    residual = kappa - HEAT.problem.initial_laplacian(x) - (1 - u * u) / (1 + u * u)
    assert loss_of(HEAT, settings, constant_network(HEAT, kappa)) == pytest.approx(np.mean(residual**2), rel=1e-10)

    soft = Parabolic(Semilinear("allen-cahn", 3), "soft")
    numbers = np.random.default_rng(5)
    soft.problem.sample(numbers.standard_normal, numbers.random, SMALL.batch)
    start = soft.problem.sample_initial(numbers.standard_normal, SMALL.batch)
    miss = kappa - soft.problem.initial(start[:, 1:])
    expected = (kappa - kappa**3) ** 2 + 10 * np.mean(miss**2)
    assert loss_of(soft, settings, constant_network(soft, kappa)) == pytest.approx(expected, rel=1e-10)


# --- runs -------------------------------------------------------------------------------------------


def test_a_hundred_steps_beat_the_baseline_where_it_is_beaten_easily(backend):
    settings = Settings(backend=backend, method="full-ad", width=32, depth=2, steps=150, rate=1e-2, test_points=500)
    result = training.train(BALL, settings)
    assert result.steps == 150
    assert result.diverged is None
    assert result.errors["l2"] < 0.7 * result.errors["baseline_l2"]
    assert result.errors["l1"] < 0.7 * result.errors["baseline_l1"]
    assert result.curve[-1].error == pytest.approx(result.errors["l2"], rel=1e-5)
    assert result.curve[-1].step == 150
    assert result.timed_steps == 149
    assert result.peak_bytes > 1e7


def test_a_broken_run_ends_where_an_unbroken_one_ends(backend, tmp_path):
    task = BALL if backend == "jax" else HEAT
    settings = replace(SMALL, backend=backend, steps=250)
    path = tmp_path / "checkpoint"

    def stop(at):
        if at.step == 101:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.train(task, settings, on_step=stop, checkpoint=path)
    resumed = training.train(task, settings, checkpoint=path, resume=True)
    whole = training.train(task, settings)
    assert resumed.steps == whole.steps == 250
    for name, p in whole.parameters.items():
        np.testing.assert_array_equal(resumed.parameters[name], p)
    assert resumed.errors == whole.errors
    assert [(p.step, p.loss, p.error) for p in resumed.curve] == [(p.step, p.loss, p.error) for p in whole.curve]
    with pytest.raises(ValueError, match="a run with seed 0; asked for 1"):
        training.train(task, replace(settings, seed=1), checkpoint=path, resume=True)


def test_a_run_whose_loss_is_no_number_keeps_its_last_good_parameters(backend, tmp_path, monkeypatch):
    """The reaction becomes NaN once the network has gone ten steps."""
    settings = replace(SMALL, backend=backend, steps=200)
    path = tmp_path / "checkpoint"
    good = {}
    real = training._save

    def save(path, task, settings, at, trainer):
        real(path, task, settings, at, trainer)
        good.update(step=at.step, state=trainer.state())

    monkeypatch.setattr(training, "_save", save)
    steps = 0

    def poison(trainer):
        step = trainer.step

        def poisoned():
            nonlocal steps
            steps += 1
            value = step()
            return value * math.nan if steps == 11 else value

        trainer.step = poisoned
        return trainer

    prepared = training._prepared
    monkeypatch.setattr(training, "_prepared", lambda *a: (lambda net, t: (net, poison(t)))(*prepared(*a)))
    result = training.train(BALL, settings, checkpoint=path, every_seconds=0)
    assert result.diverged == 10
    assert result.steps == good["step"] == 10
    for name, p in result.parameters.items():
        np.testing.assert_array_equal(p, good["state"][f"parameter.{name}"])
    assert all(math.isfinite(e) for e in result.errors.values())
    report = training.report(result)
    assert report["diverged_at_step"] == 10
    assert report["steps"] == 10


def test_a_real_overflow_is_noticed_and_the_start_is_kept_where_there_is_no_checkpoint(backend):
    settings = replace(SMALL, backend=backend, dtype="float32", rate=1e30, steps=30)
    result = training.train(BALL, settings)
    assert result.diverged is not None
    assert result.steps == 0
    start = MLP.create([4, 6, 6, 1], xp=np, dtype=np.float32, seed=0).parameters
    for name, p in start.items():
        np.testing.assert_array_equal(result.parameters[name], p)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "spares"}, "did you mean 'sparse'"),
        ({"unbiased": True}, "compressed is exact"),
        ({"samples": 0}, "samples must be >= 1"),
        ({"rate": math.nan}, "rate must be a positive number"),
        ({"beta2": 1.0}, "beta2 must be a number from 0 to below 1"),
    ],
)
def test_settings_that_make_no_sense_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_tasks_and_backends_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="give --initial soft"):
        Parabolic(Semilinear("allen-cahn", 3))
    with pytest.raises(ValueError, match="'hard' or 'soft'"):
        Parabolic(Semilinear("heat", 3), "firm")
    with pytest.raises(ValueError, match="training runs on jax or torch"):
        training.train(BALL, Settings(backend="numpy"))
    assert set(METHODS) == {"compressed", "sparse", "rademacher", "gaussian", "full-ad"}
