"""Every layer against a plain formula pushed by jets, and its adjoint against complex steps of that formula."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest
from oracles import complex_step

import ntaylor as nt
from ntaylor.blocks import Block
from ntaylor.composites import Chain, Gated, Odd, Skip, Sum
from ntaylor.layers import Activate, Dense, FourierFeatures, Periodic, Scale
from ntaylor.series import Series
from ntaylor_backends import numpy as of_numpy

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


@pytest.fixture
def products(monkeypatch):
    """Shapes of the left operands of NumPy's matrix products, without recordings, which call NumPy otherwise."""
    seen = []
    multiply = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b: seen.append(a.shape) or multiply(a, b))
    monkeypatch.setattr(type(of_numpy.adapter), "push_network", None)
    return seen


def test_the_primal_of_many_directions_is_multiplied_once(products):
    """The rows of a layer are those of one primal and R series, forward and back."""
    net = nt.MLP.create([2, 6, 6, 1])
    x, directions = np.ones((5, 2)), np.ones((7, 1, 2))
    net.propagate([x, directions], 3)
    assert [shape[0] for shape in products] == [5, 7, *[5, *[7 * 5] * 3] * 2]
    v, pullback = net.push([x, directions], 3)
    products.clear()
    pullback([np.ones_like(c) for c in v])
    # Two a coefficient: for the parameters (features, rows) @ (rows, features), then the input's cotangent.
    rows = [5, *[7 * 5] * 3]
    last, middle = [(6, r) for r in rows] + [(r, 1) for r in rows], [(6, r) for r in rows] + [(r, 6) for r in rows]
    assert products == [*last, *middle, (2, 5), (2, 7), (5, 6), (7, 6)]


def test_coefficients_in_a_block_are_multiplied_at_once(products):
    """A dense layer is one product for a block of any order, forward once, back twice; the bias is the primal's."""
    dense = Dense(np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.asarray([10.0, 20.0]))
    for order in (0, 1, 9):
        products.clear()
        u = RNG.standard_normal((order + 1, 4, 3))
        v, pullback = dense.push(Block(u), order)
        assert products == [((order + 1) * 4, 3)]
        expected, pullback_of_list = dense.push(list(u), order)
        assert isinstance(v, Block)
        close(v.array, np.stack(expected))
        products.clear()
        u_bar, gradients = pullback(Block(v.array))
        assert products == [(3, (order + 1) * 4), ((order + 1) * 4, 2)]
        expected_bar, expected_gradients = pullback_of_list(expected)
        close(u_bar.array, np.stack(expected_bar))
        for name, gradient in gradients.items():
            close(gradient, expected_gradients[name])


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


# --- what is shared by all points, through every activation -----------------------------------------


EXTRA = {
    **{f"power({p})": lambda p=p: nt.activations.power(p) for p in range(4)},
    "identity": lambda: nt.activations.Activation("identity", lambda u, xp: (u, u * 0 + 1)),
    "identity, slope a number": lambda: nt.activations.Activation("identity", lambda u, xp: (u, 1)),
    "u²": lambda: nt.activations.Activation("u²", lambda u, xp: (u * u, 2 * u)),
    "u + u²": lambda: nt.activations.Activation("u + u²", lambda u, xp: (u + u * u, 1 + 2 * u)),
    "a u²": lambda: nt.activations.Activation(
        "a u²", lambda u, xp, a: (u * u * a, 2 * u * a, {"a": u * u}), parameters={"a": 1.3}
    ),
    "a u": lambda: nt.activations.Activation(
        "a u", lambda u, xp, a: (u * a, u * 0 + a, {"a": u}), parameters={"a": 1.3}
    ),
}
BUILT_IN = sorted(nt.activations.names)


def structures(activation):
    """Networks (batch, 2) -> (batch, 1) around an activation whose arguments stay in its domain."""
    rng = np.random.default_rng(11)
    centre = {"acosh": 1.7, "reciprocal": 1.2, "asin": 0.2, "acos": 0.2, "atanh": 0.2}.get(activation.name, 0.6)

    def linear(n_in, n_out):
        return Dense(0.1 * rng.standard_normal((n_in, n_out)), centre + 0.05 * rng.standard_normal(n_out))

    def hidden(n_in, n_out=3):
        return [linear(n_in, n_out), Activate(activation, {n: np.asarray(v) for n, v in activation.parameters.items()})]

    yield "one hidden layer", Chain([*hidden(2), linear(3, 1)])
    yield "two hidden layers", Chain([*hidden(2), *hidden(3), linear(3, 1)])
    yield "no output layer", Chain([*hidden(2), *hidden(3)])
    encoders = [Chain(hidden(2)) for _ in range(2)]
    yield "gated", Chain([Gated(*encoders, [Chain(hidden(2)), Chain(hidden(3))]), linear(3, 1)])
    yield "gated, linear", Chain([Gated(*encoders, [linear(2, 3), Chain(hidden(3))]), linear(3, 1)])
    yield "skip", Chain([*hidden(2), Skip(hidden(3)), linear(3, 1)])
    yield "odd", Odd([*hidden(2), *hidden(3), linear(3, 1)])
    yield "periodic", Chain([Periodic([2.0, None]), *hidden(3), linear(3, 1)])
    yield "fourier", Chain([FourierFeatures(0.3 * rng.standard_normal((2, 2))), *hidden(4), linear(3, 1)])
    yield "sum", Chain([Sum([Chain([*hidden(2), *hidden(3)]), linear(2, 3)]), *hidden(3), linear(3, 1)])


def padded(cotangent, v):
    """Cotangents of what is there; a zero coefficient takes none."""
    return [c if k < len(v) and v[k] is not None else None for k, c in enumerate(cotangent)][: len(v)]


def almost(got, expected, tolerance, where):
    assert np.shape(got) == np.shape(expected), where
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=str(where))


@pytest.mark.parametrize("name", [*BUILT_IN, *EXTRA])
def test_a_shared_direction_has_the_gradient_of_one_a_point(name):
    """Whatever coefficients do not depend on the point: polynomials, relu, constants, in every structure."""
    activation = EXTRA[name]() if name in EXTRA else nt.activations.get(name)
    rng = np.random.default_rng(5)
    x, points = 0.5 * rng.standard_normal((4, 2)), 4
    shared = rng.standard_normal((3, 1, 2))
    for structure, net in structures(activation):
        for order in (1, 2, 3):
            where = (name, structure, order)
            apart = [net.push([x, np.repeat(d, points, axis=0)], order) for d in shared]
            width = apart[0][0][0].shape[-1]
            cotangent = rng.standard_normal((3, order + 1, points, width))
            for d, (v, pullback), given in zip(shared, apart, cotangent, strict=True):
                u_bar, expected = pullback(padded(given, v))
                _, expected_each = pullback(padded(given, v), per_sample=True)
                for direction in (d, d[0]):
                    w, shared_pullback = net.push([x, direction], order)
                    assert len(w) == len(v)
                    got_bar, got = shared_pullback(padded(given, w))
                    each_bar, got_each = shared_pullback(padded(given, w), per_sample=True)
                    for key in expected:
                        almost(got[key], expected[key], 1e-12, where)
                        almost(got_each[key], expected_each[key], 1e-12, where)
                        almost(np.sum(got_each[key], axis=0), expected[key], 1e-12, where)
                    for k in (0, 1):
                        bar = np.zeros((points, 2)) if u_bar[k] is None else u_bar[k]
                        sums = bar if k == 0 else np.reshape(np.sum(bar, axis=0), direction.shape)
                        almost(np.zeros_like(sums) if got_bar[k] is None else got_bar[k], sums, 1e-12, where)
                    if each_bar[0] is not None:
                        almost(each_bar[0], u_bar[0], 1e-12, where)

            # All directions at once: v̄_0 is given to the first of the separate ones alone.
            w, together = net.push([x, shared], order)
            cotangent[1:, 0] = 0
            expected = dict.fromkeys(net.parameters, 0.0)
            for (v, pullback), given in zip(apart, cotangent, strict=True):
                for key, g in pullback(padded(given, v))[1].items():
                    expected[key] = expected[key] + g
            given = padded([cotangent[0, 0], *(cotangent[:, k] for k in range(1, order + 1))], w)
            got, got_each = together(given)[1], together(given, per_sample=True)[1]
            for key in expected:
                almost(got[key], expected[key], 1e-12, (*where, key, "directions"))
                almost(np.sum(got_each[key], axis=0), expected[key], 1e-12, (*where, key, "directions, per sample"))

        # And by fourth-order central differences along one direction in parameter space.
        move = {key: rng.standard_normal(p.shape) for key, p in net.parameters.items()}

        def moved(h, net=net, move=move, cotangent=cotangent):
            v, _ = net.replace({key: p + h * move[key] for key, p in net.parameters.items()}).push([x, shared[0]], 3)
            return sum(np.sum(c * z) for c, z in zip(v, cotangent[0], strict=False) if c is not None)

        h = 4e-4
        slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        v, pullback = net.push([x, shared[0]], 3)
        gradient = pullback(padded(cotangent[0], v))[1]
        almost(sum(np.sum(gradient[key] * move[key]) for key in move), slope, 1e-6, (name, structure))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_value_and_grad_along_the_default_direction(p):
    """The public way, one shared row, against central differences."""
    net = nt.MLP.create([1, 3, 3, 1], nt.activations.power(p), seed=0)
    x = np.asarray([0.3, 0.8, 2.0])
    for order in (1, 2, 3):

        def loss(parameters, order=order):
            return np.sum(nt.derivatives(net.replace(parameters), x, order) ** 2)

        gradient = nt.value_and_grad(loss)(net.parameters)[1]
        for key, g in gradient.items():
            for index in np.ndindex(g.shape):

                def moved(h, key=key, index=index, loss=loss):
                    array = net.parameters[key].copy()
                    array[index] += h
                    return loss({**net.parameters, key: array})

                h = 1e-3
                slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
                assert abs(g[index] - slope) <= 1e-6 * (1 + abs(slope))
