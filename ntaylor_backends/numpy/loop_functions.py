"""exp, tanh, sin and cos as arithmetic alone, so that a loop that calls them is vectorised.

Of float64: exp within 1, tanh, sin and cos within 2.5 units in the last place, the last two for ``|x| <= WITHIN``.

Plain Python, which a kernel's text takes over as it stands here; each uses nothing but NumPy and the ones before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["reduced", "exp", "tanh", "quarter", "sin", "cos"]  # noqa: RUF022 in the order in which they need one another

WITHIN = {"sin": 1e6, "cos": 1e6}
"""The largest modulus of arguments, of functions that are wrong beyond it."""

# Cody & Waite, Software Manual for the Elementary Functions (1980), chapter 6: with k the integer nearest to x/log 2
# and r = x − k log 2, exp(x) = 2^k exp(r), where |r| ≤ log(2)/2. Adding 3·2^51 rounds to an integer, which then stands
# in the last bits of the sum; shifted to the exponent's they are a power of two. 2^k is made as two factors, since at
# both ends of the range it is no number but the product is.


def reduced(x: Any) -> Any:
    """(exp(r) − 1, two powers of two): their product with exp(r) is exp(x)."""
    x = -750.0 if x < -750.0 else x  # beyond, the result is 0 or infinite; NaN stays
    x = 750.0 if x > 750.0 else x
    k = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    half = (k * 0.5 + 6755399441055744.0) - 6755399441055744.0
    one = np.int64(np.float64(half + 6755399441056767.0).view(np.int64) << 52).view(np.float64)
    other = np.int64(np.float64(k - half + 6755399441056767.0).view(np.int64) << 52).view(np.float64)
    # log 2 in two parts, the first with zeros at its end, so that k times it is exact.
    r = (x - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    # Taylor's series, whose first term left out is below 2e-18 here.
    p = 1.6059043836821613e-10 * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    return r + r * r * p, one, other


def exp(x: Any) -> Any:
    """e^x."""
    p, one, other = reduced(x)
    return (1.0 + p) * one * other


def tanh(x: Any) -> Any:
    """By e^(−2|x|) − 1, which loses nothing where x is small."""
    p, one, other = reduced(abs(x) * -2.0)
    power = one * other
    m = power * p + (power - 1.0)
    return np.copysign(m / (2.0 + m), x)


# π/2 in four parts, the first three of 33 bits, so that k times them is exact for |k| < 2^20: of what is near a zero
# the digits that count are all there.


def quarter(x: Any) -> Any:
    """(sin r, cos r, which quarter of the circle x is in) with r = x − k π/2, where |r| ≤ π/4."""
    shifted = x * 0.6366197723675814 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = ((x - k * 1.5707963267341256) - k * 6.077100506303966e-11) - k * 2.0222662487111665e-21
    r = r - k * 8.4784276603689e-32
    z = r * r
    # Taylor's series, whose first terms left out are below 1e-19 and 3e-18 here.
    s = 2.8114572543455206e-15 * z - 7.647163731819816e-13
    s = s * z + 1.6059043836821613e-10
    s = s * z - 2.505210838544172e-08
    s = s * z + 2.7557319223985893e-06
    s = s * z - 0.0001984126984126984
    s = s * z + 0.008333333333333333
    s = s * z - 0.16666666666666666
    c = 4.779477332387385e-14 * z - 1.1470745597729725e-11
    c = c * z + 2.08767569878681e-09
    c = c * z - 2.755731922398589e-07
    c = c * z + 2.48015873015873e-05
    c = c * z - 0.001388888888888889
    c = c * z + 0.041666666666666664
    return r * (1.0 + z * s), (1.0 - 0.5 * z) + z * z * c, np.float64(shifted).view(np.int64) & 3


def sin(x: Any) -> Any:
    """For |x| up to a million."""
    s, c, q = quarter(x)
    v = s if q & 1 == 0 else c
    return v if q & 2 == 0 else -v


def cos(x: Any) -> Any:
    """Likewise."""
    s, c, q = quarter(x)
    v = c if q & 1 == 0 else s
    return v if (q + 1) & 2 == 0 else -v
