"""The exact tables against known sequences and recurrences that use no partitions."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import pytest

from ntaylor.partitions import (
    Term,
    bell_number,
    bell_polynomial,
    derivative_polynomials,
    faa_di_bruno_terms,
    multi_indices,
    multinomial,
    partitions,
)

# OEIS A000041, A000110.
PARTITION_NUMBERS = (1, 1, 2, 3, 5, 7, 11, 15, 22, 30, 42, 56, 77, 101, 135, 176, 231, 297, 385, 490, 627)
BELL_NUMBERS = (1, 1, 2, 5, 15, 52, 203, 877, 4140, 21147, 115975, 678570, 4213597, 27644437, 190899322, 1382958545)


@cache
def pentagonal(m: int) -> int:
    """p(m) by Euler's pentagonal number theorem."""
    if m < 0:
        return 0
    if m == 0:
        return 1
    return sum(
        (-1) ** (k + 1) * (pentagonal(m - k * (3 * k - 1) // 2) + pentagonal(m - k * (3 * k + 1) // 2))
        for k in range(1, m + 1)
    )


@cache
def stirling(m: int, r: int) -> int:
    """S(m, r) of the second kind by S(m, r) = r S(m−1, r) + S(m−1, r−1)."""
    if m == 0 or r == 0:
        return int(m == r)
    return r * stirling(m - 1, r) + stirling(m - 1, r - 1)


def test_partition_counts_are_the_partition_numbers():
    assert tuple(sum(1 for _ in partitions(m)) for m in range(21)) == PARTITION_NUMBERS
    assert sum(1 for _ in partitions(32)) == pentagonal(32) == 8349


@pytest.mark.parametrize("m", [0, 1, 6, 17])
def test_every_partition_sums_to_m_and_comes_once_largest_part_first(m):
    found = list(partitions(m))
    assert len(set(found)) == len(found)
    for parts in found:
        assert sum(part * multiplicity for part, multiplicity in parts) == m
        assert all(multiplicity >= 1 for _, multiplicity in parts)
        assert [part for part, _ in parts] == sorted({part for part, _ in parts}, reverse=True)


def test_bell_numbers():
    assert tuple(map(bell_number, range(16))) == BELL_NUMBERS
    assert bell_number(35) == sum(stirling(35, r) for r in range(36))


@pytest.mark.parametrize("m", [1, 2, 7, 12, 30])
def test_bell_polynomials_at_one_are_stirling_numbers(m):
    """B_{m,r}(1, 1, …) counts the partitions of m elements into r blocks."""
    for r in range(m + 2):
        assert sum(term.coefficient for term in bell_polynomial(m, r)) == stirling(m, r)


@pytest.mark.parametrize("m", range(1, 11))
def test_bell_polynomials_at_factorials_are_lah_numbers(m):
    """B_{m,r}(1!, 2!, 3!, …) = C(m−1, r−1) m!/r!: every power in a term is used."""
    for r in range(1, m + 1):
        total = sum(
            t.coefficient * math.prod(math.factorial(j) ** p for j, p in t.powers) for t in bell_polynomial(m, r)
        )
        assert total == math.comb(m - 1, r - 1) * math.factorial(m) // math.factorial(r)


def test_the_table_of_order_32_is_exact():
    """Σ of all coefficients is Bell(32), and with u^(j) = j! and f^(r) = r! the sum is 2^31 · 32!.

    That is f∘u for f = u = 1/(1 − t) − 1 up to shifts: t/(1 − 2t) has coefficients 2^(m−1).
    """
    terms = faa_di_bruno_terms(32)
    assert sum(t.coefficient for t in terms) == bell_number(32)
    assert all(isinstance(t.coefficient, int) for t in terms)
    total = sum(
        t.coefficient * math.factorial(t.outer_order) * math.prod(math.factorial(j) ** p for j, p in t.powers)
        for t in terms
    )
    assert total == 2**31 * math.factorial(32)


def test_the_terms_of_low_order_are_those_of_the_textbook():
    assert set(faa_di_bruno_terms(0)) == {Term(1, 0, ())}
    assert set(faa_di_bruno_terms(3)) == {Term(1, 1, ((3, 1),)), Term(3, 2, ((2, 1), (1, 1))), Term(1, 3, ((1, 3),))}
    assert set(faa_di_bruno_terms(4)) == {
        Term(1, 1, ((4, 1),)),
        Term(4, 2, ((3, 1), (1, 1))),
        Term(3, 2, ((2, 2),)),
        Term(6, 3, ((2, 1), (1, 2))),
        Term(1, 4, ((1, 4),)),
    }


def test_tables_are_immutable_and_made_once():
    assert faa_di_bruno_terms(6) is faa_di_bruno_terms(6)
    assert isinstance(faa_di_bruno_terms(6), tuple)


def test_derivative_polynomials_of_tanh_sigmoid_and_exp():
    """Known: tanh′ = 1 − v², tanh″ = −2v + 2v³, tanh‴ = −2 + 8v² − 6v⁴; σ″ = σ − 3σ² + 2σ³; exp^(m) = exp."""
    assert derivative_polynomials((1, 0, -1), 3)[1:] == ((1, 0, -1), (0, -2, 0, 2), (-2, 0, 8, 0, -6))
    assert derivative_polynomials((0, 1, -1), 2)[2] == (0, 1, -3, 2)
    assert set(derivative_polynomials((0, 1), 9)) == {(0, 1)}


def test_sigmoid_polynomials_hold_stirling_numbers_to_order_30():
    """σ^(m) = Σ_r (−1)^(r−1) (r−1)! S(m+1, r) σ^r."""
    for m, polynomial in enumerate(derivative_polynomials((0, 1, -1), 30)):
        known = [0] + [(-1) ** (r - 1) * math.factorial(r - 1) * stirling(m + 1, r) for r in range(1, m + 2)]
        assert list(polynomial) == known


def test_tanh_polynomials_at_zero_are_tangent_numbers():
    """tanh^(m)(0), m odd: 1, −2, 16, −272, 7936, … = 2^(m+1) (2^(m+1) − 1) B_{m+1}/(m+1)."""
    bernoulli = [Fraction(1)]
    for m in range(1, 34):
        bernoulli.append(-sum(math.comb(m + 1, j) * bernoulli[j] for j in range(m)) / (m + 1))
    table = derivative_polynomials((1, 0, -1), 31)
    for m in range(1, 32):
        assert table[m][0] == 2 ** (m + 1) * (2 ** (m + 1) - 1) * bernoulli[m + 1] / (m + 1)


def test_a_constant_slope_ends_in_zero():
    assert derivative_polynomials((3,), 3) == ((0, 1), (3,), (0,), (0,))


@pytest.mark.parametrize(("dimension", "order"), [(0, 0), (0, 3), (1, 0), (1, 7), (2, 5), (3, 4), (5, 6), (7, 1)])
def test_multi_indices_are_all_there_once_in_order(dimension, order):
    found = list(multi_indices(dimension, order))
    expected = math.comb(order + dimension - 1, order) if dimension else int(order == 0)
    assert len(found) == len(set(found)) == expected
    assert found == sorted(found, reverse=True)
    assert all(len(alpha) == dimension and sum(alpha) == order and min(alpha, default=0) >= 0 for alpha in found)


@pytest.mark.parametrize(("dimension", "order"), [(1, 5), (3, 6), (4, 31)])
def test_multinomials_sum_to_the_power(dimension, order):
    """Σ_{|α|=n} n!/α! = d^n, and each is the product of binomials of its partial sums."""
    total = 0
    for alpha in multi_indices(dimension, order):
        value = multinomial(alpha)
        assert value == math.prod(math.comb(sum(alpha[: i + 1]), alpha[i]) for i in range(dimension))
        total += value
    assert total == dimension**order


@pytest.mark.parametrize("bad", [-1, 1.0, "3", None, True])
def test_anything_but_whole_numbers_is_refused_at_the_call(bad):
    """Generators too refuse when they are called, not when they are first read."""
    for function in (partitions, bell_number, faa_di_bruno_terms):
        with pytest.raises(ValueError, match="m must be an integer >= 0, got"):
            function(bad)
    for call, name in (
        (lambda: bell_polynomial(3, bad), "r"),
        (lambda: bell_polynomial(bad, 3), "m"),
        (lambda: derivative_polynomials((0, 1), bad), "order"),
        (lambda: multi_indices(bad, 2), "dimension"),
        (lambda: multi_indices(2, bad), "order"),
        (lambda: multinomial((1, bad)), "every entry of alpha"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be an integer >= 0, got"):
            call()
