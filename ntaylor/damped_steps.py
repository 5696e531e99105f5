"""The damped step of a least-squares method: the minimiser of |J d − r|² + λ|d|², for many λ of one J.

Floor 10: linear algebra on arrays of any library. Three ways to the same step, of different cost and accuracy:

- ``"svd"``: the singular value decomposition of J serves every λ and every right-hand side, and keeps all digits.
- ``"qr"``: Householder's J = QR once, and for every λ the triangular R above √λ·I made triangular again, which
  LAPACK's ``tpqrt`` does in a third of the arithmetic of a full factorisation. As accurate, since J is never
  squared. Without LAPACK, as on other libraries than NumPy, J above √λ·I is factorised anew for every λ.
- ``"cholesky"``: JᵀJ + λI, or JJᵀ + λI where J has fewer rows than columns. The cheapest; but squaring J perturbs it
  by a rounding unit of |J|², so that singular values below √ε·|J| are lost in it. That does no harm while λ is far
  larger than ε|J|², for what the damping hides may be wrong: the step's relative error is about ε|J|²/λ.

``"auto"`` takes Cholesky's as long as that error is below a thousandth for the least λ asked for, and the accurate one
from then on: as the iteration converges λ falls, and the last digits come from J itself. Measured on one core, 2000 ×
1500: SVD 2.7 s; QR 0.3 s and 0.1 s for every λ; Cholesky 0.14 s and 0.07 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ntaylor.namespace import array_namespace, near_names

__all__ = ["SOLVERS", "DampedSteps", "check_solver", "damped_steps"]

Array = Any

_HARMLESS = 1e-3
"""The relative error of a step by the normal equations from which on another way is taken."""


class DampedSteps(Protocol):
    """A Jacobian that has been factorised."""

    method: str
    """The way that was taken: a name of ``SOLVERS``, never "auto"."""

    def solve(self, r: Array, damping: float) -> Array:
        """The minimiser of |J d − r|² + damping·|d|²."""


class _Svd:
    method = "svd"

    def __init__(self, jacobian: Array):
        if isinstance(jacobian, np.ndarray):
            self.q, self.s, self.v_t = _svd_of_lapack(jacobian)
        else:
            self.q, self.s, self.v_t = _linalg(jacobian).svd(jacobian, full_matrices=False)

    def solve(self, r: Array, damping: float) -> Array:
        return self.v_t.T @ (self.s / (self.s**2 + damping) * (self.q.T @ r))


def _svd_of_lapack(jacobian: Array) -> tuple[Array, Array, Array]:
    import scipy.linalg

    try:
        found = scipy.linalg.svd(jacobian, full_matrices=False, check_finite=False)
    except scipy.linalg.LinAlgError:  # the divide-and-conquer driver can fail where QR iteration does not
        found = scipy.linalg.svd(jacobian, full_matrices=False, lapack_driver="gesvd")
    return found  # type: ignore[no-any-return]


class _Cholesky:
    method = "cholesky"

    def __init__(self, jacobian: Array, square: Array | None = None):
        self.jacobian = jacobian
        self.square = _square(jacobian) if square is None else square
        self.factors: dict[float, Callable[[Array], Array]] = {}

    def solve(self, r: Array, damping: float) -> Array:
        wide = self.jacobian.shape[0] < self.jacobian.shape[1]
        if damping not in self.factors:
            self.factors[damping] = _positive_definite(self.square, damping)
        inverse = self.factors[damping]
        return self.jacobian.T @ inverse(r) if wide else inverse(self.jacobian.T @ r)


def _square(jacobian: Array) -> Array:
    rows, columns = jacobian.shape
    return jacobian @ jacobian.T if rows < columns else jacobian.T @ jacobian


def _positive_definite(square: Array, damping: float) -> Callable[[Array], Array]:
    """What multiplies by (square + damping·I)⁻¹."""
    if isinstance(square, np.ndarray):
        import scipy.linalg

        shifted = square.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += damping
        factor = scipy.linalg.cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        return lambda b: scipy.linalg.cho_solve(factor, b, check_finite=False)
    xp = array_namespace(square)
    shifted = square + damping * xp.eye(square.shape[0], dtype=square.dtype, device=_where(square))
    # The standard has no triangular solve; a general one of so well conditioned a matrix costs little more.
    return lambda b: _linalg(square).solve(shifted, b[:, None])[:, 0]


class _LapackQr:
    """R with √λ·I below it, by LAPACK's factorisation of pentagonal matrices."""

    method = "qr"
    _BLOCK = 32

    def __init__(self, jacobian: Array):
        import scipy.linalg

        rows, self.size = jacobian.shape
        (reflectors, self.tau), r = scipy.linalg.qr(jacobian, mode="raw", check_finite=False)
        self.reflectors = reflectors[:, : len(self.tau)]
        self.triangle = np.zeros((self.size, self.size), dtype=jacobian.dtype, order="F")
        count = min(rows, self.size)
        self.triangle[:count] = np.triu(r[:count])
        names = ("ormqr", "tpqrt", "tpmqrt", "trtrs")
        self.ormqr, self.tpqrt, self.tpmqrt, self.trtrs = scipy.linalg.get_lapack_funcs(names, (jacobian,))
        self.factors: dict[float, tuple[Array, Array, Array]] = {}

    def solve(self, r: Array, damping: float) -> Array:
        if damping not in self.factors:
            below = np.zeros((self.size, self.size), dtype=self.triangle.dtype, order="F")
            below[np.diag_indices_from(below)] = damping**0.5
            a, v, t, info = self.tpqrt(self.size, min(self._BLOCK, self.size), self.triangle, below, overwrite_b=True)
            _check(info, "tpqrt")
            self.factors[damping] = (a, v, t)
        triangle, v, t = self.factors[damping]
        column = r[:, None]
        turned, _, info = self.ormqr("L", "T", self.reflectors, self.tau, column, lwork=max(1, 64 * column.shape[1]))
        _check(info, "ormqr")
        above = np.zeros((self.size, 1), dtype=triangle.dtype, order="F")
        count = min(len(r), self.size)
        above[:count] = turned[:count]
        above, _, info = self.tpmqrt(self.size, v, t, above, np.zeros_like(above), side="L", trans="T")
        _check(info, "tpmqrt")
        d, info = self.trtrs(triangle, above)
        _check(info, "trtrs")
        return d[:, 0]


def _check(info: int, routine: str) -> None:
    if info:
        raise np.linalg.LinAlgError(f"LAPACK's {routine} failed with info {info}")


class _Qr:
    """J with √λ·I below it, factorised for every λ."""

    method = "qr"

    def __init__(self, jacobian: Array):
        self.jacobian = jacobian
        self.factors: dict[float, tuple[Array, Array]] = {}

    def solve(self, r: Array, damping: float) -> Array:
        xp, size = array_namespace(self.jacobian), self.jacobian.shape[1]
        like = {"dtype": self.jacobian.dtype, "device": _where(self.jacobian)}
        linalg = _linalg(self.jacobian)
        if damping not in self.factors:
            below = damping**0.5 * xp.eye(size, **like)
            q, triangle = linalg.qr(xp.concat([self.jacobian, below]))
            self.factors[damping] = (q[: self.jacobian.shape[0], :], triangle)
        q, triangle = self.factors[damping]
        return linalg.solve(triangle, (q.T @ r)[:, None])[:, 0]


def _where(array: Array) -> Any:
    """The device for new arrays beside ``array``; None where a library has no say, as for sharded arrays."""
    from ntaylor.namespace import device

    return device(array)


def _linalg(array: Array) -> Any:
    xp = array_namespace(array)
    if not hasattr(xp, "linalg"):
        raise NotImplementedError(
            f"least squares need linear algebra, which {xp.__name__} lacks: convert the system to NumPy's arrays"
        )
    return xp.linalg


SOLVERS = ("svd", "qr", "cholesky", "auto")


def check_solver(solver: str) -> str:
    """``solver``, if it is one of ``SOLVERS``; else ValueError with near names."""
    if solver not in SOLVERS:
        raise ValueError(f"no solver is called {solver!r}; {near_names(str(solver), SOLVERS)}")
    return solver


def damped_steps(jacobian: Array, solver: str, dampings: Sequence[float]) -> DampedSteps:
    """The Jacobian (rows, columns) factorised by ``solver``, for steps with dampings not below the least of these."""
    on_lapack = isinstance(jacobian, np.ndarray) and jacobian.dtype in (np.float32, np.float64)
    if solver == "svd":
        return _Svd(jacobian)
    if solver == "qr":
        return _LapackQr(jacobian) if on_lapack else _Qr(jacobian)
    square = _square(jacobian)
    if solver == "auto":
        xp = array_namespace(jacobian)
        size = float(xp.sum(xp.linalg.diagonal(square))) if hasattr(xp, "linalg") else 0.0
        epsilon = float(xp.finfo(jacobian.dtype).eps)
        # Also taken of a Jacobian that is no number, whose step nobody will want.
        if epsilon * size > _HARMLESS * min(dampings):
            return _LapackQr(jacobian) if on_lapack else _Svd(jacobian)
    return _Cholesky(jacobian, square)
