"""Power sums against the polynomials they stand for, evaluated directly at integer points.

The oracle shares nothing with the module: both sides of Σ_r ω_r (v_r·ξ)^m = Σ_α c_α ξ^α are evaluated
in exact integers. A polynomial of degree m that is not zero vanishes at a random point of
{0, …, 2^40}^d with probability at most m/2^40 (Schwartz and Zippel), so three points are a certificate.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntaylor import linear_forms, power_sums
from ntaylor.power_sums import PowerSum, condition, family, power_sum


def axis(i):
    return ((i, 1),)


def assert_identity(found, polynomial, degree, points=3):
    """Both sides agree at random integer points, and the directions are as promised."""
    assert found.degree == degree
    assert len(found.directions) == len(found.weights) == len(set(found.directions))
    assert list(found.directions) == sorted(found.directions)
    assert all(type(weight) is Fraction and weight for weight in found.weights)
    for v in found.directions:
        indices = [i for i, _ in v]
        assert indices == sorted(set(indices))
        assert all(type(i) is int and type(entry) is int and entry for i, entry in v)
        assert not v or (v[0][1] > 0 and math.gcd(*(entry for _, entry in v)) == 1)
    rng = random.Random(7)
    used = {i for monomial in polynomial for i in monomial} | {i for v in found.directions for i, _ in v}
    size = 1 + max(used, default=0)
    for _ in range(points):
        xi = [rng.randrange(2**40) for _ in range(size)]
        left = sum(
            weight * sum(entry * xi[i] for i, entry in v) ** degree
            for v, weight in zip(found.directions, found.weights, strict=True)
        )
        assert left == sum(c * math.prod(xi[i] for i in monomial) for monomial, c in polynomial.items())


def biharmonic(dimension):
    pairs = {(i, i, j, j): 2 for i, j in combinations(range(dimension), 2)}
    return {(i,) * 4: 1 for i in range(dimension)} | pairs


def test_the_mixed_partials_of_the_textbook():
    """∂_0∂_1 = (D²_{+} − D²_{−})/4 and ∂_0²∂_1² = (D⁴_{+} + D⁴_{−} − 2D⁴_0 − 2D⁴_1)/12."""
    plus, minus = ((0, 1), (1, 1)), ((0, 1), (1, -1))
    found = power_sum({(0, 1): 1}, 2)
    assert dict(zip(found.directions, found.weights, strict=True)) == {plus: Fraction(1, 4), minus: Fraction(-1, 4)}
    found = power_sum({(0, 0, 1, 1): 1}, 4)
    assert dict(zip(found.directions, found.weights, strict=True)) == {
        plus: Fraction(1, 12),
        minus: Fraction(1, 12),
        axis(0): Fraction(-1, 6),
        axis(1): Fraction(-1, 6),
    }


@pytest.mark.parametrize("degree", range(2, 21))
def test_monomials_of_two_variables_take_a_plus_b_directions_and_nothing_cancels(degree):
    """a + b is the real rank of x^a y^b (Boij, Carlini & Geramita 2011), and the condition is at least 1."""
    for a in range(1, degree):
        polynomial = {(2,) * a + (5,) * (degree - a): 1}
        found = power_sum(polynomial, degree)
        assert_identity(found, polynomial, degree)
        assert len(found.directions) == degree
        assert 1 - 1e-9 <= condition(found) < 1.1


@pytest.mark.parametrize(
    ("exponents", "count"),
    [
        ((1, 1, 1), 4),
        ((2, 1, 1), 6),
        ((3, 1, 1), 8),
        ((2, 2, 1), 9),
        ((2, 2, 2), 13),
        ((1, 1, 1, 1), 8),
        ((1,) * 6, 32),
    ],
)
def test_monomials_of_more_variables(exponents, count):
    """With a smallest exponent of 1, ∏(a_i + 1)/2, which is the rank (Carlini, Kummer, Oneto & Ventura 2017)."""
    degree = sum(exponents)
    polynomial = {tuple(i for i, a in enumerate(exponents) for _ in range(a)): 1}
    found = power_sum(polynomial, degree)
    assert_identity(found, polynomial, degree)
    assert len(found.directions) == count
    if min(exponents) == 1:
        assert count == math.prod(a + 1 for a in exponents) // 2


@pytest.mark.parametrize(
    ("dimension", "count"), [(2, 4), (3, 7), (4, 12), (5, 21), (6, 22), (7, 36), (8, 45), (20, 231)]
)
def test_the_biharmonic_operator(dimension, count):
    """In the plane 3 directions would be a hexagon, which no integers are; d² are what polarisation takes."""
    polynomial = biharmonic(dimension)
    found = power_sum(polynomial, 4)
    assert_identity(found, polynomial, 4)
    assert len(found.directions) == count <= dimension**2
    if dimension > 6:  # of pairs of axes it would be d(d − 2)/2
        assert condition(found) <= 0.75 * dimension * (dimension - 2)


@pytest.mark.parametrize("pure", [Fraction(-3, 7), 0, 1, Fraction(5, 2)])
@pytest.mark.parametrize("mixed", [Fraction(1, 3), -2, 6])
@pytest.mark.parametrize("coordinates", [range(9), [1, 2, 3, 5, 7, 8, 11, 13]])
def test_even_quartics_in_which_all_variables_are_alike(coordinates, pure, mixed):
    polynomial = {(i,) * 4: pure for i in coordinates if pure}
    polynomial |= {(i, i, j, j): mixed for i in coordinates for j in coordinates if i < j}
    found = power_sum(polynomial, 4)
    assert_identity(found, polynomial, 4)
    assert len(found.directions) <= (len(coordinates) + 1) * (len(coordinates) + 2) // 2
    unlike = polynomial | {(coordinates[0],) * 4: Fraction(9)}
    assert_identity(power_sum(unlike, 4), unlike, 4)


def test_a_laplacian_of_100000_coordinates_takes_its_axes():
    found = power_sum({(i, i): Fraction(1, 1 + i % 3) for i in range(100_000)}, 2)
    assert found.directions == tuple(axis(i) for i in range(100_000))
    assert found.weights == tuple(Fraction(1, 1 + i % 3) for i in range(100_000))


def test_a_long_chain_of_mixed_terms_shares_its_axes():
    polynomial = {(i, i, i + 1, i + 1): Fraction(1 + i % 5, 3) for i in range(2000)}
    found = power_sum(polynomial, 4)
    assert_identity(found, polynomial, 4, points=1)
    assert len(found.directions) == 2001 + 2 * 2000


def test_monomials_share_directions():
    """x²y² and x⁴ share an axis; 2x⁴ + 12x²y² + 2y⁴ is (x+y)⁴ + (x−y)⁴; x³y + xy³ is their difference."""
    assert len(power_sum({(0, 0, 1, 1): 1, (0, 0, 0, 0): 5}, 4).directions) == 4
    assert len(power_sum({(0, 0, 1, 1): 12, (0,) * 4: 2, (1,) * 4: 2}, 4).directions) == 2
    assert len(power_sum({(0, 0, 0, 1): 1, (0, 1, 1, 1): 1}, 4).directions) == 2


def test_a_square_of_a_sum_is_one_direction():
    polynomial = {(i, j): 1 + (i != j) for i, j in combinations_with_replacement(range(4), 2)}
    assert power_sum(polynomial, 2).directions == (tuple((i, 1) for i in range(4)),)


@pytest.mark.parametrize(("dimension", "degree"), [(2, 9), (3, 4), (3, 5), (4, 4)])
def test_there_are_never_more_directions_than_monomials(dimension, degree):
    rng = random.Random(11)
    keys = combinations_with_replacement(range(dimension), degree)
    polynomial = {key: Fraction(rng.randrange(1, 99), rng.randrange(1, 9)) for key in keys}
    found = power_sum(polynomial, degree)
    assert_identity(found, polynomial, degree)
    assert len(found.directions) <= len(polynomial)


def test_a_polynomial_too_large_for_elimination_goes_onto_the_lattice(monkeypatch):
    monkeypatch.setattr(power_sums, "_ELIMINATION", 0)
    power_sums._power_sum.cache_clear()
    power_sums._part.cache_clear()
    polynomial = {key: 1 + sum(key) for key in combinations_with_replacement(range(4), 5)}
    found = power_sum(polynomial, 5)
    assert_identity(found, polynomial, 5)
    assert len(found.directions) <= math.comb(8, 5)
    power_sums._power_sum.cache_clear()
    power_sums._part.cache_clear()


exact = st.fractions(min_value=-9, max_value=9, max_denominator=12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_polynomials_are_what_they_were(data):
    """Σ_r ω_r (v_r·ξ)^m = p(ξ), for every polynomial."""
    degree = data.draw(st.integers(1, 6))
    monomials = st.lists(st.integers(0, 4), min_size=degree, max_size=degree).map(lambda key: tuple(sorted(key)))
    polynomial = data.draw(st.dictionaries(monomials, exact, max_size=5))
    assert_identity(power_sum(polynomial, degree), polynomial, degree)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(exact, st.integers(1, 4), st.integers(-4, 4)), min_size=1, max_size=6), st.integers(1, 7))
def test_binary_forms(terms, degree):
    """Forms made of powers come back as at most m + 1 powers."""
    polynomial = {}
    for weight, a, b in terms:
        for k in range(degree + 1):
            key = (0,) * (degree - k) + (1,) * k
            polynomial[key] = polynomial.get(key, 0) + weight * math.comb(degree, k) * a ** (degree - k) * b**k
    found = power_sum(polynomial, degree)
    assert_identity(found, polynomial, degree)
    assert len(found.directions) <= degree + 1


@pytest.mark.parametrize(
    ("dimension", "degree"),
    [(d, m) for d in range(1, 4) for m in range(7)] + [(4, 1), (4, 2), (4, 3), (4, 4), (4, 6), (2, 9), (2, 14), (3, 8)],
)
def test_a_family_serves_every_monomial_with_as_many_directions_as_there_are(dimension, degree):
    directions, rows = family(dimension, degree)
    assert len(directions) == len(set(directions)) == len(rows) == math.comb(dimension + degree - 1, degree)
    assert set(rows) == set(combinations_with_replacement(range(dimension), degree))
    worst = 0.0
    for monomial, weights in rows.items():
        assert len(weights) == len(directions)
        kept = [(v, weight) for v, weight in zip(directions, weights, strict=True) if weight]
        found = PowerSum(degree, tuple(v for v, _ in kept), tuple(weight for _, weight in kept))
        assert_identity(found, {monomial: 1}, degree, points=1)
        assert not any(i >= dimension for v in found.directions for i, _ in v)
        worst = max(worst, condition(found))
    assert worst < (3 if dimension == 2 else 40)


def test_a_family_beyond_elimination_is_the_lattice(monkeypatch):
    """All entries are non-negative, and none is above m."""
    monkeypatch.setattr(power_sums, "_LARGE", 0)
    power_sums._family.cache_clear()
    directions, rows = family(4, 5)
    power_sums._family.cache_clear()
    assert len(directions) == len(rows) == math.comb(8, 5)
    assert all(0 < entry <= 5 for v in directions for _, entry in v)
    for monomial in [(0, 1, 2, 3, 3), (0, 0, 1, 1, 1), (3,) * 5]:
        kept = [(v, weight) for v, weight in zip(directions, rows[monomial], strict=True) if weight]
        found = PowerSum(5, tuple(v for v, _ in kept), tuple(weight for _, weight in kept))
        assert_identity(found, {monomial: 1}, 5)


def test_a_caller_cannot_change_a_cached_family():
    family(2, 3)[1].clear()
    assert len(family(2, 3)[1]) == 4


def test_families_of_nothing():
    assert family(0, 0) == (((),), {(): (Fraction(1),)})
    assert family(3, 0) == (((),), {(): (Fraction(1),)})
    assert family(0, 2) == ((), {})


def test_degree_zero_and_the_empty_polynomial():
    """The zeroth derivative along the zero vector is the value."""
    assert power_sum({(): Fraction(2, 3)}, 0) == PowerSum(0, ((),), (Fraction(2, 3),))
    assert power_sum({}, 4) == PowerSum(4, (), ())
    assert power_sum({(0, 1): 0}, 2) == PowerSum(2, (), ())
    assert power_sum({(): 0}, 0) == PowerSum(0, (), ())


def test_condition():
    """1 for a pure power; (2 + 2)/4 for ∂_0∂_1; (2·4 + 4)/12 for ∂_0²∂_1²; 0 for nothing; independent of scale."""
    assert condition(power_sum({(3, 3, 3): 7}, 3)) == 1
    assert condition(power_sum({(0, 1): Fraction(1, 9)}, 2)) == 1
    assert condition(power_sum({(0, 0, 1, 1): 5}, 4)) == 1
    assert condition(power_sum({(): 5}, 0)) == 1
    assert condition(power_sum({}, 2)) == 0
    directions, weights = (((0, 2), (1, 1)), ((0, 2), (1, -1))), (Fraction(1), Fraction(-1))
    expected = 2 * 5**1.5 / 24  # (2x + y)³ − (2x − y)³ = 24x²y + 2y³
    assert condition(PowerSum(3, directions, weights)) == pytest.approx(expected, rel=1e-10)


def test_the_same_polynomial_is_solved_once():
    first = power_sum({(0, 1, 2): 1, (0, 0, 0): 2}, 3)
    assert power_sum({(0, 0, 0): Fraction(4, 2), (0, 1, 2): 1, (1, 1, 1): 0}, 3) is first


def test_integers_of_other_libraries_become_pythons():
    polynomial = {tuple(np.asarray([0, 1])): np.int64(3)}
    assert_identity(power_sum(polynomial, np.int64(2)), {(0, 1): 3}, 2)


@pytest.mark.parametrize("weights", [{axis(0): Fraction(1)}, {((0, 1), (1, 1)): Fraction(1)}, {}])
def test_a_wrong_identity_is_never_returned(monkeypatch, weights):
    monkeypatch.setattr(power_sums, "_weights", lambda *_: weights)
    power_sums._power_sum.cache_clear()
    with pytest.raises(ArithmeticError, match="does not expand to its polynomial"):
        power_sum({(0, 1): 1}, 2)


def test_weights_too_large_for_the_first_modulus_are_found_with_the_next():
    """Modulo 2^127 − 1 fractions to 2^63 are reconstructed; this one is refused there and found with 2^521 − 1."""
    c = Fraction(3**100, 7**90)
    polynomial = {(0, 0, 1): c, (0, 1, 1): Fraction(1)}
    assert_identity(power_sum(polynomial, 3), polynomial, 3)
    (solved,) = linear_forms.solved_on([((0, 1),), ((0, 1), (1, 1)), ((1, 1),)], [(((0, 1), c),)], 2)
    assert solved[((0, 1), (1, 1))] == c / 2


def test_where_no_modulus_is_large_enough_polarisation_stands(monkeypatch):
    monkeypatch.setattr(linear_forms, "_MERSENNE", (5, 7))
    power_sums._power_sum.cache_clear()
    power_sums._part.cache_clear()
    for c in (Fraction(1), Fraction(1, 31), Fraction(5, 127)):
        polynomial = {(0, 0, 0, 0, 0, 1, 1): 1, (0, 0, 1, 1, 1, 1, 1): c}
        assert_identity(power_sum(polynomial, 7), polynomial, 7)
    power_sums._power_sum.cache_clear()
    power_sums._part.cache_clear()


@pytest.mark.parametrize(
    ("polynomial", "degree", "error", "says"),
    [
        ({(1, 0): 1}, 2, ValueError, r"\(1, 0\) must be sorted: \(0, 1\)"),
        ({(0, -1): 1}, 2, ValueError, r"indices of \(0, -1\) must be integers >= 0, got -1"),
        ({(0, 1.0): 1}, 2, ValueError, r"must be integers >= 0, got 1\.0"),
        ({(0, True): 1}, 2, ValueError, "must be integers >= 0, got True"),
        ({(0, 1): 1}, 3, ValueError, r"\(0, 1\) is of degree 2, expected 3: give an index once for every power"),
        ({3: 1}, 1, ValueError, "must be a tuple of coordinate indices such as .*, got 3"),
        (
            {(0, 1): 0.5},
            2,
            TypeError,
            r"coefficient of \(0, 1\) must be an int or a fractions.Fraction, got 0\.5.*pass",
        ),
        ({(0, 1): True}, 2, TypeError, "got True"),
        ({(0, 1): "1"}, 2, TypeError, "got '1'"),
        ({(0, 1): 1}, -1, ValueError, "degree must be an integer >= 0, got -1"),
        ({(0, 1): 1}, 2.0, ValueError, r"degree must be an integer >= 0, got 2\.0"),
    ],
)
def test_what_is_wrong_is_said(polynomial, degree, error, says):
    with pytest.raises(error, match=says):
        power_sum(polynomial, degree)


@pytest.mark.parametrize("bad", [-1, 1.0, "3", None, True])
def test_families_are_of_whole_sizes(bad):
    with pytest.raises(ValueError, match="dimension must be an integer >= 0, got"):
        family(bad, 2)
    with pytest.raises(ValueError, match="degree must be an integer >= 0, got"):
        family(2, bad)
