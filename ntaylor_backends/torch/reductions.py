"""Torch's sums, extremes, norms and softmaxes over axes, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ntaylor.array_object import innermost
from ntaylor.namespace import MissingRule, is_array
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.linear_algebra import LINEAR_ALGEBRA
from ntaylor_backends.torch.maps import linearly

__all__ = ["REDUCTIONS", "softmax"]


_matrix_norm = LINEAR_ALGEBRA["matrix_norm"]


class _Extreme(NamedTuple):
    values: Any
    indices: Any


def _over(name: str) -> Callable[..., Any]:
    def reduced(a: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        # Torch takes an empty tuple for all axes, the standard for none.
        axis = None if dim is None or (not isinstance(dim, int) and not len(dim)) else dim
        axis = axis if axis is None or isinstance(axis, int) else tuple(axis)
        return op(name, a if dtype is None else a.to(dtype), axis=axis, keepdims=keepdim)

    return reduced


_sum, _mean = _over("sum"), _over("mean")


def _extreme(name: str) -> Callable[..., Any]:
    def extreme(a: Any, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
        other = named.pop("b", dim)
        if is_array(other):
            return op(f"{name}imum", a, other)
        if dim is None:
            return op(name, a)
        indices = getattr(torch, name)(innermost(a), dim, keepdim=True).indices
        # Torch's derivative is that of the entry whose index it gives, not the mean of tied ones.
        there = torch.zeros_like(innermost(a)).scatter(dim, indices, 1.0) > 0
        values = op("sum", op("where", there, a, 0.0), axis=dim, keepdims=keepdim)
        return _Extreme(values, indices if keepdim else indices.squeeze(dim))

    return extreme


def _spread(a: Any, dim: Any, correction: float, keepdim: bool) -> Any:
    return op(
        "var",
        a,
        axis=dim if dim is None or isinstance(dim, int) else tuple(dim),
        correction=correction,
        keepdims=keepdim,
    )


def _var(a: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Any:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    return _spread(a, dim, float(unbiased) if correction is None else correction, keepdim)


def _std(a: Any, *args: Any, **options: Any) -> Any:
    return op("sqrt", _var(a, *args, **options))


def _prod(a: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return op("prod", a if dtype is None else a.to(dtype), axis=dim, keepdims=keepdim)


def _cumulative(name: str) -> Callable[..., Any]:
    def cumulative(a: Any, dim: int, *, dtype: Any = None) -> Any:
        a = a if dtype is None else a.to(dtype)
        return op(name, a, axis=dim) if a.ndim else a

    return cumulative


def _nan_left_out(function: Callable[..., Any]) -> Callable[..., Any]:
    def of_numbers(a: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        return function(a, innermost(a).isnan(), dim, keepdim, dtype=dtype)

    return of_numbers


def _nansum(a: Any, missing: Any, dim: Any, keepdim: bool, *, dtype: Any) -> Any:
    return _sum(op("where", missing, 0.0, a), dim, keepdim, dtype=dtype)


def _nanmean(a: Any, missing: Any, dim: Any, keepdim: bool, *, dtype: Any) -> Any:
    return _nansum(a, missing, dim, keepdim, dtype=dtype) / _sum((~missing).to(a.dtype), dim, keepdim)


def _logcumsumexp(a: Any, dim: int) -> Any:
    """By the steps 1, 2, 4, … of cumulative sums, each a logaddexp: no exponential overflows."""
    along, step = dim % max(a.ndim, 1), 1
    before = (slice(None),) * along
    while a.ndim and step < a.shape[along]:
        later = op("logaddexp", a[(*before, slice(step, None))], a[(*before, slice(None, -step))])
        a = op("concat", [a[(*before, slice(None, step))], later], axis=along)
        step *= 2
    return a


def _steps(y: Any, x: Any, dx: Any, dim: int) -> Any:
    """The areas of the trapezoids between neighbours."""
    along = dim % y.ndim
    before = (slice(None),) * along
    means = (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2
    if x is None:
        return means * (1.0 if dx is None else dx)
    widths = x[1:] - x[:-1] if x.ndim == 1 else op("diff", x, axis=along)
    if x.ndim == 1:
        widths = op("reshape", widths, (-1, *[1] * (y.ndim - along - 1)))
    return means * widths


def _trapezoid(a: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    return op("sum", _steps(a, x, dx, dim), axis=dim)


def _cumulative_trapezoid(a: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    return op("cumulative_sum", _steps(a, x, dx, dim), axis=dim)


def _gradient(a: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> list[Any]:
    """Finite differences, which are linear: of every coefficient."""
    options = {"spacing": spacing, "edge_order": edge_order} | ({} if dim is None else {"dim": dim})
    parts = range(len(torch.gradient(innermost(a), **options)))
    return [linearly(lambda c, i=i: torch.gradient(c, **options)[i], a) for i in parts]  # type: ignore[misc]


def _cov(a: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    if fweights is not None or aweights is not None:
        raise MissingRule("no rule for cov with weights: write it with weighted means")
    a = op("reshape", a, (1, -1)) if a.ndim < 2 else a
    rest = a - op("mean", a, axis=1, keepdims=True)
    turned = op("matrix_transpose", op("conj", rest) if innermost(a).is_complex() else rest)
    product = op("matmul", rest, turned) / (a.shape[1] - correction)
    return product[0, 0] if product.shape == (1, 1) else product


def _corrcoef(a: Any) -> Any:
    covariance = _cov(a)
    if not covariance.ndim:
        return covariance / covariance
    deviation = op("sqrt", op("real", op("diagonal", covariance)))
    return covariance / op("outer", deviation, deviation)


def _with_mean(function: Callable[..., Any]) -> Callable[..., Any]:
    def both(a: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Any:
        if isinstance(dim, bool):  # var_mean(unbiased)
            dim, unbiased = None, dim
        return (function(a, dim, unbiased, keepdim, correction=correction), _mean(a, dim, keepdim))

    return both


def _diff(a: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    return op("diff", a, axis=dim, n=n, prepend=prepend, append=append)


def _norm(a: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    a = a if dtype is None else a.to(dtype)
    return _vector_norm(a, 2 if p == "fro" or p is None else p, dim, keepdim)


def _vector_norm(a: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A002 torch's name
    axis = dim if dim is None or isinstance(dim, int) else tuple(dim)
    if ord == 1:
        return op("sum", op("abs", a), axis=axis, keepdims=keepdim)
    return op("vector_norm", a, axis=axis, keepdims=keepdim, ord=ord)


def _matrix_or_vector_norm(a: Any, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A002
    of_vectors = a.ndim == 1 if dim is None else isinstance(dim, int)
    if ord is not None and ord != "fro" and not of_vectors:
        return _matrix_norm(a, ord, (-2, -1) if dim is None else dim, keepdim)
    return _norm(a, "fro" if ord is None else ord, dim, keepdim)


def _normalize(a: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    return a / op("maximum", _norm(a, p, dim, True), eps)


def _shifted(a: Any, dim: int) -> Any:
    """a minus its largest entry along ``dim``, a constant, so that no exponential overflows."""
    largest = innermost(a).detach().amax(dim, keepdim=True)
    return largest, a - largest


def _logsumexp(a: Any, dim: Any, keepdim: bool = False) -> Any:
    largest, rest = _shifted(a, dim)
    return op("log", _sum(op("exp", rest), dim, keepdim)) + (largest if keepdim else largest.squeeze(dim))


def softmax(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    rest, dim = _before_softmax(a, dim, _stacklevel, dtype)
    powers = op("exp", rest)
    return powers / _sum(powers, dim, True)


def _log_softmax(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    rest, dim = _before_softmax(a, dim, _stacklevel, dtype)
    return rest - op("log", _sum(op("exp", rest), dim, True))


def _softmin(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    return softmax(-a, dim, _stacklevel, dtype)


def _before_softmax(a: Any, dim: int | None, stacklevel: Any, dtype: Any) -> tuple[Any, int]:
    """The shifted argument, and the axis. torch.softmax takes the dtype where F.softmax takes a stack level."""
    if isinstance(stacklevel, torch.dtype):
        dtype = stacklevel
    if dim is None:  # torch's old guess
        dim = 0 if a.ndim in (0, 1, 3) else 1
    return _shifted(a if dtype is None else a.to(dtype), dim)[1], dim


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "amax": _over("max"),
    "amin": _over("min"),
    "corrcoef": _corrcoef,
    "cov": _cov,
    "cumprod": _cumulative("cumulative_prod"),
    "cumsum": _cumulative("cumulative_sum"),
    "cumulative_trapezoid": _cumulative_trapezoid,
    "diff": _diff,
    "gradient": _gradient,
    "linalg_norm": _matrix_or_vector_norm,
    "logcumsumexp": _logcumsumexp,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "max": _extreme("max"),
    "mean": _mean,
    "min": _extreme("min"),
    "nanmean": _nan_left_out(_nanmean),
    "nansum": _nan_left_out(_nansum),
    "norm": _norm,
    "normalize": _normalize,
    "prod": _prod,
    "softmax": softmax,
    "softmin": _softmin,
    "std": _std,
    "std_mean": _with_mean(_std),
    "sum": _sum,
    "trapezoid": _trapezoid,
    "trapz": _trapezoid,
    "var": _var,
    "var_mean": _with_mean(_var),
    "vector_norm": _vector_norm,
}
"""Torch's name → function of jets, tensors and numbers."""
