"""Random feature models Σ_j a_j σ(w_j·x + b_j): linear in a, so a linear equation is a least-squares problem.

    >>> import numpy as np, ntaylor as nt
    >>> model = nt.random_features.create(1, 60, "tanh", scale=4.0, seed=0)
    >>> x, ends = np.linspace(-1, 1, 100)[:, None], np.asarray([[-1.0], [1.0]])
    >>> Rows = nt.random_features.Rows
    >>> rows = [
    ...     Rows(nt.operators.D(0, 0), x, lambda x: -np.pi**2 * np.sin(np.pi * x[:, 0])),     # u″ = f
    ...     Rows(nt.operators.identity(), ends),                                              # u = 0 at both ends
    ... ]
    >>> fit = nt.random_features.solve(model, rows, cutoff=1e-12)
    >>> bool(fit.error(lambda x: np.sin(np.pi * x[:, 0]), x) < 1e-5)
    True

Floor 13. The features are a network of one layer with as many outputs: an operator pushes it once and has all columns
of the collocation matrix, exactly; ``method="fd"`` lays a stencil over it instead. Nothing is scaled or balanced behind
the caller's back: weights of rows are the caller's, and the cut-off of the pseudo-inverse is stated.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ntaylor.activations import Activation
from ntaylor.array_object import unwrapped_namespace
from ntaylor.collocation import Rows, checked, flat, residuals
from ntaylor.layers import Dense
from ntaylor.namespace import array_namespace, describe
from ntaylor.networks import MLP

__all__ = ["LAWS", "Features", "Fit", "Rows", "create", "solve", "solve_at", "system"]

Array = Any

LAWS = ("uniform", "normal")


@dataclass(frozen=True)
class Features:
    """σ(w_j·x + b_j), j = 1..count, with frozen w and b: maps (…, batch, d) to (…, batch, count)."""

    network: MLP

    @property
    def dimension(self) -> int:
        """d."""
        return int(self.network.layers[0].parameters["weight"].shape[0])

    @property
    def count(self) -> int:
        """How many features."""
        return int(self.network.layers[0].parameters["weight"].shape[1])

    def __call__(self, x: Any) -> Any:
        """Their values, on arrays and jets."""
        return self.network(x)

    def model(self, coefficients: Array) -> MLP:
        """Σ_j a_j σ(w_j·x + b_j) as a network of one output, its last layer the coefficients (count,)."""
        if tuple(coefficients.shape) != (self.count,):
            raise ValueError(f"{self.count} features take coefficients ({self.count},), got {describe(coefficients)}")
        return MLP([*self.network.layers, Dense(coefficients[:, None])])


def create(
    dimension: int,
    count: int,
    activation: str | Activation = "tanh",
    *,
    law: str | Callable[[numpy.random.Generator], tuple[Any, Any]] = "uniform",
    scale: float = 1.0,
    bias_scale: float | None = None,
    xp: Any = None,
    dtype: Any = None,
    device: Any = None,
    seed: int = 0,
) -> Features:
    """Features with w and b drawn once, from NumPy's generator: the same numbers on every library.

    Parameters
    ----------
    dimension, count: d and how many.
    activation: a name of ``nt.activations.names`` or an Activation such as ``nt.activations.relu_power(3)``.
    law:
        "uniform": entries of w in [−scale, scale], b in [−bias_scale, bias_scale]; "normal": N(0, scale²) and
        N(0, bias_scale²); or a function of a ``numpy.random.Generator`` that returns (w (d, count), b (count,)).
    scale, bias_scale: numbers > 0; bias_scale is scale unless given.
    xp, dtype, device, seed: as of ``nt.MLP.create``.

    Raises TypeError for a law, an activation or counts of another kind, ValueError for their values and shapes.
    """
    for name, value in {"dimension": dimension, "count": count}.items():
        if isinstance(value, bool) or not isinstance(value, (int, numpy.integer)):
            raise TypeError(f"{name} must be an integer >= 1, such as 2; got {describe(value)}")
        if value < 1:
            raise ValueError(f"{name} must be an integer >= 1; got {value}")
    scales: dict[str, Any] = {"scale": scale, "bias_scale": scale if bias_scale is None else bias_scale}
    for name, number in scales.items():
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise TypeError(f"{name} must be a finite number > 0; got {describe(number)}")
        if not 0 < float(number) < math.inf:
            raise ValueError(f"{name} must be a finite number > 0; got {number!r}")
    weight, bias = _drawn(law, int(dimension), int(count), scale, scale if bias_scale is None else bias_scale, seed)
    # One way to make parameters of any library: that of networks.
    made = MLP.create([int(dimension), int(count), 1], activation, xp=xp, dtype=dtype, device=device, seed=seed)
    like = made.layers[0].parameters["weight"]
    space = array_namespace(like)
    weight, bias = (space.asarray(part, dtype=like.dtype, device=device) for part in (weight, bias))
    return Features(MLP([Dense(weight, bias), made.layers[1]]))


def system(features: Features, rows: Sequence[Rows]) -> tuple[Array, Array]:
    """(A, f) of A a = f: the collocation matrix (rows, count) and right-hand side (rows,), with the rows' weights.

    A column is a feature with L applied; exact rows come from one push of all features at once.
    """
    for r in checked(rows):
        if int(r.points.shape[-1]) != features.dimension:
            raise ValueError(f"the features take {features.dimension} inputs, these points are {describe(r.points)}")
    matrices = [r.apply(features) for r in rows]
    xp = array_namespace(*matrices)
    return xp.concat(matrices), xp.concat([r.right() for r in rows])


@dataclass(frozen=True)
class Fit:
    """The least-squares solution of a collocation by random features."""

    coefficients: Array
    """a, (count,)."""
    network: MLP
    """Σ a_j σ(w_j·x + b_j): callable, differentiable, an ``nt.MLP`` with the coefficients as its last layer."""
    singular_values: Array
    """Of A, descending."""
    cutoff: float
    """Values not above this times the largest were left out of the pseudo-inverse."""
    rank: int
    """So many were kept."""
    residual: float
    """‖A a − f‖ / ‖f‖, with A as it was solved with (by jets or by differences); ‖A a‖ where f is 0."""
    condition: float
    """The largest singular value over the smallest kept one."""

    def error(self, solution: Callable[[Array], Array], points: Array) -> float:
        """‖u − solution‖ / ‖solution‖ in L² over the points; without the denominator where the solution is 0."""
        exact = flat(solution(points))
        xp = array_namespace(exact)
        size = float(xp.sqrt(xp.sum(exact * exact)))
        off = flat(self.network(points)) - exact
        return float(xp.sqrt(xp.sum(off * off))) / (size or 1.0)

    def residual_of(self, rows: Sequence[Rows]) -> float:
        """‖A a − f‖ / ‖f‖ of other rows, such as the exact ones of a fit that was made by differences."""
        r = residuals(rows, self.network)
        xp = array_namespace(r)
        right = xp.concat([row.right() for row in rows])
        size = float(xp.sqrt(xp.sum(right * right)))
        return float(xp.sqrt(xp.sum(r * r))) / (size or 1.0)


def solve(features: Features, rows: Sequence[Rows], *, cutoff: float = 1e-12) -> Fit:
    """The a of least norm that minimises ‖A a − f‖, with singular values up to ``cutoff`` times the largest left out.

    The pseudo-inverse comes from the singular value decomposition of A, never from AᵀA. The default cut-off is some
    thousand units of rounding in float64; for float32 pass one of about 1e-5. Raises TypeError and ValueError for rows
    that do not fit, for a cut-off outside [0, 1), for a matrix that is zero and a system that is empty or not finite.
    """
    return solve_at(features, rows, [cutoff])[0]


def solve_at(features: Features, rows: Sequence[Rows], cutoffs: Sequence[float]) -> list[Fit]:
    """As :func:`solve` at each of several cut-offs, by one decomposition."""
    for cutoff in cutoffs:
        if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float)) or not 0 <= cutoff < 1:
            raise ValueError(
                f"the cut-off is a number in [0, 1), relative to the largest singular value; got {cutoff!r}"
            )
    matrix, right = system(features, rows)
    xp = unwrapped_namespace([matrix])
    if not hasattr(xp, "linalg"):
        raise TypeError(f"{xp.__name__} has no linear algebra here: use arrays of NumPy, CuPy, torch or JAX")
    if not bool(xp.all(xp.isfinite(matrix))):
        raise ValueError("the collocation matrix holds entries that are not finite: look at the points and the scale")
    if not bool(xp.all(xp.isfinite(right))):
        raise ValueError("the right-hand side holds entries that are not finite: look at the values and the weights")
    if not int(matrix.shape[0]):
        raise ValueError("the rows have no points: nothing is to be solved")
    u, s, vh = xp.linalg.svd(matrix, full_matrices=False)
    if not float(s[0]) > 0:
        raise ValueError(
            "the collocation matrix is 0: the operator sends every feature to 0, as one of order p + 1 does to "
            "max(u, 0)^p away from its kinks; take a smoother activation"
        )
    along = u.T @ right
    size = float(xp.sqrt(xp.sum(right * right))) or 1.0
    fits = []
    for cutoff in cutoffs:
        kept = s > cutoff * s[0]
        inverse = xp.where(kept, 1 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
        coefficients = vh.T @ (inverse * along)
        rank = int(xp.sum(xp.astype(kept, xp.int64)))
        off = matrix @ coefficients - right
        residual = float(xp.sqrt(xp.sum(off * off))) / size
        model = features.model(coefficients)
        fits.append(Fit(coefficients, model, s, float(cutoff), rank, residual, float(s[0] / s[rank - 1])))
    return fits


def _drawn(law: Any, dimension: int, count: int, scale: float, bias_scale: float, seed: int) -> tuple[Any, Any]:
    rng = numpy.random.default_rng(seed)
    if isinstance(law, str):
        if law not in LAWS:
            raise ValueError(f"law must be one of {', '.join(LAWS)}, or a function of a generator; got {law!r}")
        if law == "uniform":
            return (
                rng.uniform(-scale, scale, (dimension, count)),
                rng.uniform(-bias_scale, bias_scale, count),
            )
        return scale * rng.standard_normal((dimension, count)), bias_scale * rng.standard_normal(count)
    if not callable(law):
        raise TypeError(f"law is a name or a function of a numpy.random.Generator; got {describe(law)}")
    found = law(rng)
    try:
        weight, bias = (numpy.asarray(part, dtype=numpy.float64) for part in found)
    except (TypeError, ValueError):
        raise TypeError(f"the law must return (w, b), it returned {describe(found)}") from None
    if weight.shape != (dimension, count) or bias.shape != (count,):
        raise ValueError(
            f"the law must return w of shape {(dimension, count)} and b of shape {(count,)}; it returned "
            f"{weight.shape} and {bias.shape}"
        )
    if not (numpy.isfinite(weight).all() and numpy.isfinite(bias).all()):
        raise ValueError("the law returned weights or biases that are not finite")
    return weight, bias
