"""Estimates: unbiased, of the variance that the formulas say, seeded by an explicit generator of every library.

For a quadratic function, xᵀHx/2, the variances have closed forms: sparse without replacement
d(d−R)/(R(d−1)) Σ(H_ii − H̄)², Rademacher (2/V) Σ_{i≠j} H_ij², Gaussian (2/V) ‖H‖².
"""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import math

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.directions import Coordinates
from ntaylor.namespace import array_namespace
from ntaylor.operators import (
    D,
    HardConstraint,
    Radial,
    biharmonic,
    identity,
    laplacian,
    polyharmonic,
    weighted_laplacian,
)

DRAWS = 10_000
KINDS = ("sparse", "stratified", "rademacher", "gaussian")
RNG = np.random.default_rng(31)
A = RNG.standard_normal((6, 6))
H = A + A.T


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def quadratic(matrix):
    def f(x):
        given = array_namespace(x).asarray(matrix, dtype=x.dtype)
        return array_namespace(x).sum((x @ given) * x, axis=-1) / 2

    return f


def generator(xp, seed):
    if xp.name == "torch":
        import torch

        return torch.Generator().manual_seed(seed)
    if xp.name == "jax":
        import jax

        return jax.random.key(seed)
    return np.random.default_rng(seed)


@pytest.fixture
def at_once(monkeypatch):
    """Jets of quadratic functions by matrix products, for 10,000 estimates in seconds: what is tested is the chance."""
    from ntaylor import pushing

    def install(matrix):
        def along(f, x, directions, order, weights=None, total=None):
            v = directions.stack(x)[:, 0, :]
            return [zero, None, np.sum((v @ matrix) * v, axis=-1)[:, None] / 2]

        zero = np.zeros(1)
        monkeypatch.setattr(pushing, "along", along)
        return quadratic(matrix)

    return install


def check_moments(estimate, exact, variance):
    """The mean within 4 standard errors of what is exact, the variance within 4 of its own, of its spread."""
    values = np.asarray(estimate.value)[:, 0]
    n = len(values)
    deviations = (values - exact) ** 2
    assert abs(values.mean() - exact) <= 4 * math.sqrt(variance / n) + 1e-12
    assert abs(deviations.mean() - variance) <= 4 * deviations.std() / math.sqrt(n) + 1e-12
    # The reported variances are unbiased for it: their mean is within four of its own standard errors.
    reported = np.asarray(estimate.standard_error)[:, 0] ** 2
    assert abs(reported.mean() - variance) <= 4 * reported.std() / math.sqrt(n) + 1e-12


@pytest.mark.parametrize("samples", [2, 3, 5])
@pytest.mark.parametrize("kind", ["sparse", "rademacher", "gaussian"])
def test_moments_of_10000_draws(at_once, kind, samples):
    d, diagonal = 6, np.diag(H)
    variance = {
        "sparse": d * (d - samples) / (samples * (d - 1)) * np.sum((diagonal - diagonal.mean()) ** 2),
        "rademacher": 2 / samples * np.sum((H - np.diag(diagonal)) ** 2),
        "gaussian": 2 / samples * np.sum(H**2),
    }[kind]
    x = RNG.standard_normal((1, d))
    found = laplacian().estimate(at_once(H), x, samples=samples, rng=samples, kind=kind, sets=DRAWS)
    check_moments(found, np.trace(H), variance)


def test_moments_of_10000_stratified_draws(at_once):
    """Two of each of two strata of three: Σ_h n_h² (1 − 2/n_h) S_h²/2."""
    strata = np.diag(H).reshape(2, 3)
    variance = np.sum(3 * 3 * (1 - 2 / 3) * strata.var(axis=1, ddof=1) / 2)
    found = laplacian().estimate(at_once(H), np.ones((1, 6)), samples=4, rng=5, kind="stratified", sets=DRAWS)
    check_moments(found, np.trace(H), variance)


def test_moments_of_strata_of_different_sizes(at_once):
    """7 coordinates in 2 strata, of 3 and 4."""
    h = RNG.standard_normal(7)
    variance = sum(n * n * (1 - 2 / n) * part.var(ddof=1) / 2 for n, part in ((3, h[:3]), (4, h[3:])))
    f = at_once(np.diag(h))
    found = laplacian().estimate(f, np.ones((1, 7)), samples=4, rng=1, kind="stratified", sets=DRAWS)
    check_moments(found, h.sum(), variance)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_moments_of_a_form(at_once, kind):
    """Σ C_ij ∂_i ∂_j through v = C^½ ε: that of a Laplacian with C^½ H C^½ for H."""
    C = A @ A.T / 6
    values, vectors = np.linalg.eigh(C)
    rows = (vectors * np.sqrt(values)).T
    M = rows @ H @ rows.T
    variance = np.sum(M**2) if kind == "gaussian" else np.sum((M - np.diag(np.diag(M))) ** 2)
    L = weighted_laplacian(C)
    found = L.estimate(at_once(H), np.ones((1, 6)), samples=2, rng=2, kind=kind, sets=DRAWS)
    check_moments(found, np.trace(C @ H), variance)


def test_moments_of_a_gaussian_biharmonic():
    """E D_v⁴ f = 3 Δ²f; for f = x_0⁴ + x_1² x_2² the variance is that of v's moments, by sampling v itself."""
    v = np.random.default_rng(0).standard_normal((400_000, 3))
    each = (24 * v[:, 0] ** 4 + 24 * v[:, 1] ** 2 * v[:, 2] ** 2) / 3

    def f(x):
        return x[:, 0] ** 4 + x[:, 1] ** 2 * x[:, 2] ** 2

    found = biharmonic().estimate(f, np.zeros((1, 3)), samples=100, rng=3, kind="gaussian", sets=1000)
    values = found.value[:, 0]
    assert abs(values.mean() - 32) <= 4 * values.std() / math.sqrt(1000)
    assert abs(values.var() / (each.var() / 100) - 1) < 0.25
    assert abs((found.standard_error[:, 0] ** 2).mean() / (each.var() / 100) - 1) < 0.25


@pytest.mark.parametrize("kind", ["sparse", "stratified"])
def test_any_operator_is_unbiased(kind):
    """Orders and weights mixed, with a function for a coefficient; 10,000 directions are drawn."""
    L = biharmonic() + 3 * D(0) - D(1, 2) + (lambda x: x[:, 0]) * (D(0, 1, 2) + D(2)) + 0.5 * identity()

    def f(x):
        return array_namespace(x).sin(x[:, 0] + 2 * x[:, 1] * x[:, 2])

    x = np.asarray([[0.3, -0.5, 0.8]])
    count = DRAWS // 4
    found = L.estimate(f, x, samples=4, rng=9, kind=kind, sets=count)
    values = found.value[:, 0]
    assert abs(values.mean() - L(f, x)[0]) <= 4 * values.std() / math.sqrt(count)
    squares = found.standard_error[:, 0] ** 2
    spread = (values - L(f, x)[0]) ** 2
    bound = 4 * math.hypot(squares.std(), spread.std()) / math.sqrt(count)
    assert abs(squares.mean() - spread.mean()) <= bound


def test_the_square_of_a_residual_by_two_sets(at_once):
    """E (a − g)(b − g) = (Δf − g)², where that of (a − g)² is larger by the variance."""
    f, g = at_once(H), 1.5
    found = laplacian().estimate(f, np.ones((1, 6)), samples=3, rng=0, kind="rademacher", sets=2 * DRAWS)
    a, b = found.value[:DRAWS, 0], found.value[DRAWS:, 0]
    product = (a - g) * (b - g)
    exact = (np.trace(H) - g) ** 2
    assert abs(product.mean() - exact) <= 4 * product.std() / math.sqrt(DRAWS)
    biased = (a - g) ** 2
    assert biased.mean() - exact > 10 * biased.std() / math.sqrt(DRAWS)


# --- on every library -----------------------------------------------------------------------------------


def wave(x):
    xp = array_namespace(x)
    return xp.sin(x[..., 0] + 2 * x[..., 1] * x[..., 2]) * xp.exp(x[..., 3])


@pytest.mark.parametrize("kind", KINDS)
def test_moments_on_every_library(xp, kind):
    """One estimate of many samples, by the library's own generator, within 4.5 of its standard errors."""
    if kind in ("sparse", "stratified"):
        f, x, samples = quadratic(np.diag(np.arange(400.0))), np.ones((1, 400)), 100
        exact = np.arange(400.0).sum()
    else:
        f, x, samples, exact = quadratic(H), np.ones((1, 6)), DRAWS, np.trace(H)
    found = laplacian().estimate(f, xp.array(x), samples=samples, rng=generator(xp, 4), kind=kind)
    value, error = xp.numpy(found.value)[0], xp.numpy(found.standard_error)[0]
    assert 0 < abs(value - exact) <= 4.5 * error
    if kind == "rademacher":
        assert abs(error / math.sqrt(2 / samples * np.sum((H - np.diag(np.diag(H))) ** 2)) - 1) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_returned(xp, kind):
    """Shapes, f(x), repeatable by the seed, without a standard error the same value, and sets that differ."""
    x = xp.array(RNG.uniform(-1, 1, (2, 3, 4)))
    L = laplacian() + D(0)
    found = L.estimate(wave, x, samples=2, rng=generator(xp, 1), kind=kind)
    assert found.value.shape == found.standard_error.shape == found.primal.shape == (2, 3)
    close(xp.numpy(found.primal), xp.numpy(wave(x)))
    again = L.estimate(wave, x, samples=2, rng=generator(xp, 1), kind=kind, standard_error=False)
    assert again.standard_error is None
    close(xp.numpy(again.value), xp.numpy(found.value))
    two = L.estimate(wave, x, samples=2, rng=generator(xp, 1), kind=kind, sets=2)
    assert two.value.shape == two.standard_error.shape == (2, 2, 3)
    close(xp.numpy(two.value[0, ...]), xp.numpy(found.value))
    if kind != "stratified":  # of one stratum of four, where two sets may well draw the same
        assert np.max(np.abs(xp.numpy(two.value[0, ...] - two.value[1, ...]))) > 1e-6


@pytest.mark.parametrize("rng", [3, np.int64(3)])
def test_integer_seeds_and_numpy_generators(xp, rng):
    """Of every library, with the same draws."""
    x = RNG.uniform(-1, 1, (3, 4))
    expected = laplacian().estimate(wave, x, samples=2, rng=np.random.default_rng(3)).value
    close(xp.numpy(laplacian().estimate(wave, xp.array(x), samples=2, rng=rng).value), expected)


@pytest.mark.parametrize("kind", ["sparse", "stratified"])
def test_as_many_samples_as_directions_are_exact(xp, kind):
    x = xp.array(RNG.uniform(-1, 1, (3, 4)))
    L = biharmonic() + laplacian() + identity()
    found = L.estimate(wave, x, samples=100, rng=0, kind=kind)
    close(xp.numpy(found.value), xp.numpy(L(wave, x)))
    close(xp.numpy(found.standard_error), np.zeros(3))


def test_float32(xp):
    x = xp.array(RNG.uniform(-1, 1, (3, 4)), np.float32)
    for kind in KINDS if xp.name != "jax" else KINDS[1:3]:
        found = laplacian().estimate(wave, x, samples=2, rng=generator(xp, 0), kind=kind)
        assert found.value.dtype == found.standard_error.dtype == x.dtype


def test_sparse_directions_are_columns_of_the_first_layer(xp, monkeypatch):
    """Never a one-hot vector, of the network nor of a radial factor, at any dimension."""

    def refuse(self, x):
        raise AssertionError("a one-hot vector was made")

    monkeypatch.setattr(Coordinates, "stack", refuse)
    net, x = xp.network([50, 4, 1]), xp.array(RNG.standard_normal((2, 50)))
    for f in (net, HardConstraint(net, Radial(lambda s, xp: 1 - s), Radial(lambda s, xp: xp.exp(-s)))):
        for kind in ("sparse", "stratified"):
            for errors in (True, False) if xp.name != "jax" else (True,):
                options = {"samples": 4, "rng": 0, "kind": kind, "standard_error": errors}
                assert laplacian().estimate(f, x, **options).value.shape == (2, 1)
    with pytest.raises(AssertionError, match="one-hot"):
        nt.gradient(wave, x)


def test_many_coordinates():
    """Two million: memory is that of the samples, and float32 knows their numbers."""
    d = 2_000_000
    x = np.full((1, d), 1e-3, np.float32)
    net = nt.MLP.create([d, 2, 1], xp=np, dtype=np.float32)
    for kind in ("sparse", "stratified"):
        assert np.all(np.isfinite(laplacian().estimate(net, x, samples=4, rng=0, kind=kind).value))


def test_strata_of_more_coordinates_than_float32_counts():
    """Past 2^24 a float32 is even; the numbers drawn are not."""
    from ntaylor.estimates import _Run

    x = np.ones((1, 1), np.float32)
    n = 2**26
    run = _Run(None, x, 2000, nt.directions.draws_for(0), 1, True)
    chosen, sizes = run._stratified(n)
    assert sizes.sum() == n
    assert 0.4 < np.mean(chosen % 2) < 0.6
    assert not np.any(chosen[:1000] == chosen[1000:])
    assert 0 <= chosen.min() <= chosen.max() < n


def test_gradients_by_parameters_are_those_of_the_drawn_directions():
    """With the draws fixed by the seed, an estimate is a function of the parameters like any other."""
    net = nt.MLP.create([5, 4, 1], xp=np, dtype=np.float64)
    x = RNG.standard_normal((3, 5))
    name = next(iter(net.parameters))
    step = np.zeros((5, 4))
    step[1, 2] = 1e-5
    for kind in KINDS:

        def loss(p, kind=kind):
            a, b = laplacian().estimate(net.replace(p), x, samples=2, rng=7, kind=kind, sets=2).value
            return array_namespace(a).mean((a - 1) * (b - 1))

        value, gradient = nt.value_and_grad(loss)(net.parameters)
        ends = [loss({**net.parameters, name: net.parameters[name] + s * step}) for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / 2e-5 - gradient[name][1, 2]) < 1e-7 * (1 + abs(value))


# --- refusals --------------------------------------------------------------------------------------------

X = np.ones((2, 4))


@pytest.mark.parametrize(
    ("L", "options", "kind", "words"),
    [
        (laplacian(), {"kind": "dense"}, ValueError, "sparse, stratified, rademacher, gaussian; got 'dense'"),
        (laplacian(), {"samples": 1}, ValueError, "at least 2.*got samples=1"),
        (laplacian(), {"samples": 0, "standard_error": False}, ValueError, "at least 1"),
        (laplacian(), {"samples": 3, "kind": "stratified"}, ValueError, "even for strata"),
        (laplacian(), {"samples": 2.5}, TypeError, "samples must be an integer"),
        (laplacian(), {"sets": 0}, ValueError, "sets at least 1"),
        (D(0), {"kind": "rademacher"}, ValueError, "pass kind='sparse'"),
        (biharmonic(), {"kind": "rademacher"}, ValueError, "kind='gaussian' for powers"),
        (
            weighted_laplacian(np.diag([1.0, -1, 1, 1])),
            {"kind": "gaussian"},
            ValueError,
            "negative eigenvalues.*sparse",
        ),
        (laplacian(), {"rng": None}, TypeError, "numpy.random.default_rng.*got NoneType"),
        (laplacian(), {"rng": True}, TypeError, "integer seed or a generator"),
        (laplacian(), {"rng": -1}, ValueError, "seed must be >= 0, got -1"),
        (laplacian(), {"rng": np.random.RandomState(0)}, TypeError, "got RandomState"),
        (laplacian(3), {}, ValueError, "for 3 coordinates, the points have 4"),
        (D(7), {}, ValueError, "coordinate 7"),
    ],
)
def test_refusals(L, options, kind, words):
    with pytest.raises(kind, match=words):
        L.estimate(wave, X, **{"samples": 2, "rng": 0, **options})


def test_a_generator_is_asked_for():
    with pytest.raises(TypeError, match="rng"):
        laplacian().estimate(wave, X)


# --- PyTorch and JAX --------------------------------------------------------------------------------------


def test_torch_generators():
    torch = pytest.importorskip("torch")
    net = nt.MLP.create([6, 4, 1], xp=torch, dtype=torch.float64)
    x = torch.tensor(RNG.standard_normal((3, 6)))
    rng = torch.Generator().manual_seed(0)
    first, second = (laplacian().estimate(net, x, samples=2, rng=rng).value for _ in range(2))
    assert not torch.equal(first, second), "the generator moves on"
    assert torch.equal(laplacian().estimate(net, x, samples=2, rng=rng.manual_seed(0)).value, first)
    with pytest.raises(TypeError, match="library of x"):
        laplacian().estimate(wave, X, samples=2, rng=rng)
    with pytest.raises(TypeError, match=r"rng takes a torch\.Generator"):
        laplacian().estimate(net, x, samples=2, rng=torch.zeros(2))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by Dynamo itself
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sparse", "gaussian"])
def test_torch_compile(kind):
    """In one graph, forward and backward: the generator moves on at every call, as it does without."""
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    net = nt.MLP.create([6, 4, 4, 1], xp=torch, dtype=torch.float64)
    L = laplacian() + D(0)
    x = torch.tensor(RNG.standard_normal((3, 6)), requires_grad=True)

    def drawn(rng):
        def values(x):
            a, b = L.estimate(net, x, samples=2, rng=rng, kind=kind, sets=2).value
            return (a * b).sum()

        return values

    def both(values):
        result = []
        for _ in range(2):
            value = values(x)
            result += [value.detach(), torch.autograd.grad(value, x)[0]]
        return result

    compiled = torch.compile(drawn(torch.Generator().manual_seed(5)), fullgraph=True, backend="aot_eager")
    got, expected = both(compiled), both(drawn(torch.Generator().manual_seed(5)))
    assert not torch.equal(got[0], got[2])
    for a, b in zip(got, expected, strict=True):
        close(a.numpy(), b.numpy())


def test_torch_compile_refuses_a_seed():
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    run = torch.compile(
        lambda x: laplacian().estimate(wave, x, samples=2, rng=0).value, fullgraph=True, backend="eager"
    )
    with pytest.raises(Exception, match=r"(?s)integer seed|Observed exception"):
        run(torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["stratified", "rademacher"])
def test_jax_jit_with_a_key(kind):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    net = nt.MLP.create([6, 4, 1], xp=jax.numpy, dtype=jax.numpy.float64)
    x = jax.numpy.asarray(RNG.standard_normal((3, 6)))

    def value(net, x, key):
        a, b = laplacian().estimate(net, x, samples=2, rng=key, kind=kind, sets=2).value
        return jax.numpy.sum(a * b)

    run = jax.jit(jax.value_and_grad(value))
    keys = jax.random.split(jax.random.key(0), 3)
    found = [run(net, x, key) for key in keys]
    assert len({float(v) for v, _ in found}) == 3
    close(found[0][0], value(net, x, keys[0]))
    assert np.any(np.asarray(jax.tree_util.tree_leaves(found[0][1])[0]))
    together = jax.jit(jax.vmap(lambda key: laplacian().estimate(net, x, samples=2, rng=key, kind=kind).value))(keys)
    for key, row in zip(keys, together, strict=True):
        close(row, laplacian().estimate(net, x, samples=2, rng=key, kind=kind).value)


def test_jax_keys():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    x = jax.numpy.asarray(RNG.standard_normal((3, 4)))

    def value(rng, x=x):
        return laplacian().estimate(wave, x, samples=2, rng=rng).value

    close(value(jax.random.key(3)), value(jax.random.PRNGKey(3)))
    close(value(jax.random.key(3)), value(jax.random.key(3)))
    with pytest.raises(TypeError, match="rng takes a key"):
        value(jax.numpy.ones(2))
    with pytest.raises(TypeError, match="library of x"):
        value(jax.random.key(0), np.asarray(x))
    for rng in (0, np.random.default_rng(0)):
        with pytest.raises(TypeError, match=r"same numbers.*jax\.random\.key"):
            jax.jit(lambda x, rng=rng: value(rng, x))(x)


def test_gaussian_of_order_six():
    """E D_v⁶ f = 15 Δ³f: of a function of one cube, x_0⁶, exactly known."""
    found = polyharmonic(3).estimate(lambda x: x[:, 0] ** 6, np.zeros((1, 2)), samples=DRAWS, rng=0, kind="gaussian")
    assert abs(found.value[0] - 720) <= 4 * found.standard_error[0]
