"""Diagnostics of singular values, on spectra whose figures are known in closed form."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntaylor as nt
from ntaylor import spectra


def shannon(values):
    """Nats, by mpmath, of what is given."""
    total = mpmath.fsum(map(mpmath.mpf, values))
    return float(-mpmath.fsum(mpmath.mpf(v) / total * mpmath.log(mpmath.mpf(v) / total) for v in values))


def test_equal_values_have_the_entropy_of_their_number(xp):
    s = xp.array([3.0] * 8 + [1e-9])
    assert float(spectra.effective_number(s, 1e-6)) == 8
    assert float(spectra.entropy(s, 1e-6)) == pytest.approx(math.log(8), rel=1e-14)
    assert float(spectra.truncated_entropy(s, 1e-6, normalised=True)) == pytest.approx(1.0, rel=1e-14)
    assert float(spectra.smallest_kept(s, 1e-6)) == 3.0
    assert float(spectra.effective_rank(s)) == pytest.approx(8.0, rel=1e-6)


def test_a_geometric_spectrum_has_the_entropy_of_a_geometric_distribution(xp):
    # p_k = (1 − q) q^k, whose entropy is −log(1 − q) − q log(q)/(1 − q): 60 of 2^-k differ from it by less than 1e-15.
    s = xp.array(0.5 ** np.arange(60))
    assert float(spectra.entropy(s)) == pytest.approx(2 * math.log(2), rel=1e-13)
    assert float(spectra.effective_rank(s)) == pytest.approx(4.0, rel=1e-13)


def test_the_cut_off_keeps_what_is_larger_and_may_be_relative(xp):
    values = [8.0, 4.0, 2.0, 1.0]
    s = xp.array(values)
    assert float(spectra.effective_number(s, 2.0)) == 2  # not what equals it
    assert float(spectra.effective_number(s, 0.25, relative=True)) == 2
    assert float(spectra.entropy(s, 1.5)) == pytest.approx(shannon(values[:3]), rel=1e-14)
    found = spectra.truncated_entropy(s, 0.2, relative=True, normalised=True)
    assert float(found) == pytest.approx(shannon(values[:3]) / math.log(3), rel=1e-14)
    assert float(spectra.truncated_entropy(s, 1.5)) == float(spectra.entropy(s, 1.5))


def test_order_and_spectra_side_by_side_do_not_matter(xp):
    rows = np.asarray([[1.0, 4.0, 2.0], [5.0, 5.0, 1e-3]])
    together = xp.numpy(spectra.entropy(xp.array(rows), 1e-2, relative=True))
    np.testing.assert_allclose(together, [shannon([4, 2, 1]), math.log(2)], rtol=1e-14)
    least = xp.numpy(spectra.smallest_kept(xp.array(rows), 1e-2, relative=True))
    np.testing.assert_array_equal(least, [1.0, 5.0])


@given(
    st.lists(st.floats(1e-8, 1e8), min_size=2, max_size=12),
    st.floats(1e-3, 1e3),
)
def test_entropy_lies_between_0_and_log_n_and_does_not_see_the_scale(values, factor):
    s = np.asarray(values)
    h = float(spectra.entropy(s))
    assert -1e-12 <= h <= math.log(len(values)) + 1e-12
    assert float(spectra.entropy(factor * s)) == pytest.approx(h, abs=1e-9)
    assert h == pytest.approx(shannon(values), abs=1e-9)


def test_no_sum_overflows_and_none_underflows():
    for size in (1e308, 5e-324):
        assert float(spectra.entropy(np.asarray([size, size]))) == pytest.approx(math.log(2), rel=1e-15)


def test_a_value_that_is_nothing_beside_the_largest_adds_nothing():
    s = np.asarray([2.0, 1.0, 1e-320])
    assert float(spectra.entropy(s)) == float(spectra.entropy(s[:2]))
    assert float(spectra.entropy(np.asarray([1.0, 5e-324]) * np.asarray([4.0, 1.0]))) == 0.0


def test_a_cut_off_may_be_a_number_of_numpy():
    s = np.asarray([1.0, 0.1], dtype=np.float32)
    for cutoff in (np.float32(0.5), np.float64(0.5), np.int64(0)):
        found = spectra.effective_number(s, cutoff, relative=True)
        assert (float(found), found.dtype) == (1 + (cutoff == 0), np.float32)


def test_nothing_kept_is_no_entropy_and_no_number():
    for s in (np.zeros(3), np.asarray([1e-9, 0.0])):
        assert float(spectra.effective_number(s, 1e-6)) == 0
        assert float(spectra.entropy(s, 1e-6)) == 0
        assert float(spectra.truncated_entropy(s, 1e-6, normalised=True)) == 0
        assert float(spectra.smallest_kept(s, 1e-6)) == 0
    assert float(spectra.truncated_entropy(np.asarray([2.0]), 0.0, normalised=True)) == 0
    assert float(spectra.effective_rank(np.asarray([2.0, 0.0]))) == 1


def test_a_matrix_with_known_singular_values():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((7, 4)))
    p, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    values = np.asarray([4.0, 2.0, 1.0, 1e-7])
    found = spectra.spectrum(q * values @ p, 1e-6)
    np.testing.assert_allclose(found.values, values, rtol=1e-8, atol=1e-15)
    assert found.number == 3
    assert found.smallest_kept == pytest.approx(1.0)
    assert found.entropy == pytest.approx(shannon([4, 2, 1]))
    assert found.normalised_entropy == pytest.approx(shannon([4, 2, 1]) / math.log(3))
    assert found.effective_rank == pytest.approx(math.exp(shannon(values)))


def test_the_gradient_of_the_entropy_is_that_of_its_formula():
    """∂H/∂σ_k = −(log p_k + H)/Σσ, and nothing of a value that is left out."""
    torch = pytest.importorskip("torch")
    s = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    h = spectra.entropy(s, 1e-6)
    h.backward()
    p = np.asarray([4, 2, 1]) / 7
    expected = [*(-(np.log(p) + float(h.detach())) / 7), 0.0]
    np.testing.assert_allclose(s.grad.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: spectra.entropy([1.0]), TypeError, "numpy.asarray"),
        (lambda: spectra.entropy(np.asarray(1.0)), ValueError, r"\(…, K\)"),
        (lambda: spectra.entropy(np.asarray([1.0, -1.0])), ValueError, "numbers >= 0"),
        (lambda: spectra.entropy(np.asarray([1.0, np.nan])), ValueError, "undefined"),
        (lambda: spectra.entropy(np.asarray([1.0, np.inf])), ValueError, "infinite"),
        (lambda: spectra.effective_number(np.asarray([1.0]), "1e-3"), ValueError, "cut-off"),
        (lambda: spectra.entropy(np.asarray([1, 2])), TypeError, "floating"),
        (lambda: spectra.entropy(np.asarray([1.0 + 0j])), TypeError, "real"),
        (lambda: spectra.effective_number(np.asarray([1.0]), -1.0), ValueError, "cut-off"),
        (lambda: spectra.effective_number(np.asarray([1.0]), math.nan), ValueError, "cut-off"),
        (lambda: spectra.singular_values(np.asarray([1.0])), ValueError, "matrix"),
        (lambda: spectra.singular_values(np.asarray([[np.inf]])), ValueError, "not finite"),
    ],
)
def test_bad_input_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_example_runs():
    import doctest

    assert doctest.testmod(nt.spectra).failed == 0
