"""Faà di Bruno's sums against the recurrences, formulas typed by hand, and the network's own derivatives."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntaylor as nt
from ntaylor import activations
from ntaylor.faa_di_bruno import compose, ntangentprop, tower
from ntaylor.partitions import bell_number
from ntaylor.series import Series

fractions = st.fractions(-3, 3, max_denominator=7)


def jets(order: int):
    return st.lists(fractions, min_size=order + 1, max_size=order + 1)


@given(jets(4), jets(4))
def test_orders_2_to_4_are_the_formulas_typed_by_hand(f, u):
    """(f∘u)″ = f″u′² + f′u″, and so on, with every coefficient in its place."""
    found = compose(f, u)
    _, f1, f2, f3, f4 = f
    _, u1, u2, u3, u4 = u
    assert found[0] == f[0]
    assert found[1] == f1 * u1
    assert found[2] == f2 * u1**2 + f1 * u2
    assert found[3] == f3 * u1**3 + 3 * f2 * u1 * u2 + f1 * u3
    assert found[4] == f4 * u1**4 + 6 * f3 * u1**2 * u2 + f2 * (3 * u2**2 + 4 * u1 * u3) + f1 * u4


def polynomial_derivatives(coefficients: list[Fraction], x: Fraction, order: int) -> list[Fraction]:
    """p^(m)(x), m = 0..order, by differentiating the coefficients."""
    found = []
    for _ in range(order + 1):
        found.append(sum((c * x**k for k, c in enumerate(coefficients)), Fraction(0)))
        coefficients = [k * c for k, c in enumerate(coefficients)][1:]
    return found


@given(st.lists(fractions, min_size=1, max_size=5), st.lists(fractions, min_size=1, max_size=4), fractions)
def test_composed_polynomials_have_the_derivatives_of_the_product_exactly(p, q, x):
    """Faà di Bruno of p and q to order 12 equals differentiating p(q(x)) multiplied out, in fractions."""
    multiplied = [Fraction(0)]
    for c in reversed(p):
        product = [Fraction(0)] * (len(multiplied) + len(q) - 1)
        for i, a in enumerate(multiplied):
            for j, b in enumerate(q):
                product[i + j] += a * b
        multiplied = product
        multiplied[0] += c
    inner = polynomial_derivatives(q, x, 12)
    outer = polynomial_derivatives(p, inner[0], 12)
    assert compose(outer, inner) == polynomial_derivatives(multiplied, x, 12)


@given(jets(8), jets(8), jets(8))
def test_composition_is_associative(f, g, h):
    """(f∘g)∘h = f∘(g∘h), exactly."""
    assert compose(compose(f, g), h) == compose(f, compose(g, h))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp", "sin", "tan"])
def test_the_tower_composed_equals_the_recurrence(name):
    """To order 12, on lines and on curves: two algorithms that share nothing agree."""
    rng = np.random.default_rng(5)
    order = 12
    primal = rng.uniform(-1.3, 1.3, 7)
    kind = activations.get(name)
    for degree in (1, 3, order):
        u = [primal, *(rng.standard_normal(7) / 2**k for k in range(degree))]
        v, _, _ = kind.pair(Series(u), np, order)
        inner = [u[k] * math.factorial(k) if k <= degree else primal * 0 for k in range(order + 1)]
        found = compose(kind.towers(primal, order, np), inner)
        for k in range(order + 1):
            recurrence = v[k] * math.factorial(k)
            assert np.linalg.norm(found[k] - recurrence) <= 1e-12 * np.linalg.norm(recurrence)


def test_towers_in_fractions_are_exact():
    """tanh at v = 1/2: 3/4, −3/4, −3/8, … and the same from the logistic function, σ = 3/4, by tanh u = 2σ(2u) − 1."""
    value = Fraction(1, 2)
    found = tower(value, (1, 0, -1), 15)
    assert found[:4] == [value, Fraction(3, 4), Fraction(-3, 4), Fraction(-3, 8)]
    other = tower(Fraction(3, 4), (0, 1, -1), 15)
    assert found[1:16] == [2 ** (m + 1) * other[m] for m in range(1, 16)]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "sin"])
@pytest.mark.parametrize("width_in", [1, 3])
def test_ntangentprop_of_a_network_equals_its_derivatives(activation, width_in):
    """The published algorithm and nt.derivatives agree to 1e-12, norm-wise at every order to 10."""
    order = 10
    net = nt.MLP.create([width_in, 12, 9, 2], activation=activation, seed=3)
    p = net.parameters
    weights = [p[name] for name in p if name.endswith("weight")]
    biases = [np.linspace(-0.3, 0.4, w.shape[1]) for w in weights]
    names = [name for name in p if name.endswith("bias")]
    net = net.replace({**p, **dict(zip(names, biases, strict=True))})
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (6, width_in))
    direction = rng.standard_normal(width_in)
    kind = activations.get(activation)
    found = ntangentprop(zip(weights, biases, strict=True), lambda u, n: kind.towers(u, n, np), x, direction, order)
    ours = nt.derivatives(net, x, order, direction=direction)
    for k in range(order + 1):
        assert np.linalg.norm(found[k] - ours[k]) <= 1e-12 * np.linalg.norm(ours[k])


@pytest.mark.parametrize("order", [0, 1])
def test_ntangentprop_at_low_order_without_biases(order):
    """tanh(x W) V, its value and slope by hand."""
    w, v = np.asarray([[0.3, -0.7]]), np.asarray([[1.1], [0.4]])
    x = np.asarray([[0.2], [-1.0]])
    found = ntangentprop(
        [(w, None), (v, None)], lambda u, n: activations.get("tanh").towers(u, n, np), x, np.ones(1), order
    )
    by_hand = [np.tanh(x @ w) @ v, (w / np.cosh(x @ w) ** 2) @ v]
    assert len(found) == order + 1
    for ours, exact in zip(found, by_hand, strict=False):
        np.testing.assert_allclose(ours, exact, rtol=1e-14)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="outer has 3 derivatives and inner 2; pass equally many"):
        compose([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="at least"):
        compose([], [])


def test_order_30_is_exact_in_fractions():
    """exp(e^t − 1) has the Bell numbers as its derivatives at 0, which come from another recurrence."""
    order = 30
    ones = [Fraction(1)] * (order + 1)
    assert compose(ones, [Fraction(0), *ones[1:]]) == [bell_number(m) for m in range(order + 1)]


def test_towers_are_exact_in_fractions():
    """tanh^(m)(0) = 2^{m+1} (2^{m+1} − 1) B_{m+1}/(m+1), with mpmath's exact Bernoulli numbers."""
    found = tower(Fraction(0), (1, 0, -1), 31)
    for m in range(1, 32):
        bernoulli = Fraction(*map(int, mpmath.bernfrac(m + 1)))
        assert found[m] == 2 ** (m + 1) * (2 ** (m + 1) - 1) * bernoulli / (m + 1)
