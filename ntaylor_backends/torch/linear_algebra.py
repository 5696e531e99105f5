"""``torch.linalg`` with its old names, and ``torch.fft``, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``. Matrices that are known by a factor are solved with as they
are: the core factors a matrix once a call, whatever the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ntaylor.array_object import innermost
from ntaylor.namespace import MissingRule, is_complex
from ntaylor_backends.torch.elementwise import constant, op
from ntaylor_backends.torch.maps import linear

__all__ = ["LINEAR_ALGEBRA"]


class _Inverse(NamedTuple):
    inverse: Any
    info: Any


class _Factor(NamedTuple):
    L: Any
    info: Any


class _Solution(NamedTuple):
    result: Any
    info: Any


class _LeastSquares(NamedTuple):
    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


class _Triangular(NamedTuple):
    solution: Any
    cloned_coefficient: Any


def _transposed(a: Any) -> Any:
    return op("matrix_transpose", a)


def _adjoint(a: Any) -> Any:
    return _transposed(op("conj", a) if is_complex(innermost(a)) else a)


def _solve(A: Any, B: Any, *, left: bool = True) -> Any:
    # Torch takes a batch of vectors for B where its shape is that of A without the columns.
    vectors = B.ndim == 1 or (B.ndim == A.ndim - 1 and tuple(B.shape) == tuple(A.shape[:-1]))
    if vectors:
        B = op("expand_dims", B, axis=-1)
    if not left and not vectors:
        return _transposed(op("linalg.solve", _transposed(A), _transposed(B)))
    x = op("linalg.solve", A if left else _transposed(A), B)
    return op("squeeze", x, axis=-1) if vectors else x


def _triangle(a: Any, upper: bool, unitriangular: bool) -> Any:
    if not unitriangular:
        return op("triu" if upper else "tril", a)
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    return op("triu" if upper else "tril", a, k=1 if upper else -1) + eye


def _solve_triangular(a: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    triangle = _triangle(a, upper, unitriangular)
    if left:
        return op("linalg.solve", triangle, B)
    return _transposed(op("linalg.solve", _transposed(triangle), _transposed(B)))


def _triangular_solve(
    a: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> _Triangular:
    triangle = _triangle(A, upper, unitriangular)
    return _Triangular(op("linalg.solve", _transposed(triangle) if transpose else triangle, a), A)


def _cholesky(a: Any, upper: bool = False) -> Any:
    return op("linalg.cholesky", a, upper=upper)


def _cholesky_solve(a: Any, L: Any, upper: bool = False) -> Any:
    lower = _adjoint(L) if upper else L
    return op("linalg.solve", _adjoint(lower), op("linalg.solve", lower, a))


def _cholesky_inverse(L: Any, upper: bool = False) -> Any:
    lower = _adjoint(L) if upper else L
    return op("linalg.inv", op("matmul", lower, _adjoint(lower)))


def _with_info(name: str, rule: Callable[..., Any], kind: type) -> Callable[..., Any]:
    def with_info(*args: Any, check_errors: bool = False, **options: Any) -> Any:
        info = constant(getattr(torch.linalg, name))(*args, **options)[-1]
        return kind(rule(*args, **options), info)

    return with_info


def _qr(a: Any, mode: Any = "reduced", *, some: bool | None = None) -> Any:
    if isinstance(mode, bool):  # torch.qr(a, some)
        mode, some = "reduced", mode
    return op("linalg.qr", a, mode="complete" if some is False else mode)


def _of_triangle(name: str) -> Callable[..., Any]:
    """eigh and eigvalsh; the core reads the lower triangle, as torch does unless told."""

    def of_triangle(a: Any, UPLO: str = "L") -> Any:
        return op(name, _adjoint(a) if UPLO.upper() == "U" else a)

    return of_triangle


def _logdet(a: Any) -> Any:
    sign, logarithm = op("linalg.slogdet", a)
    return op("where", sign > 0, logarithm, math.nan)


def _multi_dot(a: Any) -> Any:
    """In the order that needs the fewest multiplications, as torch does."""
    matrices = list(a)
    first, last = matrices[0].ndim == 1, matrices[-1].ndim == 1
    if first:
        matrices[0] = op("expand_dims", matrices[0], axis=0)
    if last:
        matrices[-1] = op("expand_dims", matrices[-1], axis=1)
    sizes = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]

    def cheapest(i: int, j: int) -> tuple[int, Any]:
        """Multiplications for the product of matrices i..j − 1, and where it is taken apart."""
        if j - i == 1:
            return 0, None
        if (i, j) not in found:
            found[i, j] = min(
                (cheapest(i, m)[0] + cheapest(m, j)[0] + sizes[i] * sizes[m] * sizes[j], m) for m in range(i + 1, j)
            )
        return found[i, j]

    def product(i: int, j: int) -> Any:
        apart = cheapest(i, j)[1]
        return matrices[i] if apart is None else op("matmul", product(i, apart), product(apart, j))

    found: dict[tuple[int, int], tuple[int, Any]] = {}
    result = product(0, len(matrices))
    gone = tuple(axis for axis, there in ((0, first), (1, last)) if there)
    return op("squeeze", result, axis=gone) if gone else result


def _chain_matmul(*matrices: Any) -> Any:
    return _multi_dot(matrices)


def _matrix_norm(a: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, dtype: Any = None) -> Any:  # noqa: A002 torch's name
    a = a if dtype is None else a.to(dtype)
    rows, columns = (i % a.ndim for i in dim)
    a = op("moveaxis", a, (rows, columns), (-2, -1))
    if ord not in ("fro", None, 1, math.inf):
        raise MissingRule(
            f"no rule for linalg.matrix_norm(ord={ord!r}), only for 'fro', 1 and inf: singular values are the square "
            "roots of torch.linalg.eigvalsh(A.mT @ A)"
        )
    norm = op("linalg.matrix_norm", a, ord=ord, keepdims=keepdim)
    return op("moveaxis", norm, (-2, -1), (rows, columns)) if keepdim else norm


def _cond(a: Any, p: Any = None) -> Any:
    if p not in ("fro", 1, math.inf):
        raise MissingRule(
            f"no rule for linalg.cond(p={p!r}), only for 'fro', 1 and inf: with p=2 it is the square root of the ratio "
            "of the largest to the smallest of torch.linalg.eigvalsh(A.mT @ A)"
        )
    return _matrix_norm(a, p) * _matrix_norm(op("linalg.inv", a), p)


def _full_rank(name: str, a: Any) -> None:
    """ValueError where the rank is not full: the pseudo-inverse jumps there."""
    if torch.compiler.is_compiling() or innermost(a).device.type == "meta":
        return
    if bool((torch.linalg.matrix_rank(innermost(a).detach()) < min(a.shape[-2:])).any()):
        raise ValueError(f"{name} of a matrix without full rank is not differentiable: its rank, and with it the "
                         "result, jumps there")  # fmt: skip


def _pinv(a: Any, *args: Any, **options: Any) -> Any:
    """Of full rank, A = QR: A⁺ = R⁻¹Qᴴ, and (Aᴴ)⁺ = (A⁺)ᴴ."""
    if args or any(value not in (None, False) for value in options.values()):
        raise MissingRule("no rule for linalg.pinv with a tolerance or hermitian=True: leave them out, and for a "
                          "matrix without full rank there are no derivatives")  # fmt: skip
    _full_rank("linalg.pinv", a)
    if a.shape[-2] < a.shape[-1]:
        return _adjoint(_pinv_of_tall(_adjoint(a)))
    return _pinv_of_tall(a)


def _pinv_of_tall(a: Any) -> Any:
    q, r = op("linalg.qr", a)
    return op("linalg.solve", r, _adjoint(q))


def _lstsq(a: Any, b: Any, rcond: Any = None, *, driver: Any = None) -> _LeastSquares:
    """Of full rank; ‖A x − b‖² of each column where there are more rows than columns, as torch gives."""
    _full_rank("linalg.lstsq", a)
    vectors = b.ndim == a.ndim - 1
    columns = op("expand_dims", b, axis=-1) if vectors else b
    rows, width = a.shape[-2:]
    if rows >= width:
        q, r = op("linalg.qr", a)
        x = op("linalg.solve", r, op("matmul", _adjoint(q), columns))
    else:
        q, r = op("linalg.qr", _adjoint(a))
        x = op("matmul", q, op("linalg.solve", _adjoint(r), columns))
    if rows > width:
        rest = op("abs", op("matmul", a, x) - columns)
        residuals = op("sum", rest * rest, axis=-2)
    else:
        residuals = innermost(a).new_zeros(0)
    rank = torch.linalg.matrix_rank(innermost(a).detach())
    return _LeastSquares(op("squeeze", x, axis=-1) if vectors else x, residuals, rank, innermost(a).new_zeros(0))


def _tensorsolve(a: Any, b: Any, dims: Any = None) -> Any:
    if dims is not None:
        a = op("moveaxis", a, tuple(dims), tuple(range(a.ndim - len(dims), a.ndim)))
    shape = tuple(a.shape[b.ndim :])
    size = math.prod(shape)
    x = op("linalg.solve", op("reshape", a, (size, size)), op("reshape", b, (size, 1)))
    return op("reshape", x, shape)


def _tensorinv(a: Any, ind: int = 2) -> Any:
    rows, columns = tuple(a.shape[:ind]), tuple(a.shape[ind:])
    inverse = op("linalg.inv", op("reshape", a, (math.prod(rows), math.prod(columns))))
    return op("reshape", inverse, (*columns, *rows))


def _vander(a: Any, N: int | None = None) -> Any:
    return op("stack", [a**n for n in range(a.shape[-1] if N is None else N)], axis=-1)


# --- Fourier transforms -------------------------------------------------------------------------


def _along_one(name: str) -> Callable[..., Any]:
    def transform(a: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
        return op(f"fft.{name}", a, n=n, axis=dim, norm=norm or "backward")

    return transform


def _along_several(name: str, default: Any = None) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, dim: Any = default, norm: str | None = None) -> Any:
        return op(f"fft.{name}", a, s=s, axes=dim, norm=norm or "backward")

    return transform


def _shift(name: str) -> Callable[..., Any]:
    def shift(a: Any, dim: Any = None) -> Any:
        axes = tuple(range(a.ndim)) if dim is None else dim
        return op(f"fft.{name}", a, axes=axes)

    return shift


_ONE = "fft ifft rfft irfft hfft ihfft".split()  # noqa: SIM905
_SEVERAL = "fft ifft rfft irfft".split()  # noqa: SIM905
_inv, _det = (lambda a: op("linalg.inv", a)), (lambda a: op("linalg.det", a))

LINEAR_ALGEBRA: dict[str, Callable[..., Any]] = {
    **{f"fft_{name}": _along_one(name) for name in _ONE},
    **{f"fft_{name}n": _along_several(f"{name}n") for name in _SEVERAL},
    **{f"fft_{name}2": _along_several(f"{name}n", (-2, -1)) for name in _SEVERAL},
    # The standard has no transforms of Hermitian signals along several axes; they are as linear as the others.
    **{f"fft_{name}": linear(getattr(torch.fft, name), name) for name in ("hfft2", "hfftn", "ihfft2", "ihfftn")},
    **{f"fft_{name}": _shift(name) for name in ("fftshift", "ifftshift")},
    "adjoint": _adjoint,
    "chain_matmul": _chain_matmul,
    "cholesky": _cholesky,
    "cholesky_ex": _with_info("cholesky_ex", _cholesky, _Factor),
    "cholesky_inverse": _cholesky_inverse,
    "cholesky_solve": _cholesky_solve,
    "det": _det,
    "eigh": _of_triangle("linalg.eigh"),
    "eigvalsh": _of_triangle("linalg.eigvalsh"),
    "inv": _inv,
    "inv_ex": _with_info("inv_ex", _inv, _Inverse),
    "inverse": _inv,
    "linalg_cond": _cond,
    "linalg_vander": _vander,
    "logdet": _logdet,
    "lstsq": _lstsq,
    "matrix_norm": _matrix_norm,
    "matrix_power": lambda a, n: op("linalg.matrix_power", a, n),
    "matrix_rank": constant(torch.linalg.matrix_rank),
    "multi_dot": _multi_dot,
    "pinv": _pinv,
    "pinverse": _pinv,
    "qr": _qr,
    "slogdet": lambda a: op("linalg.slogdet", a),
    "solve": _solve,
    "solve_ex": _with_info("solve_ex", _solve, _Solution),
    "solve_triangular": _solve_triangular,
    "tensorinv": _tensorinv,
    "tensorsolve": _tensorsolve,
    "triangular_solve": _triangular_solve,
    "vander": lambda x, N=None, increasing=False: _vander(x, N) if increasing else op("flip", _vander(x, N), axis=-1),
}
"""Torch's name → function of jets, tensors and numbers."""
