"""Every layer against a plain formula pushed by jets, and its adjoint against complex steps of that formula."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.composites import Chain, Gated, Odd, Skip, Sum
from ntaylor.layers import Activate, Dense, FourierFeatures, Periodic, Scale
from ntaylor.series import Series

RNG = np.random.default_rng(7)
BATCH, WIDTH, ORDER = 5, 3, 4


def tanh(u):
    """By exponentials alone, so that complex steps go through."""
    return (np.exp(u) - np.exp(-u)) / (np.exp(u) + np.exp(-u))


def normal(*shape):
    return RNG.standard_normal(shape) * 0.6


def dense(n_in, n_out):
    return Dense(normal(n_in, n_out), normal(n_out))


def read_only(layer):
    """A layer whose parameters cannot be written to."""
    copies = {name: np.array(p) for name, p in layer.parameters.items()}
    for p in copies.values():
        p.flags.writeable = False
    return layer.replace(copies)


B = normal(WIDTH, 2)
SHIFT, FACTOR = normal(WIDTH), np.asarray([0.5, 2.0, -1.0])


def columns(u, indices):
    return [u[..., i] for i in indices]


def periodic_formula(u, p, periods):
    waves = [(u[..., i] * (2 * np.pi / period)) for i, period in enumerate(periods) if period]
    plain = [u[..., i] for i, period in enumerate(periods) if not period]
    return np.stack([*map(np.sin, waves), *map(np.cos, waves), *plain], axis=-1)


def gated_formula(u, p):
    first = tanh(u @ p["first.0.weight"] + p["first.0.bias"])
    second = tanh(u @ p["second.0.weight"] + p["second.0.bias"])
    state = u
    for i in range(2):
        z = tanh(state @ p[f"{i}.0.weight"] + p[f"{i}.0.bias"])
        state = (1 - z) * first + z * second
    return state


def inner(u, p, prefix=""):
    return np.sin(u @ p[f"{prefix}0.weight"] + p[f"{prefix}0.bias"])


# name -> (layer, the same as a function of (u, parameters) in NumPy)
LAYERS = {
    "dense": (dense(WIDTH, 4), lambda u, p: u @ p["weight"] + p["bias"]),
    "dense without bias": (Dense(normal(WIDTH, 4)), lambda u, p: u @ p["weight"]),
    "tanh": (Activate("tanh"), lambda u, p: tanh(u)),
    "silu": (Activate("silu"), lambda u, p: u / (1 + np.exp(-u))),
    "snake, one for all": (
        Activate("snake", {"a": np.asarray(1.3)}),
        lambda u, p: u + np.sin(p["a"] * u) ** 2 / p["a"],
    ),
    "snake, one a feature": (
        Activate("snake", {"a": np.asarray([1.3, 0.7, 2.0])}),
        lambda u, p: u + np.sin(p["a"] * u) ** 2 / p["a"],
    ),
    "adaptive tanh": (Activate("adaptive_tanh", {"a": np.asarray(0.8)}), lambda u, p: tanh(p["a"] * u)),
    "scale": (Scale(SHIFT, FACTOR), lambda u, p: (u - SHIFT) * FACTOR),
    "scale by numbers": (Scale(np.asarray(0.5), np.asarray(2.0)), lambda u, p: (u - 0.5) * 2.0),
    "fourier": (
        FourierFeatures(B),
        lambda u, p: np.concatenate([np.sin(2 * np.pi * (u @ B)), np.cos(2 * np.pi * (u @ B))], axis=-1),
    ),
    "periodic": (Periodic([2.0, 3.0, 5.0]), lambda u, p: periodic_formula(u, p, [2.0, 3.0, 5.0])),
    "periodic, middle": (Periodic([None, 3.0, None]), lambda u, p: periodic_formula(u, p, [None, 3.0, None])),
    "periodic, ends": (Periodic([2.0, None, 4.0]), lambda u, p: periodic_formula(u, p, [2.0, None, 4.0])),
    "chain": (
        Chain([dense(WIDTH, 4), Activate("tanh"), dense(4, 2)]),
        lambda u, p: tanh(u @ p["0.weight"] + p["0.bias"]) @ p["2.weight"] + p["2.bias"],
    ),
    "residual": (Skip([dense(WIDTH, WIDTH), Activate("sin")]), lambda u, p: u + inner(u, p)),
    "residual, linear": (
        Skip([dense(WIDTH, WIDTH)]),
        lambda u, p: u + u @ p["0.weight"] + p["0.bias"],
    ),
    "odd": (Odd([dense(WIDTH, 4), Activate("sin")]), lambda u, p: inner(u, p) - inner(-u, p)),
    "odd, linear": (Odd([dense(WIDTH, 4)]), lambda u, p: 2 * (u @ p["0.weight"]) + 0 * p["0.bias"]),
    "sum": (
        Sum([Chain([dense(WIDTH, 4), Activate("sin")]), dense(WIDTH, 4)]),
        lambda u, p: inner(u, p, "0.") + u @ p["1.weight"] + p["1.bias"],
    ),
    "gated": (
        Gated(
            Chain([dense(WIDTH, 4), Activate("tanh")]),
            Chain([dense(WIDTH, 4), Activate("tanh")]),
            [Chain([dense(WIDTH, 4), Activate("tanh")]), Chain([dense(4, 4), Activate("tanh")])],
        ),
        gated_formula,
    ),
    "scale behind a linear layer": (
        Chain([dense(WIDTH, WIDTH), Scale(SHIFT, FACTOR)]),
        lambda u, p: (u @ p["0.weight"] + p["0.bias"] - SHIFT) * FACTOR,
    ),
}

X = normal(BATCH, WIDTH)
INPUTS = {
    "a direction a point": [X, normal(BATCH, WIDTH)],
    "one direction for all": [X, normal(WIDTH)],
    "one row": [X, normal(1, WIDTH)],
    "a curve with a gap": [X, normal(BATCH, WIDTH), None, normal(1, WIDTH), normal(BATCH, WIDTH)],
    "no first coefficient": [X, None, normal(BATCH, WIDTH)],
    "a constant": [X],
    "two batch axes": [normal(2, BATCH, WIDTH), normal(BATCH, WIDTH)],
}


def by_jets(formula, parameters, u, order):
    """Coefficients of the formula along u by the rules of jets: none of the layers' code."""
    return formula(nt.Jet(u, order), parameters).coefficients


def filled(v, shape, count):
    zero = np.zeros(shape)
    return np.stack([zero if k >= len(v) or v[k] is None else np.broadcast_to(v[k], shape) for k in range(count)])


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_push(name, kind):
    layer, formula = LAYERS[name]
    u = INPUTS[kind]
    v, _ = read_only(layer).push([None if c is None else c.copy() for c in u], ORDER)
    expected = by_jets(formula, layer.parameters, u, ORDER)
    close(filled(v, expected.shape[1:], ORDER + 1), expected)


def contraction(formula, parameters, u, cotangent):
    """⟨v̄, v(u, parameters)⟩ and its tools for complex steps: one number."""
    v = by_jets(formula, parameters, u, ORDER)
    return np.sum(v * cotangent)


def complex_step(function, array):
    """Its gradient, exact to rounding: Im f(a + i h e)/h with h = 1e-30."""
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        moved = array.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = function(moved).imag / 1e-30
    return gradient


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_adjoint_by_complex_steps(name, kind):
    """⟨v̄, J u̇⟩ = ⟨Jᵀ v̄, u̇⟩ for every unit u̇ and every parameter, structural zeros and shared rows included."""
    layer, formula = LAYERS[name]
    u = INPUTS[kind]
    v, pullback = layer.push(u, ORDER)
    shape = by_jets(formula, layer.parameters, u, ORDER).shape
    cotangent = normal(*shape)
    given = [cotangent[k] for k in range(len(v))]
    for k, c in enumerate(v):
        if c is None:
            cotangent[k] = 0.0  # no such output
    cotangent[len(v) :] = 0.0
    u_bar, gradients = pullback(given)
    assert gradients.keys() == layer.parameters.keys()

    with np.errstate(all="ignore"):
        for parameter, array in layer.parameters.items():
            expected = complex_step(
                lambda p, n=parameter: contraction(formula, {**layer.parameters, n: p}, u, cotangent), array
            )
            close(gradients[parameter], expected)
        for k, c in enumerate(u):
            if c is None:
                assert u_bar[k] is None
                continue
            expected = complex_step(
                lambda moved, k=k: contraction(formula, layer.parameters, [*u[:k], moved, *u[k + 1 :]], cotangent), c
            )
            got = u_bar[k] if u_bar[k] is not None else np.zeros(c.shape)
            close(got, expected)


def close(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * (1 + np.max(np.abs(expected), initial=0)))


@pytest.mark.parametrize("name", LAYERS)
def test_per_sample_is_a_loop_over_samples(name):
    """Leading cotangent axes and samples are independent: the same as pushing each sample alone."""
    layer, _ = LAYERS[name]
    for u in ([X, normal(BATCH, WIDTH)], [X, normal(WIDTH)], [X, normal(1, WIDTH)]):
        v, pullback = layer.push(u, ORDER)
        cotangent = [None if c is None else normal(2, BATCH, c.shape[-1]) for c in v]
        u_bar, gradients = pullback(cotangent, per_sample=True)
        for lead in range(2):
            for i in range(BATCH):
                alone = [c if c.ndim == 1 else c[i if c.shape[0] == BATCH else 0][None, :] for c in u]
                _, one = layer.push(alone, ORDER)
                one_bar, one_gradients = one([None if c is None else c[lead, i][None, :] for c in cotangent])
                for name_, g in one_gradients.items():
                    assert gradients[name_].shape == (2, BATCH, *layer.parameters[name_].shape)
                    close(gradients[name_][lead, i], g)
                close(u_bar[0][lead, i], one_bar[0][0])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("only", range(ORDER + 1))
def test_cotangents_may_be_absent(name, only):
    """A cotangent of None is one of zeros, whichever are given."""
    layer, _ = LAYERS[name]
    v, pullback = layer.push([X, normal(BATCH, WIDTH)], ORDER)
    given = [None] * len(v)
    zeros = [np.zeros((BATCH, v[0].shape[-1])) for _ in v]
    if only < len(v):
        given[only] = zeros[only] = normal(BATCH, v[0].shape[-1])
    sparse, full = pullback(given), pullback(zeros)
    for a, b in zip(sparse[0], full[0], strict=True):
        close(np.zeros(X.shape) if a is None else a, b)
    for key in layer.parameters:
        close(sparse[1][key], full[1][key])
    pullback(given, per_sample=True)


R = 3
DIRECTIONS = {
    "a direction a point": [X, normal(R, BATCH, WIDTH)],
    "one row a direction": [X, normal(R, 1, WIDTH)],
    "curves": [X, normal(R, 1, WIDTH), normal(R, BATCH, WIDTH), normal(R, BATCH, WIDTH)],
    "a gap": [X, normal(R, BATCH, WIDTH), None, normal(R, 1, WIDTH)],
    "a shared start, curves apart": [X, normal(BATCH, WIDTH), normal(R, BATCH, WIDTH)],
    "a shared row, then apart": [X, normal(1, WIDTH), None, normal(R, 1, WIDTH)],
    "two batch axes": [normal(2, BATCH, WIDTH), normal(R, 2, BATCH, WIDTH)],
    "as many directions as points": [X, normal(BATCH, BATCH, WIDTH)],
    "one direction": [X, normal(1, BATCH, WIDTH)],
}


def of_direction(c, r, points):
    """What direction r sees of a coefficient (or of a cotangent), the primal's number of axes being known."""
    return c if c is None or c.ndim <= points else c[r]


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_directions_share_the_primal(name, kind):
    """One push of R directions is R pushes; its pullback, whole or per sample, is the sum of theirs."""
    layer, _ = LAYERS[name]
    u = DIRECTIONS[kind]
    points = u[0].ndim
    count = max(c.shape[0] for c in u if c is not None and c.ndim > points)
    v, pullback = layer.push(u, ORDER)
    assert v[0].ndim == points
    apart = [layer.push([of_direction(c, r, points) for c in u], ORDER) for r in range(count)]
    for r, (one, _) in enumerate(apart):
        assert len(one) == len(v)
        for c, expected in zip(v, one, strict=True):
            if expected is None:
                assert c is None
            else:
                np.testing.assert_allclose(of_direction(c, r, points), expected, rtol=0, atol=1e-13)

    for lead, per_sample in (((), False), ((), True), ((2,), True)):
        batch = u[0].shape[:-1]
        full = [None if c is None else (*c.shape[: max(c.ndim - points, 0)], *batch, c.shape[-1]) for c in v]
        cotangent = [None if s is None else normal(*lead, *s) for s in full]
        u_bar, gradients = pullback(cotangent, per_sample=per_sample)
        expected_bar = [0.0] * len(u)
        expected = dict.fromkeys(gradients, 0.0)
        for r, (_, one_pullback) in enumerate(apart):
            # What all directions share is in each of their pushes: its cotangent is given to one of them.
            alone = [
                None
                if c is None
                else c[(slice(None),) * len(lead) + (r,)]
                if len(s) > points
                else c
                if r == 0
                else 0 * c
                for c, s in zip(cotangent, full, strict=True)
            ]
            one_bar, one_gradients = one_pullback(alone, per_sample=per_sample)
            for key, g in one_gradients.items():
                expected[key] = expected[key] + g
            for k, c in enumerate(one_bar):
                if u[k] is not None and u[k].ndim > points:
                    term = np.zeros((*lead, count, *np.shape(c)[len(lead) :]))
                    term[(slice(None),) * len(lead) + (r,)] = c
                elif c is None:
                    continue
                else:
                    term = c
                expected_bar[k] = expected_bar[k] + term
        for key in gradients:
            close(gradients[key], expected[key])
            if per_sample:
                assert gradients[key].shape == (*lead, *batch, *layer.parameters[key].shape)
        for k, c in enumerate(u):
            if c is not None and u_bar[k] is not None:
                close(u_bar[k], expected_bar[k])
                if not per_sample:
                    assert u_bar[k].shape == c.shape


def test_the_primal_of_many_directions_is_multiplied_once(monkeypatch):
    """One product a layer whose rows are one primal and R series, forward and back."""
    strict = pytest.importorskip("array_api_strict")
    net = nt.MLP.create([2, 6, 6, 1], xp=strict)
    rows = []
    kind = type(strict.asarray(1.0))
    multiply = kind.__matmul__
    monkeypatch.setattr(kind, "__matmul__", lambda a, b: rows.append(a.shape[0]) or multiply(a, b))
    x, directions = strict.ones((5, 2)), strict.ones((7, 1, 2))
    net.propagate([x, directions], 3)
    assert rows == [5 + 7, 5 + 3 * 7 * 5, 5 + 3 * 7 * 5]
    rows.clear()
    v, pullback = net.push([x, directions], 3)
    rows.clear()
    pullback([strict.ones_like(c) for c in v])
    # Two a layer: the parameters' (features, rows) @ (rows, features), then the input's cotangent.
    assert rows == [6, 5 + 3 * 7 * 5, 6, 5 + 3 * 7 * 5, 2, 5 + 7]


def test_one_matrix_product_a_layer(monkeypatch):
    """A dense layer multiplies all coefficients at once, whatever the order: forward once, back twice."""
    strict = pytest.importorskip("array_api_strict")
    net = nt.MLP.create([2, 6, 6, 6, 1], xp=strict)
    products = []
    kind = type(strict.asarray(1.0))
    multiply = kind.__matmul__
    monkeypatch.setattr(kind, "__matmul__", lambda a, b: products.append(a.shape) or multiply(a, b))
    x, direction = strict.ones((3, 2)), strict.asarray([1.0, 0.0])
    for order in (0, 1, 4, 9):
        products.clear()
        v, pullback = net.push([x, direction][: order + 1], order)
        assert len(products) == 4
        pullback([None if c is None else strict.ones_like(c) for c in v])
        assert len(products) == 4 + 8
        products.clear()
        nt.derivatives(net, x, order, direction)
        assert len(products) == 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"weight \(in, out\)"):
        Dense(normal(3))
    with pytest.raises(ValueError, match=r"weight \(in, out\)"):
        Dense(normal(3, 2), normal(3))
    with pytest.raises(ValueError, match="has the parameters"):
        Activate("snake")
    with pytest.raises(ValueError, match=r"did you mean .*'tanh'"):
        Activate("tahn")
    with pytest.raises(ValueError, match="at least one"):
        Periodic([None, None])
    with pytest.raises(ValueError, match="positive number"):
        Periodic([1.0, -2.0])
    with pytest.raises(ValueError, match="3 features to 4"):
        Skip([dense(3, 4)]).push([X], 0)


def test_pair_rule_partials_are_series():
    activation = nt.activations.get("snake")
    _, _, partials = activation.pair(Series([X]), np, 0, a=np.asarray(2.0))
    assert set(partials) == {"a"}
