"""Fornberg's weights, the error model, and differences as an engine behind operators."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntaylor as nt
from ntaylor import finite_differences as fd

# --- weights ------------------------------------------------------------------------------------------

F = Fraction

# B. Fornberg, Math. Comp. 51 (1988), tables 1 and 3, as printed there: central, and one-sided at a grid point.
CENTRAL = {
    (1, 2): [F(-1, 2), F(1, 2)],
    (1, 4): [F(1, 12), F(-2, 3), F(2, 3), F(-1, 12)],
    (1, 6): [F(-1, 60), F(3, 20), F(-3, 4), F(3, 4), F(-3, 20), F(1, 60)],
    (1, 8): [F(1, 280), F(-4, 105), F(1, 5), F(-4, 5), F(4, 5), F(-1, 5), F(4, 105), F(-1, 280)],
    (2, 2): [1, -2, 1],
    (2, 4): [F(-1, 12), F(4, 3), F(-5, 2), F(4, 3), F(-1, 12)],
    (2, 6): [F(1, 90), F(-3, 20), F(3, 2), F(-49, 18), F(3, 2), F(-3, 20), F(1, 90)],
    (2, 8): [F(-1, 560), F(8, 315), F(-1, 5), F(8, 5), F(-205, 72), F(8, 5), F(-1, 5), F(8, 315), F(-1, 560)],
    (3, 2): [F(-1, 2), 1, -1, F(1, 2)],
    (3, 4): [F(1, 8), -1, F(13, 8), F(-13, 8), 1, F(-1, 8)],
    (3, 6): [F(-7, 240), F(3, 10), F(-169, 120), F(61, 30), F(-61, 30), F(169, 120), F(-3, 10), F(7, 240)],
    (4, 2): [1, -4, 6, -4, 1],
    (4, 4): [F(-1, 6), 2, F(-13, 2), F(28, 3), F(-13, 2), 2, F(-1, 6)],
    (4, 6): [
        F(7, 240),
        F(-2, 5),
        F(169, 60),
        F(-122, 15),
        F(91, 8),
        F(-122, 15),
        F(169, 60),
        F(-2, 5),
        F(7, 240),
    ],
}
ONE_SIDED = {
    (1, 1): [-1, 1],
    (1, 2): [F(-3, 2), 2, F(-1, 2)],
    (1, 3): [F(-11, 6), 3, F(-3, 2), F(1, 3)],
    (1, 4): [F(-25, 12), 4, -3, F(4, 3), F(-1, 4)],
    (2, 1): [1, -2, 1],
    (2, 2): [2, -5, 4, -1],
    (2, 3): [F(35, 12), F(-26, 3), F(19, 2), F(-14, 3), F(11, 12)],
    (2, 4): [F(15, 4), F(-77, 6), F(107, 6), -13, F(61, 12), F(-5, 6)],
    (3, 1): [-1, 3, -3, 1],
    (3, 2): [F(-5, 2), 9, -12, 7, F(-3, 2)],
    (4, 1): [1, -4, 6, -4, 1],
    (4, 2): [3, -14, 26, -24, 11, -2],
}


@pytest.mark.parametrize("case", CENTRAL, ids=str)
def test_central_weights_are_the_published_ones(case):
    assert list(fd.central(*case).weights) == CENTRAL[case]


@pytest.mark.parametrize("case", ONE_SIDED, ids=str)
def test_one_sided_weights_are_the_published_ones(case):
    n = case[0]
    forward, backward = fd.one_sided(*case), fd.one_sided(*case, side="backward")
    assert list(forward.weights) == ONE_SIDED[case]
    assert list(backward.weights) == [(-1) ** n * w for w in ONE_SIDED[case]]
    assert [-s for s in backward.nodes] == list(forward.nodes) == list(range(len(forward.nodes)))


fractions = st.fractions(-8, 8, max_denominator=30)


@given(st.data())
def test_exact_on_arbitrary_nodes(data):
    """Σ w q(node) is q^(n)(at) for any polynomial of degree < the number of nodes, with no rounding at all."""
    nodes = data.draw(st.lists(fractions, min_size=1, max_size=8, unique=True))
    n = data.draw(st.integers(0, len(nodes) - 1))
    at = data.draw(fractions)
    q = data.draw(st.lists(fractions, min_size=len(nodes), max_size=len(nodes)))
    found = fd.weights(n, nodes, at)
    wanted = sum(c * math.perm(k, n) * at ** (k - n) for k, c in enumerate(q) if k >= n)
    assert sum(w * sum(c * s**k for k, c in enumerate(q)) for s, w in zip(nodes, found, strict=True)) == wanted


@given(st.integers(1, 10), st.integers(1, 5), st.sampled_from(fd.SIDES))
def test_exact_to_the_degree_claimed_and_no_further(n, half, side):
    """Degree n + p − 1 is exact; of degree n + p the error is C (n + p)! h^p."""
    stencil = fd.central(n, 2 * half) if side == "central" else fd.one_sided(n, half, side)
    p = stencil.accuracy

    def applied(degree):
        return sum(w * s**degree for s, w in zip(stencil.nodes, stencil.weights, strict=True))

    assert [applied(k) for k in range(n + p)] == [math.factorial(n) * (k == n) for k in range(n + p)]
    assert applied(n + p) == stencil.constant * math.factorial(n + p) != 0


def test_floats_are_taken_exactly():
    assert fd.weights(1, [0.1, -0.1]) == (1 / (2 * F(0.1)), -1 / (2 * F(0.1)))
    assert fd.weights(1, np.asarray([-1.0, 0.0, 2.0])) == fd.weights(1, [-1, 0, 2])


def test_on_nodes_finds_its_accuracy():
    assert fd.on_nodes(2, [-1, 0, 1]) == fd.central(2, 2)
    assert fd.on_nodes(2, [9, 10, 11], at=10).constant == fd.central(2, 2).constant == F(1, 12)
    assert fd.on_nodes(2, [-1, 0, 2]).accuracy == 1
    assert fd.on_nodes(0, [0]).constant == fd.central(0, 4).constant == 0
    assert fd.on_nodes(0, [0, 1]).weights == (1, 0)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: fd.weights(2, [0, 1]), ValueError, "takes at least 3 nodes; got 2"),
        (lambda: fd.weights(1, [0, 1, 1.0]), ValueError, "are to differ"),
        (lambda: fd.weights(1, [0, math.inf]), ValueError, "finite"),
        (lambda: fd.weights(1, [0, "a"]), TypeError, "a node must be a real number"),
        (lambda: fd.weights(1, 3), TypeError, "nodes is a sequence"),
        (lambda: fd.weights(-1, [0]), ValueError, "derivative must be an integer >= 0; got -1"),
        (lambda: fd.weights(1.0, [0, 1]), TypeError, "derivative must be an integer"),
        (lambda: fd.central(2, 3), ValueError, "pass 4, or a one-sided stencil"),
        (lambda: fd.central(2, 0), ValueError, "accuracy must be an integer >= 1"),
        (lambda: fd.one_sided(2, 1, "left"), ValueError, "side must be one of forward, backward; got 'left'"),
        (lambda: fd.step_for(2, side="left"), ValueError, "central, forward, backward"),
        (lambda: fd.step_for(2, dtype="int64"), TypeError, "floating"),
        (lambda: fd.error_model(2, 2, 0.0), ValueError, "step must be positive"),
        (lambda: fd.error_model(2, 2, 0.1, scale=-1), ValueError, "scale must be positive"),
    ],
)
def test_what_cannot_be_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_module_is_public():
    assert nt.finite_differences is fd
