"""``nt.train``: solutions found on every library, runs that are stored and gone on with, and what is refused."""

# ruff: noqa: ARG005 equations name all their inputs

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from training_cases import DATA, decay, heat, heat_solution, oscillator, poisson

import ntaylor as nt
from ntaylor.least_squares import Settings


@pytest.fixture
def space(xp):
    if xp.name not in ("numpy", "torch"):
        pytest.skip("JAX, which compiles for longer than it computes here, has tests of its own")
    return xp


def small(space, widths=(2, 8, 1), seed=0):
    return nt.MLP.create(list(widths), xp=space.namespace, dtype=space.namespace.float64, seed=seed)


def trained(space, problem=None, net=None, **options):
    options = {"points": 60, "progress": False, **options}
    return nt.train(heat() if problem is None else problem, small(space) if net is None else net, **options)


def parameters(result, space):
    return {name: space.numpy(p) for name, p in result.network.parameters.items()}


# --- that it solves ------------------------------------------------------------------------------------


def test_levenberg_marquardt_finds_solution_and_unknown(space):
    result = trained(space, steps=30, optimizer="lm", points=100)
    assert result.error < 0.02
    assert result.unknowns["nu"] == pytest.approx(0.1, rel=0.05)
    points = np.asarray([[0.3, 0.2], [-0.5, 0.8]])
    values = space.numpy(result.function(space.array(points)))[:, 0]
    assert np.abs(values - heat_solution(points)).max() < 0.05
    assert result.steps == 30
    assert result.reason == "steps"
    assert not result.diverged
    losses = [p.loss for p in result.history]
    assert all(b < a for a, b in itertools.pairwise(losses))


def test_the_loss_is_the_weighted_sum_of_the_means(space):
    result = trained(space, steps=2, optimizer="lm", weights={"t=0": 3.0})
    weights = {"equation": 1.0, "t=0": 3.0, "x=-1,1": 1.0, "data": 10.0}
    for point in result.history:
        assert list(point.terms) == list(weights)
        assert point.loss == pytest.approx(sum(weights[n] * v for n, v in point.terms.items()), rel=1e-9)


def test_all_libraries_take_the_same_steps(space):
    ours = trained(space, steps=6, optimizer="lm")
    numpy_s = nt.train(heat(), nt.MLP.create([2, 8, 1], seed=0), steps=6, points=60, progress=False)
    for a, b in zip(ours.history, numpy_s.history, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-7)
        assert a.unknowns["nu"] == pytest.approx(b.unknowns["nu"], rel=1e-7)


def test_a_system_of_equations_on_one_input(space):
    result = trained(space, oscillator(), small(space, (1, 6, 2)), steps=40, points=30)
    assert result.error < 1e-4
    assert list(result.history[-1].terms) == ["equation[0]", "equation[1]", "t=0[0]", "t=0[1]"]


def test_a_hard_constraint(space):
    result = trained(space, poisson(), steps=15, points=60)
    assert result.error < 0.02
    edge = space.array([[1.0, 0.3], [-0.2, -1.0]])
    assert np.abs(space.numpy(result.function(edge))).max() == 0


def test_adam_lowers_the_loss_as_torchs_does(space):
    """Twenty steps of Adam with its rate falling linearly are the same on all libraries: torch's own is the oracle."""
    torch = pytest.importorskip("torch")
    result = trained(space, steps=20, optimizer="adam", rate=1e-2)
    reference = nt.train(
        heat(),
        nt.MLP.create([2, 8, 1], xp=torch, dtype=torch.float64, seed=0),
        steps=20, optimizer="adam", rate=1e-2, points=60, progress=False,
    )  # fmt: skip
    for a, b in zip(result.history, reference.history, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-9)
    assert result.loss < 0.9 * result.history[0].loss


def test_lbfgs_lowers_the_loss(space):
    result = trained(space, steps=40, optimizer="lbfgs")
    assert result.loss < 0.1 * result.history[0].loss


def test_stages_follow_one_another(space):
    result = trained(space, optimizer=["adam", "lm"], steps=[10, 8], rate=1e-2)
    assert [p.stage for p in result.history] == [0] * 10 + [1] * 8
    assert result.loss < 0.1 * result.history[9].loss


def test_scipys_least_squares_on_numpy():
    result = nt.train(
        heat(), nt.MLP.create([2, 8, 1], seed=0), optimizer="least_squares", steps=15, points=60, progress=False
    )
    assert result.loss < 0.05 * result.history[0].loss


def test_settings_are_an_optimizer(space):
    result = trained(space, optimizer=Settings(steps=1, solver="svd", acceleration=False), steps=4)
    plain = trained(space, optimizer="lm", steps=4)
    assert result.steps == 4
    assert result.loss != plain.loss


def test_sobolev_trains_on_derivatives_too():
    """Each row of the Sobolev loss is in the Jacobian: r·r is the loss, with another number of rows."""
    net = nt.MLP.create([2, 8, 1], seed=0)
    results = [
        nt.train(heat(), net, steps=5, points=40, sobolev=s, optimizer=o, progress=False)
        for s, o in ((1, "lm"), (1, "adam"), (0, "lm"))
    ]
    first, adam, plain = (r.history for r in results)
    assert first[-1].loss < first[0].loss
    # Adam's first loss is that of the network as it came; LM's gradient of it must be the same function's.
    assert adam[0].terms["equation"] > 0
    assert first[0].terms["equation"] != plain[0].terms["equation"]
    point = first[-1]
    weights = {"equation": 1.0, "t=0": 10.0, "x=-1,1": 1.0, "data": 10.0}
    assert point.loss == pytest.approx(sum(weights[n] * v for n, v in point.terms.items()), rel=1e-9)


@pytest.mark.parametrize("kind", ["gradients", "first", "ntk"])
def test_balanced_weights_make_gradients_equal(kind):
    result = nt.train(
        heat(), nt.MLP.create([2, 8, 1], seed=0), optimizer="adam", steps=3, points=40, balance=kind, progress=False
    )
    point = result.history[0]
    plain = sum({"equation": 1.0, "t=0": 10.0, "x=-1,1": 1.0, "data": 10.0}[n] * v for n, v in point.terms.items())
    assert point.loss != pytest.approx(plain, rel=1e-3)


# --- runs that are stored --------------------------------------------------------------------------------


class _Interrupted(Exception):  # noqa: N818 it is no error
    pass


def _until(step):
    def look(point):
        if point.step == step:
            raise _Interrupted

    return look


@pytest.mark.parametrize(
    ("optimizer", "steps"), [("lm", 8), ("adam", 12), (["adam", "lm"], [5, 5])], ids=["lm", "adam", "both"]
)
def test_a_resumed_run_takes_the_very_same_steps(space, tmp_path, optimizer, steps):
    options = {"optimizer": optimizer, "steps": steps, "rate": 1e-2, "resample": 3, "points": 30}
    whole = trained(space, **options)
    path = tmp_path / "run.safetensors"
    stopped = {"checkpoint": path, "every_seconds": 0.0}
    with pytest.raises(_Interrupted):
        trained(space, **options, **stopped, on_step=_until(7))
    resumed = trained(space, **options, checkpoint=path, resume=True)
    for name, p in parameters(whole, space).items():
        assert p.tobytes() == parameters(resumed, space)[name].tobytes(), name
    assert [(p.step, p.loss, p.terms) for p in whole.history] == [(p.step, p.loss, p.terms) for p in resumed.history]
    assert whole.unknowns == resumed.unknowns
    again = trained(space, **options, checkpoint=path, resume=True)  # a run that is done stays so
    assert again.steps == whole.steps
    assert again.history == resumed.history


def test_keyboard_interrupt_writes_the_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    options = {"steps": 6, "points": 30, "progress": False, "checkpoint": path}

    def press(point):
        if point.step == 3:
            raise KeyboardInterrupt

    net = nt.MLP.create([2, 6, 1], seed=0)
    with pytest.raises(KeyboardInterrupt):
        nt.train(heat(), net, **options, on_step=press)
    resumed = nt.train(heat(), net, **options, resume=True)
    whole = nt.train(heat(), net, steps=6, points=30, progress=False)
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    net = nt.MLP.create([2, 6, 1], seed=0)
    nt.train(heat(), net, steps=2, points=30, progress=False, checkpoint=path)
    with pytest.raises(ValueError, match="run with points = 30; asked for 40"):
        nt.train(heat(), net, steps=2, points=40, progress=False, checkpoint=path, resume=True)
    other = replace(heat(), domain={"x": (-1.0, 1.0), "t": (0.0, 2.0)})
    with pytest.raises(ValueError, match="run with domain"):
        nt.train(other, net, steps=2, points=30, progress=False, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="run with parameters"):
        nt.train(heat(), nt.MLP.create([2, 7, 1]), steps=2, points=30, progress=False, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="needs the checkpoint"):
        nt.train(heat(), net, steps=2, resume=True)
    path.unlink()
    options = {"steps": 2, "points": 30, "progress": False, "checkpoint": path, "sobolev": 1}
    nt.train(heat(), net, **options, sobolev_weights=(1.0, 0.1), optimizer=Settings(2, stall=0.1))
    with pytest.raises(ValueError, match="run with sobolev_weights"):
        nt.train(heat(), net, **options, sobolev_weights=(1.0, 0.2), optimizer=Settings(2, stall=0.1), resume=True)
    with pytest.raises(ValueError, match="run with optimizer"):
        nt.train(heat(), net, **options, sobolev_weights=(1.0, 0.1), optimizer=Settings(2, stall=0.3), resume=True)


def test_fresh_points_follow_from_the_seed_and_the_round():
    net = nt.MLP.create([2, 6, 1], seed=0)
    options = {"optimizer": "adam", "points": 20, "progress": False}
    fixed, fresh, again, other = (
        nt.train(heat(), net, steps=6, **options, **more).history
        for more in ({}, {"resample": 2}, {"resample": 2}, {"resample": 2, "seed": 1})
    )
    assert [p.loss for p in fresh] == [p.loss for p in again]
    assert fresh[0].loss == fixed[0].loss
    assert fresh[1].loss == fixed[1].loss
    assert fresh[2].loss != fixed[2].loss
    assert other[0].loss != fresh[0].loss


# --- how it ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "reason"), [({"loss": 0.5}, "loss"), ({"error": 0.3}, "error"), ({"seconds": 1e-9}, "seconds")]
)
def test_what_stops_a_run_early(stop, reason):
    result = nt.train(heat(), nt.MLP.create([2, 8, 1], seed=0), steps=40, points=60, progress=False, stop=stop)
    assert result.reason == reason
    assert result.steps < 40
    if reason == "loss":
        assert result.loss < 0.5 <= result.history[-2].loss


def test_patience_ends_a_run_that_no_longer_gets_anywhere():
    problem = nt.Problem(lambda u, x: u.x * 0 + u * 0 + 1.0 + 0 * u, {"x": (0.0, 1.0)})
    result = nt.train(
        problem, nt.MLP.create([1, 3, 1]), optimizer="adam", steps=50, points=10, progress=False, stop={"patience": 5}
    )
    assert result.reason == "patience"
    assert result.steps == 6


def test_what_is_no_number_is_named_and_the_last_good_network_kept(space, tmp_path):
    """A rate that is far too high, and log u: the second step's loss is no number, in the equation alone."""
    problem = nt.Problem(
        lambda u, x: u.x + np.log(u + 3.0), {"x": (0.0, 1.0)}, [nt.Condition(lambda u, x: u - 1, where={"x": 0.0})]
    )
    net = small(space, (1, 4, 1))
    path = tmp_path / "run.safetensors"
    with (
        pytest.warns(RuntimeWarning, match=r"no finite number at step \d+: (equation is nan|log is)"),
        np.errstate(all="ignore"),
    ):
        result = trained(space, problem, net, optimizer="adam", rate=5.0, steps=30, points=10, checkpoint=path)
    what = "log is not differentiable" if space.name == "numpy" else "equation is nan"
    assert result.diverged
    assert what in result.reason
    assert all(np.isfinite(p).all() for p in parameters(result, space).values())
    assert math.isfinite(result.loss)
    from ntaylor.storage import load_arrays

    arrays, about = load_arrays(path)
    assert what in about["failed"]
    for name, p in parameters(result, space).items():
        np.testing.assert_array_equal(arrays[f"good.{name}"], p)


def test_a_residual_that_is_no_number_from_the_start_is_named():
    problem = nt.Problem(lambda u, x: u.x + np.log(x - 2.0), {"x": (0.0, 1.0)})
    for optimizer in ("lm", "least_squares", "lbfgs", "adam"):
        with (
            pytest.warns(RuntimeWarning, match="no finite number at step 1: equation is nan"),
            np.errstate(all="ignore"),
        ):
            result = nt.train(problem, nt.MLP.create([1, 3, 1]), optimizer=optimizer, steps=3, points=8, progress=False)
        assert result.diverged
        assert result.steps == 0


def test_the_step_that_is_named_is_that_of_the_network_kept():
    """Of a long run every tenth step is looked at for its history, but with on_step every one is kept."""
    nu = nt.Condition(lambda u, x, *, nu: np.sqrt(nu) + 1 + 0 * u, where={"x": 0.0})
    problem = nt.Problem(lambda u, x, *, nu=0.0: u.x, {"x": (0.0, 1.0)}, [nu], unknowns={"nu": 0.0145})
    seen = []
    with pytest.warns(RuntimeWarning, match=r"the network is that of step (\d+)") as warned, np.errstate(all="ignore"):
        result = nt.train(
            problem, nt.MLP.create([1, 3, 1]), optimizer="adam", steps=4000, points=8, progress=False,
            on_step=seen.append,
        )  # fmt: skip
    assert result.diverged
    assert result.steps == seen[-1].step > result.history[-1].step
    assert result.unknowns == seen[-1].unknowns
    assert f"step {seen[-1].step}" in str(warned[0].message)


def test_a_mistake_of_who_looks_on_is_no_matter_of_numbers():
    def look(point):
        if point.step == 3:
            raise ValueError("my own mistake")

    with pytest.raises(ValueError, match="my own mistake"):
        nt.train(heat(), nt.MLP.create([2, 3, 1]), steps=5, points=8, progress=False, on_step=look)


def test_an_error_in_a_residual_says_whose_it_is():
    problem = replace(
        heat(), conditions=[nt.Condition(lambda u, x, t: u - DATA[:, 0], points=DATA)], unknowns={"nu": 1}
    )
    with pytest.raises(ValueError, match="must return one number a point") as caught:
        nt.train(problem, nt.MLP.create([2, 3, 1]), steps=1, points=8, progress=False)
    assert "this is of the problem's 'points'" in caught.value.__notes__[0]


def test_numpys_numbers_are_numbers():
    options = {"points": np.int64(8), "rate": np.float32(1e-3), "weights": {"t=0": np.float32(2)}, "progress": False}
    assert nt.train(heat(), nt.MLP.create([2, 3, 1]), optimizer="adam", steps=np.int64(2), **options).steps == 2


# --- results ---------------------------------------------------------------------------------------------


def test_a_result_tells_all(tmp_path):
    result = nt.train(heat(), nt.MLP.create([2, 6, 1], seed=0), steps=4, points=30, progress=False)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["error"] == result.error
    assert content["unknowns"] == result.unknowns
    assert len(content["history"]) == 4
    assert content["settings"]["optimizer"] == ["lm"]
    assert "nu=" in repr(result)
    assert "error=" in repr(result)
    result.save(tmp_path / "net.safetensors")
    from ntaylor.storage import load_arrays

    arrays, about = load_arrays(tmp_path / "net.safetensors")
    assert about["error"] == result.error
    for name, p in result.network.parameters.items():
        np.testing.assert_array_equal(arrays[name], p)
    assert arrays["unknown.nu"] == result.unknowns["nu"]


def test_a_result_draws_itself(tmp_path):
    pytest.importorskip("matplotlib")
    result = nt.train(heat(), nt.MLP.create([2, 6, 1], seed=0), steps=4, points=30, progress=False)
    figure = result.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    loss, error, unknowns = figure.axes
    assert [line.get_label() for line in loss.lines] == ["loss", "equation", "t=0", "x=-1,1", "data"]
    np.testing.assert_array_equal(error.lines[0].get_ydata(), [p.error for p in result.history])
    np.testing.assert_array_equal(unknowns.lines[0].get_ydata(), [p.unknowns["nu"] for p in result.history])


# --- JAX -------------------------------------------------------------------------------------------------


@pytest.fixture
def jaxs_network():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    jax.config.update("jax_enable_x64", True)
    return nt.MLP.create([1, 6, 1], xp=jax.numpy, dtype=jax.numpy.float64, seed=0)


def test_jax_takes_the_steps_of_numpy_and_goes_on_with_them(jaxs_network, tmp_path):
    """Adam, then Levenberg–Marquardt, interrupted in both: as NumPy to rounding, as itself to the last bit."""
    options = {"optimizer": ["adam", "lm"], "steps": [4, 4], "rate": 1e-2, "points": 40, "progress": False}
    path = tmp_path / "run.safetensors"
    whole = nt.train(decay(), jaxs_network, **options)
    numpys = nt.train(decay(), nt.MLP.create([1, 6, 1], seed=0), **options)
    for a, b in zip(whole.history, numpys.history, strict=True):
        assert list(a.terms) == list(b.terms)
        assert a.loss == pytest.approx(b.loss, rel=1e-8)
    for step in (2, 6):
        with pytest.raises(_Interrupted):
            nt.train(
                decay(),
                jaxs_network,
                **options,
                checkpoint=path,
                every_seconds=0.0,
                on_step=_until(step + 1),
                resume=True,
            )
    resumed = nt.train(decay(), jaxs_network, **options, checkpoint=path, resume=True)
    assert [p.loss for p in whole.history] == [p.loss for p in resumed.history]
    for name, p in whole.network.parameters.items():
        assert np.asarray(p).tobytes() == np.asarray(resumed.network.parameters[name]).tobytes()


def test_optaxs_lbfgs_on_jax(jaxs_network):
    result = nt.train(decay(), jaxs_network, optimizer="lbfgs", steps=15, points=40, progress=False)
    assert result.loss < 0.6 * result.history[0].loss


# --- networks of other kinds -----------------------------------------------------------------------------


def test_a_torch_module_is_trained_in_place():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()

    class Wrapped(torch.nn.Module):  # no Sequential, so that autograd makes the Jacobian
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    import copy

    wrapped = Wrapped(copy.deepcopy(plain))
    before = [p.detach().clone() for p in plain.parameters()]
    results = [nt.train(heat(), net, steps=5, points=40, progress=False) for net in (plain, wrapped)]
    assert results[0].network is plain
    assert results[1].network is wrapped
    assert any((a != b).any() for a, b in zip(before, plain.parameters(), strict=True))
    # Two Jacobians that share nothing: the closed-form pullback and autograd's, row by row.
    for a, b in zip(results[0].history, results[1].history, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-7)
    for p, q in zip(plain.parameters(), wrapped.parameters(), strict=True):
        np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-5, atol=1e-7)


def test_torchs_optimisers_by_name_class_and_factory():
    torch = pytest.importorskip("torch")
    net = nt.MLP.create([2, 6, 1], xp=torch, dtype=torch.float64, seed=0)
    options = {"steps": 5, "points": 30, "progress": False, "rate": 1e-3}
    named, made, default = (
        nt.train(heat(), net, optimizer=o, **options)
        for o in ("rmsprop", functools.partial(torch.optim.RMSprop, lr=1e-3), torch.optim.RMSprop)
    )
    assert [p.loss for p in named.history] == [p.loss for p in made.history]
    assert default.history[-1].loss != named.history[-1].loss  # torch's own rate is 1e-2
    with pytest.raises(ValueError, match=r"torch\.optim has no optimiser 'adan': did you mean 'adam"):
        nt.train(heat(), net, optimizer="adan", **options)
    with pytest.raises(TypeError, match="holds parameters already"):
        nt.train(heat(), net, optimizer=torch.optim.SGD([torch.zeros(1)]), **options)


def test_an_equinox_module_and_optax_on_jax():
    eqx, optax, jax = (pytest.importorskip(name) for name in ("equinox", "optax", "jax"))
    jax.config.update("jax_enable_x64", True)
    net = eqx.nn.MLP(1, 1, 6, 1, activation=jax.numpy.tanh, key=jax.random.key(0))
    net = jax.tree.map(lambda a: a.astype("float64") if eqx.is_inexact_array(a) else a, net)
    options = {"points": 30, "progress": False}
    result = nt.train(decay(), net, optimizer=optax.adam(1e-2), steps=5, **options)
    assert isinstance(result.network, eqx.nn.MLP)
    assert result.loss < result.history[0].loss
    assert (result.network.layers[0].weight != net.layers[0].weight).any()
    fitted = nt.train(decay(), net, steps=6, **options)  # its Jacobian is autograd's
    assert fitted.loss < 0.2 * fitted.history[0].loss
    with pytest.raises(TypeError, match="got function: pass the MLP in it as it is"):
        nt.train(decay(), jax.vmap(net), steps=1, **options)
    with pytest.raises(TypeError, match=r"optax\.GradientTransformation"):
        nt.train(decay(), net, optimizer=3, steps=1, **options)


def test_optimistix_goes_step_by_step_on_jax():
    optimistix, jax = (pytest.importorskip(name) for name in ("optimistix", "jax"))
    jax.config.update("jax_enable_x64", True)
    net = nt.MLP.create([1, 6, 1], xp=jax.numpy, dtype=jax.numpy.float64, seed=0)
    solver = optimistix.LevenbergMarquardt(rtol=1e-10, atol=1e-10)
    result = nt.train(decay(), net, optimizer=solver, steps=12, points=30, progress=False)
    assert result.loss < 0.1 * result.history[0].loss


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is a whole number > 0 for every optimizer"),
        ({"optimizer": ["lm", "adam"], "steps": [3]}, ValueError, "steps is a whole number"),
        ({"steps": True}, ValueError, "steps is a whole number"),
        ({"optimizer": None}, TypeError, "leave it out for 'lm'"),
        ({"rate": -1.0}, ValueError, "rate is a finite number > 0"),
        ({"rate": "fast"}, ValueError, "rate is a finite number > 0"),
        ({"seed": -1}, ValueError, "seed is a whole number >= 0"),
        ({"points": 1e2}, ValueError, "points is a whole number, or an array"),
        ({"points": np.full((3, 2), np.nan)}, ValueError, "no finite numbers"),
        ({"sobolev_weights": (1.0,)}, ValueError, "are for sobolev=1 or more"),
        ({"stop": "loss"}, TypeError, "stop takes numbers > 0 by loss"),
        ({"weights": [1.0]}, TypeError, "weights takes numbers by term"),
        ({"optimizer": "adamm"}, ValueError, "no optimiser 'adamm': did you mean 'adam'"),
        ({"optimizer": 3}, TypeError, "an optimiser is a name"),
        ({"stop": {"time": 3}}, ValueError, "stop takes numbers > 0 by loss, error, patience, seconds"),
        ({"weights": {"t0": 3.0}}, ValueError, "no term is called 't0'"),
        ({"weights": {"t=0": -1.0}}, ValueError, "finite number >= 0"),
        ({"balance": "magic"}, ValueError, "balance is one of gradients"),
        ({"sobolev": -1}, ValueError, "sobolev is a whole number >= 0"),
        ({"resample": 0}, ValueError, "resample is a whole number >= 1"),
        ({"points": np.zeros((3, 5))}, ValueError, r"an array \(n, 2\) with columns x, t"),
        ({"points": np.zeros((3, 2)), "resample": 1}, ValueError, "points are given"),
        ({"devices": 3}, ValueError, "JAX's meshes"),
        ({"sampling": "halton"}, ValueError, "halton"),
    ],
)
def test_arguments_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        nt.train(heat(), nt.MLP.create([2, 3, 1]), **{"steps": 1, "points": 8, "progress": False, **options})


@pytest.mark.parametrize("net", [lambda x: x, 3, nt.MLP.create([2, 3, 1], bias=False).replace])
def test_what_has_no_parameters_is_refused(net):
    with pytest.raises(TypeError, match="train takes a network with parameters"):
        nt.train(heat(), net, steps=1)


def test_what_is_no_problem_is_refused():
    with pytest.raises(TypeError, match=r"train takes an nt\.Problem and a network"):
        nt.train(nt.MLP.create([2, 3, 1]), heat(), steps=1)


def test_given_points_are_those_trained_on():
    grid = np.random.default_rng(0).uniform(0, 1, (25, 2))
    options = {"steps": 2, "progress": False, "optimizer": "adam"}
    net = nt.MLP.create([2, 3, 1], seed=0)
    found = nt.train(heat(), net, points=grid, **options).history[0].terms["equation"]
    residual = nt.residual(lambda u, x, t: u.t - 0.05 * u.xx, net, grid)
    assert found == pytest.approx(float(np.mean(residual**2)), rel=1e-12)
    assert DATA.shape == (3, 2)
