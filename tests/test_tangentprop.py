"""TangentProp: the loss is the stated one, what is known is learnt, and derivatives are worth what the page says."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import tangent_prop


def hidden_layer(seed=0, width=5):
    return nt.MLP.create([1, width, 1], seed=seed)


def by_hand(network, x):
    """u, u′, u″ of a network with one hidden layer of tanh, written out."""
    weight, bias, out, last = network.parameters.values()
    t = np.tanh(x[:, None] * weight[0] + bias)
    return np.stack(
        [
            t @ out[:, 0] + last[0],
            (1 - t**2) * weight[0] @ out[:, 0],
            -2 * t * (1 - t**2) * weight[0] ** 2 @ out[:, 0],
        ]
    )


def sine(x):
    return np.stack([np.sin(3 * x), 3 * np.cos(3 * x), -9 * np.sin(3 * x)])


@pytest.mark.parametrize("weights", [None, (1.0, 0.3, 0.02), (0.0, 1.0, 0.0)])
def test_the_loss_is_the_weighted_sum_of_mean_squares_over_the_orders(weights):
    x = np.asarray([-0.7, 0.1, 0.4, 0.9])
    samples = tangent_prop.of_function(lambda x: np.sin(3 * x), x, 2, weights)
    found = tangent_prop.fit(hidden_layer(), samples, steps=1)
    of_order = np.mean((by_hand(found.network, x) - sine(x)) ** 2, axis=1)
    expected = np.dot(weights or [1, 1, 0.25], of_order)
    assert expected > 1e-6  # one step does not end it
    assert found.loss == pytest.approx(expected, rel=1e-11)


def test_targets_are_the_functions_derivatives():
    x = np.asarray([-0.7, 0.1, 0.4])
    np.testing.assert_allclose(tangent_prop.of_function(lambda x: np.sin(3 * x), x, 2).targets, sine(x), rtol=1e-14)


@pytest.mark.parametrize("curve", ["line", "orbit"])
def test_the_jacobian_is_that_of_the_residual(curve):
    if curve == "line":
        network = nt.MLP.create([1, 6, 5, 1], seed=3)
        samples = tangent_prop.of_function(np.exp, np.asarray([-0.5, 0.2, 0.8]), 3)
    else:
        network = nt.MLP.create([2, 6, 5, 1], seed=3)
        samples = tangent_prop.invariant(np.asarray([[0.3, 0.4], [-0.6, 0.1]]), np.asarray([1.0, 2.0]), 3)
    system = tangent_prop._System(network, samples)
    theta = np.concatenate([p.ravel() for p in network.parameters.values()])
    r, jacobian = system.residual_and_jacobian(theta)
    np.testing.assert_array_equal(r, system.residual(theta))
    assert jacobian.shape == (4 * samples.targets.shape[1], len(theta))
    h = 1e-5
    differences = np.stack(
        [(system.residual(theta + h * e) - system.residual(theta - h * e)) / (2 * h) for e in np.eye(len(theta))],
        axis=1,
    )
    # Central differences: h² times a third derivative, and rounding over h.
    np.testing.assert_allclose(jacobian, differences, atol=1e-8 * np.max(np.abs(differences)))


def test_the_orbit_is_the_rotation():
    points = np.asarray([[0.3, 0.4], [-0.6, 0.1]])
    curve = tangent_prop.invariant(points, np.zeros(2), 12).curve
    t = 0.7
    rotation = np.asarray([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
    # The first term left out is t¹³/13! = 2e-12.
    np.testing.assert_allclose(sum(c * t**k for k, c in enumerate(curve)), points @ rotation.T, atol=4e-12)


@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_learnt_and_lower_the_error_between_the_samples(seed):
    x = np.linspace(-1, 1, 5)
    fits = list(tangent_prop.CURVE.fits(5, 1, seed))
    assert [found.order for found in fits] == [0, 1]
    assert all(found.loss < 1e-18 for found in fits)
    alone, with_slopes = (found.network for found in fits)
    for network in (alone, with_slopes):
        np.testing.assert_allclose(network(x), np.sin(5 * x) + x / 2, atol=1e-8)
    h = 1e-4
    slopes = [(network(x + h) - network(x - h)) / (2 * h) for network in (alone, with_slopes)]
    exact = 5 * np.cos(5 * x) + 0.5
    assert np.max(np.abs(slopes[0] - exact)) > 0.5  # nothing of them was known
    np.testing.assert_allclose(slopes[1], exact, atol=1e-5)  # h² times a third derivative
    errors = [tangent_prop.CURVE.error(network) for network in (alone, with_slopes)]
    assert errors[1] < errors[0] / 2.5
    grid = np.linspace(-1, 1, 401)
    assert errors[0] == pytest.approx(np.sqrt(np.mean((alone(grid) - np.sin(5 * grid) - grid / 2) ** 2)), rel=1e-9)


def test_every_order_more_lowers_the_median_error():
    errors = np.asarray(
        [[tangent_prop.CURVE.error(f.network) for f in tangent_prop.CURVE.fits(5, 2, seed)] for seed in range(3)]
    )
    medians = np.median(errors, axis=0)
    assert medians[2] < medians[1] / 5 < medians[0] / 25


def test_a_network_that_knows_of_the_rotation_is_nearer_to_the_rings():
    task = tangent_prop.RINGS
    fits = list(task.fits(20, 2, seed=0))
    errors = [task.error(found.network) for found in fits]
    assert errors[1] < errors[0] / 1.5
    assert errors[2] < errors[0] / 4
    points = task.samples(20, 0).curve[0]
    radius = np.hypot(*points.T)
    h, slopes = 1e-4, []
    for found in fits[:2]:
        turned = [
            found.network(points @ np.asarray([[math.cos(t), math.sin(t)], [-math.sin(t), math.cos(t)]]))
            for t in (-h, h)
        ]
        slopes.append(np.max(np.abs(turned[1] - turned[0])) / (2 * h))
        np.testing.assert_allclose(found.network(points)[:, 0], np.cos(4 * radius), atol=1e-8)
    assert slopes[0] > 0.1
    assert slopes[1] < 1e-6


def test_the_same_seed_gives_the_same_network():
    samples = tangent_prop.of_function(np.sin, np.linspace(-1, 1, 4), 1)
    a, b = (tangent_prop.fit(hidden_layer(seed=4), samples) for _ in range(2))
    assert a.loss == b.loss
    assert all(np.array_equal(p, q) for p, q in zip(*(f.network.parameters.values() for f in (a, b)), strict=True))


SAMPLES = tangent_prop.of_function(np.sin, np.linspace(-1, 1, 4), 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tangent_prop.of_function(np.sin, np.zeros((3, 2)), 1), r"of shape \(count,\)"),
        (lambda: tangent_prop.of_function(np.sin, np.zeros(3), -1), "order"),
        (lambda: tangent_prop.of_function(np.sin, np.zeros(3), 1, (1.0,)), "weights takes 2 numbers"),
        (lambda: tangent_prop.of_function(np.sin, np.zeros(3), 1, (1.0, -1.0)), "weights takes 2 numbers >= 0"),
        (lambda: tangent_prop.invariant(np.zeros((3, 3)), np.zeros(3), 1), r"in the plane, \(count, 2\)"),
        (lambda: tangent_prop.invariant(np.zeros((3, 2)), np.zeros(2), 1), "values are"),
        (lambda: tangent_prop.Samples([], np.zeros((1, 3))), "got no points"),
        (lambda: tangent_prop.Samples([np.zeros((3, 2)), np.zeros((3, 1))], np.zeros((2, 3))), "coefficient 1 of the"),
        (lambda: tangent_prop.Samples([np.zeros((3, 2))], np.zeros((2, 4))), "targets has the shape"),
        (lambda: tangent_prop.fits(nt.MLP.create([2, 3, 1]), SAMPLES), "takes 2 features, the samples have 1"),
        (lambda: tangent_prop.fits(nt.MLP.create([1, 3, 2]), SAMPLES), "gives 2 outputs"),
        (lambda: tangent_prop.fits(hidden_layer(), SAMPLES, steps=0), "steps takes an integer >= 1"),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def run(*arguments, cwd):
    command = [sys.executable, "-m", "ntaylor", "tangentprop", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_prints_a_table_and_writes_a_report_and_a_picture(tmp_path):
    small = ("--points", "4", "--order", "1", "--seeds", "1", "--seed", "2", "--out", "here")
    done = run(*small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == ["report.json", "tangentprop.png"]
    assert (tmp_path / "here" / "tangentprop.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "here" / "report.json").read_text())
    assert [part["points"] for part in report["functions"]] == [4, 16]
    for part, task in zip(report["functions"], (tangent_prop.CURVE, tangent_prop.RINGS), strict=True):
        errors = [task.error(found.network) for found in task.fits(part["points"], 1, seed=2)]
        assert [row["median"] for row in part["orders"]] == pytest.approx(errors, rel=1e-6)
        for error in errors:
            assert f"{error:.1e}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80

    again = run(*small, cwd=tmp_path)
    assert again.returncode == 2
    assert "here holds results (report.json): give --overwrite, or another --out" in again.stderr
    over = run(*small, "--no-plot", "--overwrite", cwd=tmp_path)
    assert over.returncode == 0, over.stderr
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["report.json"], "the old picture is not of this run"


def test_values_alone_are_drawn_too(tmp_path):
    done = run("--order", "0", "--points", "3", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tangentprop" / "tangentprop.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--order", "7"], "0 to 6"),
        (["--order", "-1"], "is not a whole number >= 0"),
        (["--points", "0"], "is not a whole number >= 1"),
        (["--out", "file"], "--out file is a file: give a folder"),
    ],
)
def test_bad_arguments_are_told(tmp_path, arguments, message):
    (tmp_path / "file").write_text("mine")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert (tmp_path / "file").read_text() == "mine"
