"""What a spectrum says about a matrix: how many singular values count, and how evenly they are spread.

    >>> import numpy as np, ntaylor as nt
    >>> s = np.asarray([4.0, 2.0, 1.0, 1.0, 1e-9])
    >>> int(nt.spectra.effective_number(s, 1e-6))
    4
    >>> float(round(nt.spectra.entropy(s, 1e-6) / np.log(2), 6))      # p = 1/2, 1/4, 1/8, 1/8: 7/4 bits
    1.75
    >>> round(float(nt.spectra.effective_rank(s[:4])), 6)               # 2^(7/4)
    3.363586

Floor 8: singular values in, numbers out, on any library's arrays; nothing of where a matrix comes from.

**Which definition of the truncated entropy this is.** Chen, Yang, Xiang and Hao, "Automatic differentiation is
essential in training neural networks for solving differential equations" (arXiv 2405.14099), compare training matrices
by a *truncated entropy* above a cut-off a. Its abstract was at hand, its body was not, so the formula here is stated,
not quoted: Shannon's entropy, in nats, of the kept singular values divided by their sum,

    N_a = #{k : σ_k > a},   p_k = σ_k / Σ_{j ≤ N_a} σ_j,   H(a) = −Σ_{k ≤ N_a} p_k log p_k.

H(a) lies in [0, log N_a], and its greatest value grows with N_a; so beside it stands H(a)/log N_a, in [0, 1], which is
1 where all kept values are equal. The two can disagree: small values that come in above the cut-off hardly change H and
make log N_a larger. Where they do, say which was used. The published relative with neither cut-off nor normalisation is
the effective rank exp H(0) of Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO
2007.

A cut-off is absolute unless ``relative=True``, which takes it times the largest singular value of each spectrum.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from ntaylor.namespace import any_true, array_namespace, as_floating, describe

__all__ = [
    "Spectrum",
    "effective_number",
    "effective_rank",
    "entropy",
    "singular_values",
    "smallest_kept",
    "spectrum",
    "truncated_entropy",
]

Array = Any


def singular_values(matrix: Array) -> Array:
    """σ_1 ≥ σ_2 ≥ … of a matrix (…, rows, columns), by the singular value decomposition of its library.

    Their absolute error is about eps·σ_1, whatever their own size. Raises ValueError for what is no matrix, holds no
    number or something that is not finite, TypeError for a library without linear algebra.
    """
    matrix = as_floating(matrix, "matrix")
    if matrix.ndim < 2 or 0 in tuple(matrix.shape):
        raise ValueError(f"a matrix (…, rows, columns) is wanted, with rows and columns; got {describe(matrix)}")
    xp = array_namespace(matrix)
    if not hasattr(xp, "linalg"):
        raise TypeError(
            f"{xp.__name__} has no linear algebra here: pass its singular values to nt.spectra, or the matrix as an "
            "array of NumPy, CuPy, torch or JAX"
        )
    if any_true(~xp.isfinite(matrix)):
        raise ValueError("the matrix holds entries that are not finite: it has no singular values")
    return xp.linalg.svdvals(matrix)


def effective_number(values: Array, cutoff: float, *, relative: bool = False) -> Array:
    """N_a = #{k : σ_k > a}, the effective cut-off number: so many singular values count.

    Parameters
    ----------
    values: singular values (…, K), in any order; axes in front are spectra side by side.
    cutoff: a >= 0.
    relative: whether a is times the largest of each spectrum.

    Returns whole numbers (…), of the dtype of the values. Source: the cut-off of arXiv 2405.14099, as the top of this
    file says. Raises TypeError for what is no array, ValueError for negative or undefined values and cut-offs.
    """
    values, xp = _checked(values)
    return xp.sum(xp.astype(_kept(values, xp, cutoff, relative), values.dtype), axis=-1)


def entropy(values: Array, cutoff: float = 0.0, *, relative: bool = False) -> Array:
    """H(a) = −Σ p_k log p_k in nats, over σ_k > a with p_k = σ_k / Σ σ_j of those: (…) of values (…, K).

    0 where at most one is kept. Arguments and errors are those of :func:`effective_number`. With a = 0 it is Shannon's
    entropy of the whole spectrum.
    """
    values, xp = _checked(values)
    kept = _kept(values, xp, cutoff, relative)
    # What is left out, or 0 beside the largest, is 1 in the logarithm: neither value nor gradient meets log 0.
    sizes = xp.where(kept, values, xp.zeros_like(values))
    # Relative to the largest, so that no sum overflows.
    largest = xp.max(sizes, axis=-1, keepdims=True)
    sizes = sizes / xp.where(largest > 0, largest, xp.ones_like(largest))
    total = xp.sum(sizes, axis=-1, keepdims=True)
    p = sizes / xp.where(total > 0, total, xp.ones_like(total))
    return xp.sum(-p * xp.log(xp.where(p > 0, p, xp.ones_like(p))), axis=-1)


def truncated_entropy(values: Array, cutoff: float, *, relative: bool = False, normalised: bool = False) -> Array:
    """H(a), or with ``normalised=True`` H(a)/log N_a in [0, 1]; the definition is that at the top of this file.

    H/log N_a is 0 where at most one value is kept, for then there is nothing to be spread over. Arguments and errors
    are those of :func:`effective_number`.
    """
    h = entropy(values, cutoff, relative=relative)
    if not normalised:
        return h
    n = effective_number(values, cutoff, relative=relative)
    xp = array_namespace(n)
    several = n > 1
    return xp.where(several, h / xp.log(xp.where(several, n, xp.full_like(n, math.e))), xp.zeros_like(h))


def effective_rank(values: Array) -> Array:
    """exp(−Σ p_k log p_k) with p_k = σ_k/Σσ_j over all k, in [1, K]: Roy and Vetterli (EUSIPCO 2007), definition 1.

    (…) of values (…, K). No cut-off: values at rounding level add next to nothing.
    """
    h = entropy(values)
    return array_namespace(h).exp(h)


def smallest_kept(values: Array, cutoff: float, *, relative: bool = False) -> Array:
    """min {σ_k : σ_k > a}, (…) of values (…, K); 0 where none is kept. Arguments as of :func:`effective_number`."""
    values, xp = _checked(values)
    kept = _kept(values, xp, cutoff, relative)
    least = xp.min(xp.where(kept, values, xp.full_like(values, math.inf)), axis=-1)
    return xp.where(xp.isfinite(least), least, xp.zeros_like(least))


@dataclass(frozen=True)
class Spectrum:
    """A matrix's singular values and what they say above one cut-off."""

    values: Array
    """σ_1 ≥ σ_2 ≥ …, (…, K)."""
    cutoff: float
    relative: bool
    """Whether the cut-off is times σ_1."""
    number: Array
    """N_a."""
    smallest_kept: Array
    entropy: Array
    """H(a), nats."""
    normalised_entropy: Array
    """H(a)/log N_a."""
    effective_rank: Array
    """Of all values, without a cut-off."""


def spectrum(matrix: Array, cutoff: float, *, relative: bool = True) -> Spectrum:
    """All of the above of a matrix (…, rows, columns); the cut-off is times σ_1 unless ``relative=False``."""
    values = singular_values(matrix)
    return Spectrum(
        values,
        float(cutoff),
        relative,
        effective_number(values, cutoff, relative=relative),
        smallest_kept(values, cutoff, relative=relative),
        entropy(values, cutoff, relative=relative),
        truncated_entropy(values, cutoff, relative=relative, normalised=True),
        effective_rank(values),
    )


def _checked(values: Array) -> tuple[Array, Any]:
    values = as_floating(values, "values")
    xp = array_namespace(values)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(
            f"singular values (…, K) are wanted, at least one a spectrum; got {describe(values)}: of a matrix pass "
            "nt.spectra.singular_values(matrix)"
        )
    if not xp.isdtype(values.dtype, "real floating"):
        raise TypeError(f"singular values are real; got {describe(values)}: pass nt.spectra.singular_values(matrix)")
    if any_true(~((values >= 0) & xp.isfinite(values))):  # a NaN is neither
        raise ValueError(
            "singular values are finite numbers >= 0, some of these are negative, infinite or undefined: of a matrix "
            "pass nt.spectra.singular_values(matrix), of a kernel's eigenvalues their roots"
        )
    return values, xp


def _kept(values: Array, xp: Any, cutoff: Any, relative: bool) -> Array:
    if isinstance(cutoff, bool) or not isinstance(cutoff, numbers.Real) or not 0 <= float(cutoff) < math.inf:
        raise ValueError(f"the cut-off is a finite number >= 0, such as 1e-12 with relative=True; got {cutoff!r}")
    cutoff = float(cutoff)  # a NumPy number would decide the dtype
    return values > (cutoff * xp.max(values, axis=-1, keepdims=True) if relative else cutoff)
