"""``ntaylor problems`` and ``ntaylor solve``: what they write, how they go on, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.cli import main
from ntaylor.commands import solving
from ntaylor.commands.solving import load_solution, solve
from ntaylor.composites import Chain
from ntaylor.layers import Dense
from ntaylor.suite.catalogue import PROBLEMS, PROFILES, find
from ntaylor.suite.entry import Waves
from ntaylor.suite.random_waves import Marched, wave_network


def test_problems_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["problems"]) == 0
    said = capsys.readouterr().out
    for name in (*PROBLEMS, *PROFILES):
        assert f"{name}:" in said


def test_a_problem_is_solved_and_written(tmp_path, capsys):
    out = tmp_path / "beam"
    assert main(["solve", "beam-6", "--out", str(out), "--no-plot"]) == 0
    assert "relative L2" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["relative_l2"] < 1e-11
    assert sorted(p.name for p in out.iterdir()) == ["network.safetensors", "report.json"]
    x = np.linspace(0, 1, 50)[:, None]
    found = load_solution(out / "network.safetensors")(x)[:, 0]
    np.testing.assert_allclose(found, (1 - x[:, 0]) * np.exp(x[:, 0]), atol=1e-11)

    assert main(["solve", "beam-6", "--out", str(out)]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert main(["solve", "beam-6", "--out", str(out), "--resume"]) == 0
    for other in (["--seed", "1"], ["--steps", "3"], ["--optimizer", "adam"]):  # no other run's result is passed off
        assert main(["solve", "beam-6", "--out", str(out), "--resume", *other]) == 2
    assert "asked for" in capsys.readouterr().err


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["solve", "poisson-2d", "--out", str(tmp_path), "--steps", "2", "--overwrite"]) == 0
    assert (tmp_path / "solution.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_is_refused(tmp_path, capsys):
    assert main(["solve", "poison", "--out", str(tmp_path)]) == 2
    assert "did you mean 'poisson-" in capsys.readouterr().err
    assert main(["solve", PROFILES[1], "--out", str(tmp_path), "--optimizer", "adam"]) == 2
    assert "has a search of its own" in capsys.readouterr().err
    assert main(["solve", "heat", "--resume", "--overwrite", "--out", str(tmp_path)]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, capsys):
    """Interrupted after the third step, the same command with --resume ends where an unbroken run does."""
    whole = solve(find("beam-6"))
    plain, count = solving.train, 0

    def interrupted(*args, **options):
        def stop(point):
            nonlocal count
            count += 1
            if count == 3:
                raise KeyboardInterrupt

        return plain(*args, **options, on_step=stop)

    monkeypatch.setattr(solving, "train", interrupted)
    assert main(["solve", "beam-6", "--out", str(tmp_path), "--no-plot"]) == 130
    assert "--resume goes on" in capsys.readouterr().out
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert main(["solve", "beam-6", "--out", str(tmp_path)]) == 2
    monkeypatch.setattr(solving, "train", plain)
    assert main(["solve", "beam-6", "--out", str(tmp_path), "--no-plot", "--resume"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["relative_l2"] == whole.errors["relative_l2"]
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_other_libraries_solve_it_too(backend):
    pytest.importorskip(backend)
    entry = find("poisson-2d")
    waves = replace(entry.recipe.waves, count=50, points=200, steps=4)
    solved = solve(replace(entry, recipe=replace(entry.recipe, waves=waves)), backend=backend)
    assert solved.errors["relative_l2"] < 1e-5
    assert solved.report()["backend"] == backend


def test_the_profiles_are_solved_by_their_search(tmp_path, monkeypatch):
    from ntaylor.commands import profiles

    asked = []
    monkeypatch.setattr(profiles, "_solve_all", lambda jobs, options, _: asked.append((jobs, options.seed)) or 0)
    assert main(["solve", PROFILES[2], "--seed", "5", "--out", str(tmp_path)]) == 0
    assert asked == [([(2, tmp_path)], 5)]


def test_waves_have_the_derivatives_of_their_formula():
    """A stretched input too: against jets of the closed form."""
    problem = nt.Problem(_derivative({"t": 1}), {"x": (0.0, 1.0), "t": (0.2, 0.5)})
    waves = Waves(7, (5.0, 3.0), 10, stretch=0.02)
    network = wave_network(problem, waves, np.zeros(1), seed=4)
    weight = np.random.default_rng(1).standard_normal((14, 1))
    (name,) = network.parameters
    network = network.replace({name: weight})
    vectors = np.random.default_rng([4, 1]).standard_normal((2, 7)) * [[5.0], [3.0]]

    def formula(p):
        xi = 2 * np.arcsinh(p[..., :1] / 0.02) / np.arcsinh(50.0) - 1
        tau = (p[..., 1:] - 0.35) / 0.15
        z = xi * vectors[:1] + tau * vectors[1:]
        return np.sin(z) @ weight[:7] + np.cos(z) @ weight[7:]

    points = problem.points(9)
    for order in ((2, 0), (0, 1), (1, 1)):
        terms = {"xt"[i]: n for i, n in enumerate(order) if n}
        equation = _derivative(terms)
        np.testing.assert_allclose(
            nt.residual(equation, network, points), nt.residual(equation, formula, points), rtol=1e-9, atol=1e-8
        )


def _derivative(terms):
    def equation(u, x, t):
        return u.d(**terms)

    return equation


def test_windows_are_put_together():
    def constant(value):
        return nt.MLP(Chain([Dense(np.zeros((2, 1)), np.asarray([value]))]).layers)

    marched = Marched([0.2, 0.5, 1.0], [constant(v) for v in (1.0, 2.0, 3.0)])
    points = np.asarray([[0.0, 0.0], [0.3, 0.2], [0.1, 0.21], [0.4, 0.5], [0.4, 1.0]])
    np.testing.assert_array_equal(marched(points)[:, 0], [1, 1, 2, 2, 3])


def test_the_front_of_burgers_is_met():
    """The first of the windows alone, with fewer waves: odd about 0, and close to Cole's and Hopf's solution."""
    entry = find("burgers")
    end, _ = entry.recipe.march[0]
    problem = entry.window(0.0, end, None)
    assert problem.points(50)[:, 1].max() <= end
    start = problem.function(lambda p: 0 * p[..., :1] + 7.0)
    at_start = np.stack([np.linspace(0, 1, 9), np.zeros(9)], axis=1)
    np.testing.assert_allclose(start(at_start)[:, 0], -np.sin(np.pi * at_start[:, 0]), atol=1e-15)
    later = entry.window(end, 0.5, start)
    found = later.function(lambda p: 0 * p[..., :1] + 3.0)(np.stack([np.linspace(0, 1, 9), np.full(9, end)], axis=1))
    expected = start(np.stack([np.linspace(0, 1, 9), np.full(9, end)], axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-15)
    odd = entry.whole(start)
    np.testing.assert_allclose(odd(np.asarray([[-0.3, 0.1]])), -odd(np.asarray([[0.3, 0.1]])))


def test_waves_beside_a_trained_network():
    """The network alone has few digits after ten steps; waves added to it have many, and it stays as it was."""
    entry = find("heat")
    recipe = replace(entry.recipe, first=True, train={**entry.recipe.train, "steps": 10})
    alone = solve(replace(entry, recipe=replace(recipe, waves=None, first=False)))
    both = solve(replace(entry, recipe=recipe))
    assert alone.errors["relative_l2"] > 1e-7
    assert both.errors["relative_l2"] < 1e-3 * alone.errors["relative_l2"]
    assert both.words == "tanh 20×20 + 150 waves"
    points = entry.make().points(20)
    base = {n.removeprefix("0.0."): p for n, p in both.parameters.items() if n.startswith("0.0.")}
    assert set(base) == set(alone.parameters)
    for name, p in alone.parameters.items():
        np.testing.assert_array_equal(base[name], p)
    np.testing.assert_allclose(both.values(points)[:, 0], entry.make().solution(points), atol=1e-6)
