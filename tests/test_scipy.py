"""SciPy's functions that ask their arguments for a namespace, unchanged, on jets: against mpmath to order 8.

In a process of its own, because SciPy reads SCIPY_ARRAY_API when it is imported.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest

pytest.importorskip("scipy", minversion="1.17")

ORDER = 8
X, V = [0.3, 0.9, 0.5, 0.7], [1.0, 0.5, -0.3, 0.2]

SCRIPT = f"""
import json, warnings
import numpy as np
from scipy import fft, integrate, optimize, signal, special, stats
from scipy.spatial.transform import Rotation
import ntaylor as nt

x, v = np.asarray({X}), np.asarray({V})
functions = {{
    "softmax": special.softmax,
    "gmean": stats.gmean,
    "hmean": stats.hmean,
    "pmean": lambda x: stats.pmean(x, 3),
    "skew": stats.skew,
    "kurtosis": stats.kurtosis,
    "moment": lambda x: stats.moment(x, 3),
    "sem": stats.sem,
    "kstat": lambda x: stats.kstat(x, 2),
    "circmean": stats.circmean,
    "trapezoid": integrate.trapezoid,
    "cumulative_trapezoid": integrate.cumulative_trapezoid,
    "cubature": lambda x: integrate.cubature(np.sin, x[:1], x[1:2]).estimate,
    "rosen": optimize.rosen,
    "fftconvolve": lambda x: signal.fftconvolve(x, x),
    "rfft": lambda x: np.real(fft.rfft(x)),
    "rotation": lambda x: Rotation.from_rotvec(x[:3]).as_matrix(),
}}
print(json.dumps({{name: nt.jet(f, x, {ORDER}, v).coefficients.tolist() for name, f in functions.items()}}))
"""


def mean(a):
    return sum(a) / len(a)


def central(a, k):
    return mean([(b - mean(a)) ** k for b in a])


def rodrigues(a):
    x, y, z = a[:3]
    length = mpmath.sqrt(x * x + y * y + z * z)
    cross = mpmath.matrix([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / length
    return list(mpmath.eye(3) + mpmath.sin(length) * cross + (1 - mpmath.cos(length)) * cross * cross)


EXPECTED = {
    "softmax": lambda a: [mpmath.exp(b) / sum(map(mpmath.exp, a)) for b in a],
    "gmean": lambda a: [mpmath.exp(mean([mpmath.log(b) for b in a]))],
    "hmean": lambda a: [1 / mean([1 / b for b in a])],
    "pmean": lambda a: [mpmath.cbrt(mean([b**3 for b in a]))],
    "skew": lambda a: [central(a, 3) / central(a, 2) ** 1.5],
    "kurtosis": lambda a: [central(a, 4) / central(a, 2) ** 2 - 3],
    "moment": lambda a: [central(a, 3)],
    "sem": lambda a: [mpmath.sqrt(central(a, 2) / 3)],
    "kstat": lambda a: [central(a, 2) * 4 / 3],
    "circmean": lambda a: [mpmath.atan2(sum(map(mpmath.sin, a)), sum(map(mpmath.cos, a)))],
    "trapezoid": lambda a: [sum(a) - (a[0] + a[3]) / 2],
    "cumulative_trapezoid": lambda a: [sum(a[: i + 1]) - (a[0] + a[i]) / 2 for i in (1, 2, 3)],
    "cubature": lambda a: [mpmath.cos(a[0]) - mpmath.cos(a[1])],
    "rosen": lambda a: [sum(100 * (a[i + 1] - a[i] ** 2) ** 2 + (1 - a[i]) ** 2 for i in range(3))],
    "fftconvolve": lambda a: [sum(a[i] * a[k - i] for i in range(4) if 0 <= k - i < 4) for k in range(7)],
    "rfft": lambda a: [sum(a), a[0] - a[2], a[0] - a[1] + a[2] - a[3]],
    "rotation": rodrigues,
}


def run(script):
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found():
    return json.loads(run(SCRIPT))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_function_of_scipy(found, name):
    got = np.asarray(found[name]).reshape(ORDER + 1, -1)
    with mpmath.workdps(50):
        x, v = ([mpmath.mpf(repr(float(c))) for c in a] for a in (X, V))

        def at(t):
            return EXPECTED[name]([a + t * b for a, b in zip(x, v, strict=True)])

        expected = [mpmath.taylor(lambda t, i=i: at(t)[i], 0, ORDER) for i in range(got.shape[1])]
    expected = np.asarray([[float(c) for c in row] for row in expected]).T
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.max(np.abs(expected)))


def test_the_page_does_what_it_says():
    page = (Path(__file__).parent.parent / "docs" / "scipy.md").read_text(encoding="utf-8")
    block = re.search(r"^```py\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL).group(1)
    shapes = run(block + "\nprint(skewness.shape, rotation.shape, integral.shape)")
    assert shapes.strip() == "(9,) (9, 3, 3) (9, 1)"
