"""Numba kernels: what the core gives, for every shape in which coefficients come, and never needed."""

# ruff: noqa: ARG005 rules share one signature

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from kernel_cases import CONSTANT, SHAPES

import ntaylor as nt
from ntaylor.dispatch import adapter_for
from ntaylor.series import Series
from ntaylor_backends import kernels, recordings
from ntaylor_backends import numpy as adapter_module

pytest.importorskip("numba")
from ntaylor_backends.numpy import numba_kernels

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _everything_by_kernels(monkeypatch, tmp_path):
    monkeypatch.setattr(adapter_module, "SMALLEST", 0)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))


@pytest.fixture
def counted(monkeypatch):
    """The programs that were run, or made part of recorded code."""
    seen = []
    run = numba_kernels.run
    monkeypatch.setattr(numba_kernels, "run", lambda *args, **options: (seen.append(args[0]), run(*args, **options))[1])
    recordings._entries.clear()
    return seen


def close(got, expected, tolerance=1e-13):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert np.max(np.abs(got - expected), initial=0.0) <= tolerance * np.max(np.abs(expected), initial=1e-300)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["tanh", "gelu", "snake", "relu3", "square"])
def test_kernels_give_what_the_closed_form_gives(name, shapes):
    """Values, cotangents and the gradients of parameters, of the shapes of what they belong to."""
    activation = nt.activations.get(name)
    u = [RNG.uniform(-1, 1, shape) for shape in shapes]
    parameters = {key: np.asarray(1.2) for key in activation.parameters}
    v, pullback = kernels.activate(numba_kernels.run, activation, u, 3, parameters)
    expected, expected_pullback = activation.closed_form(u, 3, parameters)
    assert len(v) == len(expected)
    for c, e in zip(v, expected, strict=True):
        close(c, e)
    cotangent = [RNG.standard_normal(c.shape) for c in v]
    cotangent[1] = None
    of_u, of_parameters = pullback(cotangent)
    expected_of_u, expected_of_parameters = expected_pullback(cotangent)
    for c, e in zip(of_u, expected_of_u, strict=True):
        close(c, e) if e is not None else pytest.fail("a cotangent is missing") if c is not None else None
    for key in parameters:
        close(np.asarray(of_parameters[key]), np.asarray(expected_of_parameters[key]), 1e-12)


def test_views_are_read_as_they_are():
    u = [RNG.uniform(-1, 1, (5, 7)).T, RNG.uniform(-1, 1, (14, 10))[::2, ::-2], np.broadcast_to(1.5, (7, 5))]
    activation = nt.activations.get("sin")
    for c, e in zip(
        kernels.activate(numba_kernels.run, activation, u, 3, {})[0], activation.closed_form(u, 3, {})[0], strict=True
    ):
        close(c, e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"gated": True}, {"activation": "snake"}, {"odd": True}], ids=str)
def test_networks_and_their_gradients(monkeypatch, counted, options, dtype):
    """Derivatives and gradients through kernels against those without."""
    net = nt.MLP.create([2, 6, 6, 2], seed=1, dtype=dtype, **options)
    x, direction = RNG.standard_normal((8, 2)).astype(dtype), np.asarray([0.6, -0.8], dtype)

    def both():
        def loss(p):
            d = nt.derivatives(net.replace(p), x, 4, direction)
            return np.mean(d[4] ** 2) + np.sum(d[1] * d[2])

        return nt.derivatives(net, x, 5, direction), nt.value_and_grad(loss)(net.parameters)

    derivatives, (value, gradient) = both()
    assert counted
    used = len(counted)
    monkeypatch.setattr(adapter_module, "SMALLEST", 10**9)
    expected, (expected_value, expected_gradient) = both()
    assert len(counted) == used
    limit = 1e-12 if dtype is np.float64 else 2e-4
    close(derivatives, expected, limit)
    close(np.asarray(value), np.asarray(expected_value), limit)
    for name in gradient:
        close(gradient[name], expected_gradient[name], limit)


def test_a_rule_of_constants_has_kernels_without_inputs():
    u = [RNG.standard_normal(5), RNG.standard_normal((3, 5))]
    v, pullback = kernels.activate(numba_kernels.run, CONSTANT, u, 1, {})
    expected, expected_pullback = CONSTANT.closed_form(u, 1, {})
    for c, e in zip(v, expected, strict=True):
        close(c, e)
    assert [c is None for c in pullback(list(v))[0]] == [c is None for c in expected_pullback(list(v))[0]]


def test_cotangents_of_another_dtype():
    u = [RNG.standard_normal((4, 3)).astype(np.float32) for _ in range(3)]
    tanh = nt.activations.get("tanh")
    cotangent = [RNG.standard_normal((4, 3)) for _ in u]
    got = kernels.activate(numba_kernels.run, tanh, u, 2, {})[1](cotangent)[0]
    for c, e in zip(got, tanh.closed_form(u, 2, {})[1](cotangent)[0], strict=True):
        close(c, e.astype(np.float32), 1e-5)


def test_beyond_where_the_loops_sine_is_right_numpys_is_taken():
    """For the whole array, so that what the loop gave is nowhere left."""
    for far in (1.5e6, -1e22, 1e300):
        x = np.asarray([0.3, far, -0.0, 1e6])
        found = nt.derivatives(np.sin, x, 3)
        for k, e in enumerate([np.sin(x), np.cos(x), -np.sin(x), -np.cos(x)]):
            np.testing.assert_allclose(found[k], e, rtol=2e-15)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(nt.derivatives(np.cos, np.asarray([np.inf, np.nan]), 2), np.full((3, 2), np.nan))


def test_float32_is_computed_in_float32():
    text = numba_kernels.source(
        kernels.forward_program(nt.activations.get("tanh"), 3, (0, 1, 2, 3), (True, True), ()),
        [(0, 0), (1, 0)],
        [(True,), (False,)],
        1,
    )
    assert "real(" in text
    assert "float64" not in text


def test_small_arrays_other_dtypes_and_unrecordable_rules_go_without(monkeypatch, counted):
    monkeypatch.setattr(adapter_module, "SMALLEST", 100)
    nt.derivatives(nt.MLP.create([1, 4, 1]), np.linspace(0, 1, 5), 3)
    nt.derivatives(nt.MLP.create([1, 64, 1], dtype=np.complex128), np.linspace(0, 1, 5) + 0j, 3)
    nt.derivatives(nt.MLP.create([1, 64, 1], dtype=np.float16), np.linspace(0, 1, 5).astype(np.float16), 3)
    assert not counted
    # Its rule looks at values, which a program has none of.
    wave = nt.activations.Activation(
        "wave", lambda u, xp: (u * float(np.max(u[0])), Series([u[0] * 0 + float(np.max(u[0]))]))
    )
    net = nt.MLP.create([1, 64, 1], wave, seed=1)
    x = np.linspace(0, 1, 5)
    z = (x[:, None] @ net.parameters["0.weight"]) * np.max(x[:, None] @ net.parameters["0.weight"])
    np.testing.assert_allclose(nt.derivatives(net, x, 2)[0], (z @ net.parameters["2.weight"])[:, 0], rtol=1e-12)
    assert not counted


def test_a_rule_without_a_partial_is_told_of_as_ever():
    lacking = nt.activations.Activation("lacking", lambda u, xp, a: (u * a, u * 0 + a), parameters={"a": 1.0})
    net = nt.MLP.create([1, 4, 1], lacking)
    x = np.linspace(0, 1, 5)
    with pytest.raises(TypeError, match="gave no partial for its parameter 'a'"):
        nt.value_and_grad(lambda p: np.sum(nt.derivatives(net.replace(p), x, 1)))(net.parameters)


def test_points_outside_a_domain_are_refused_as_ever():
    net = nt.MLP.create([1, 4, 1], "log", seed=0)
    with pytest.raises(ValueError, match="log is not differentiable to order 2"):
        nt.derivatives(net, np.linspace(-1, 1, 9), 2)


def test_several_threads_at_once():
    net, x = nt.MLP.create([1, 16, 16, 1], seed=2), np.linspace(-1, 1, 300)
    expected = nt.derivatives(net, x, 6)
    found = []
    threads = [threading.Thread(target=lambda: found.append(nt.derivatives(net, x, 6))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for got in found:
        np.testing.assert_array_equal(got, expected)


SCRIPT = """
import sys, numpy as np, ntaylor as nt
for name in sys.argv[1:]:
    net = nt.MLP.create([1, 64, 1], name, seed=1)
    print(repr(float(np.sum(nt.derivatives(net, np.linspace(0, 1, 64), 3)))))
"""


def run_apart(cache, *names):
    import os

    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", SCRIPT, *(names or ("tanh",))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_what_is_kept_on_disk_gives_the_same_and_can_be_lost_or_damaged(tmp_path):
    """The second process reads what the first compiled; damaged files and a folder that cannot be are no loss."""
    first = run_apart(tmp_path)
    kept = sorted(tmp_path.rglob("*.nbc"))
    assert kept
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert run_apart(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    for path in kept:
        path.write_bytes(b"not what Numba wrote")
    assert run_apart(tmp_path) == first
    (tmp_path / "file").write_text("")
    assert run_apart(tmp_path / "file") == first


def test_every_kernel_has_a_name_of_its_own(monkeypatch):
    """Numba names machine code after the function; of two kernels kept under one name it may run the wrong one."""
    made = []

    def compile_and_note(text, own, *rest):
        made.append((text, own))
        return compile_(text, own, *rest)

    compile_ = numba_kernels._compile
    monkeypatch.setattr(numba_kernels, "_compile", compile_and_note)
    numba_kernels._compiled.cache_clear()
    for name in ("tanh", "sin", "sigmoid"):
        nt.derivatives(nt.MLP.create([1, 64, 1], name, seed=1), np.linspace(0, 1, 64), 3)
    assert len(made) >= 3
    assert len({own for _, own in made}) == len(made)
    for text, own in made:
        assert f"def entries_{own}(" in text
        assert f"def kernel_{own}(" in text
        assert "def entries(" not in text


def test_kernels_that_two_processes_kept_are_two_in_a_third(tmp_path):
    one, other = run_apart(tmp_path, "tanh"), run_apart(tmp_path, "sin")
    assert one != other
    assert run_apart(tmp_path, "tanh", "sin") == one + other
    assert run_apart(tmp_path, "sin", "tanh") == other + one


def test_numba_is_loaded_when_a_kernel_is_wanted_and_not_before():
    script = """
import sys, numpy as np, ntaylor as nt
nt.derivatives(nt.MLP.create([1, 8, 1]), np.linspace(0, 1, 8), 3)
print("numba" in sys.modules)
nt.derivatives(nt.MLP.create([1, 64, 1]), np.linspace(0, 1, 64), 3)
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_numba_the_core_computes(monkeypatch, counted):
    monkeypatch.setattr(adapter_module, "compiler", lambda: None)
    assert type(adapter_for(np.ones(1))).__module__ == adapter_module.__name__
    assert nt.derivatives(nt.MLP.create([1, 64, 1]), np.linspace(0, 1, 64), 3).shape == (4, 64)
    assert not counted


@pytest.mark.parametrize(
    ("prelude", "warnings"),
    [
        # A module that is None in sys.modules raises ImportError, as Numba does beside a NumPy that is newer.
        ("import sys; sys.modules['numba.core'] = None", 1),
        ("import os; os.environ['NUMBA_DISABLE_JIT'] = '1'", 0),
    ],
)
def test_with_a_numba_that_cannot_compile_the_core_computes(prelude, warnings):
    script = f"""
{prelude}
import warnings, numpy as np, ntaylor as nt
net, x = nt.MLP.create([1, 64, 1]), np.linspace(0, 1, 64)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    first, again = nt.derivatives(net, x, 3), nt.derivatives(net, x, 3)
import ntaylor_backends.numpy
ntaylor_backends.numpy.SMALLEST = 10**9
print(len(seen), np.array_equal(first, nt.derivatives(net, x, 3)), np.array_equal(first, again))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(warnings), "True", "True"]
