"""Products and quotients of two series as kernels: the numbers of nested autograd and of fifty digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor import activations
from ntaylor.series import Series
from ntaylor_backends import numpy as of_numpy

pytest.importorskip("numba")
from ntaylor_backends.numpy import numba_kernels

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def ran(monkeypatch, compiled):
    """Kernels for arrays of any size, and the names of those that ran."""
    monkeypatch.setattr(of_numpy, "SMALLEST", 0)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(compiled))
    seen: list[str] = []
    run = numba_kernels.run
    monkeypatch.setattr(
        numba_kernels, "run", lambda *args, **options: (seen.append(args[0].name), run(*args, **options))[1]
    )
    return seen


def of_products(x, y, xp):
    """Products and quotients, of full series and of some with structural zeros, of one column and of many."""
    wave = xp.sin(x) * xp.exp(y[:, :1])
    return wave * x / (2 + xp.cos(y) * xp.sin(x)) + x * y


def by_fifty_digits(x, y, order):
    """Derivatives along x + t, y + 2t of the first row, by mpmath's own differentiation."""

    def entry(j):
        def at(t):
            a, b, c = mpmath.mpf(x[j]) + t, mpmath.mpf(y[j]) + 2 * t, mpmath.mpf(y[0]) + 2 * t
            wave = mpmath.sin(a) * mpmath.exp(c)
            return wave * a / (2 + mpmath.cos(b) * mpmath.sin(a)) + a * b

        return [mpmath.diff(at, 0, k) for k in range(order + 1)]

    with mpmath.workdps(50):
        return np.asarray([[float(d) for d in entry(j)] for j in range(len(x))]).T


def test_derivatives_are_those_of_fifty_digits(ran):
    x, y = RNG.uniform(0.5, 1, (2, 1, 3))
    directions = (np.ones_like(x), 2 * np.ones_like(y))
    found = nt.jet(lambda x, y: of_products(x, y, np), (x, y), 3, directions).derivatives
    assert {"product_forward_3", "quotient_forward_3"} <= set(ran)
    expected = by_fifty_digits(x[0], y[0], 3)
    np.testing.assert_allclose(found[:, 0, :], expected, rtol=1e-12)


@pytest.mark.parametrize("there", [(True, True, True), (True, False, True)], ids=str)
@pytest.mark.parametrize("name", ["product", "quotient"])
def test_structural_zeros_stay_away(name, there, ran):
    """Coefficients that are absent are never made, and the others are those of polynomials times one another."""
    u, v = (Series([RNG.uniform(1, 2, (2, 3)) if here else None for here in there]) for _ in range(2))
    found = activations.of_two(name, u, v, 3)
    assert ran == [f"{name}_forward_3"]
    expected = (u * v if name == "product" else u / v).truncated(3)
    for k in range(4):
        e = expected[k] if k < len(expected) else None
        assert (found[k] is None) == (e is None)
        if e is not None:
            np.testing.assert_allclose(found[k], e, rtol=1e-14)


def test_gradients_of_numpy_functions(ran):
    """Against central differences in the parameters of 1e-5, whose error is 1e-9."""
    x, y = RNG.uniform(0.5, 1, (2, 4, 3))

    def loss(p):
        d = nt.derivatives(lambda x: of_products(x * p["a"], y * p["b"], np), x, 3, np.ones(3))
        return np.sum(d**2)

    at = {"a": np.asarray([1.1, 0.9, 1.0]), "b": np.asarray([0.8, 1.0, 1.2])}
    _, gradient = nt.value_and_grad(loss)(at)
    assert {"product_adjoint_3", "quotient_adjoint_3"} <= set(ran)
    for name, p in at.items():
        for j in range(3):
            step = 1e-5 * np.eye(3)[j]
            slope = (loss({**at, name: p + step}) - loss({**at, name: p - step})) / 2e-5
            np.testing.assert_allclose(gradient[name][j], slope, rtol=1e-7)


def test_what_no_kernel_takes_is_as_before(ran):
    """Other dtypes, complex numbers, arrays among numbers, order 0."""
    x = RNG.uniform(0.5, 1, (4, 3))
    assert nt.derivatives(lambda x: x * np.sin(x), x + 0j, 2, np.ones(3)).dtype == np.complex128
    assert nt.jet(lambda x: x * np.sin(x), x, 0, np.ones(3)).order == 0
    np.testing.assert_allclose(nt.derivatives(lambda x: 2 / x, x, 2, np.ones(3))[2], 4 / x**3, rtol=1e-14)
    assert "reciprocal_forward_2" in ran  # a number by a series
    assert not {name.split("_")[0] for name in ran} & {"product", "quotient"}
    with pytest.raises(ValueError, match="zero at some of these points"):
        nt.derivatives(lambda x: np.sin(x) / (x - x), x, 2, np.ones(3))


# --- torch ----------------------------------------------------------------------------------------


@pytest.fixture
def torch(monkeypatch, ran):
    found = pytest.importorskip("torch")
    from ntaylor_backends.torch import cpu_kernels

    run = cpu_kernels.run
    monkeypatch.setattr(cpu_kernels, "run", lambda *args: (ran.append(args[0].name), run(*args))[1])
    ran.clear()
    return found


def given(torch):
    x, y = map(torch.as_tensor, RNG.uniform(0.5, 1, (2, 5, 3)))
    return x, y, [torch.as_tensor(a).requires_grad_() for a in RNG.uniform(0.8, 1.2, (2, 3))]


def test_gradients_once_and_twice_are_those_of_nested_autograd(torch, ran):
    from torch_oracle import nested

    x, y, p = given(torch)

    def f(x):
        return of_products(x * p[0], y * p[1] + x, torch)

    def along(t):  # what nested autograd takes: all rows along the diagonal
        return f(x + t)

    results = []
    for d in (nt.derivatives(f, x, 3, torch.ones(3, dtype=x.dtype)), nested(along, torch.zeros_like(x), 3)):
        once = torch.autograd.grad((d**2).sum(), p, create_graph=True)
        twice = torch.autograd.grad(sum((g**2).sum() for g in once), p)
        results.append([d.detach(), *(g.detach() for g in once), *twice])
    assert {"product_forward_3", "quotient_forward_3", "product_adjoint_3", "quotient_adjoint_3"} <= set(ran)
    for found, expected in zip(*results, strict=True):
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-11


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # jvp imports what uses it
def test_transforms_of_torch_see_the_operations(torch, ran):
    """vmap, jvp and grad of torch.func, and tensors that a transform follows, take no kernel and the same numbers."""
    x, y, p = given(torch)

    def total(a):
        f = lambda x: of_products(x * a, y, torch)  # noqa: E731
        return nt.derivatives(f, x, 3, torch.ones(3, dtype=x.dtype)).sum()

    expected = torch.autograd.grad(total(p[0]), p[0])[0]
    assert "product_adjoint_3" in ran
    several = torch.stack([p[0].detach(), p[1].detach()])
    np.testing.assert_allclose(torch.func.grad(total)(p[0].detach()), expected, rtol=1e-12)
    values = torch.func.vmap(total)(several)
    np.testing.assert_allclose(values, [total(a) for a in several], rtol=1e-12)
    tangent = torch.func.jvp(total, (p[0].detach(),), (torch.ones_like(p[0]),))[1]
    np.testing.assert_allclose(tangent, expected.sum(), rtol=1e-12)
    gradients = torch.func.vmap(torch.func.grad(total))(several)
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-12)
