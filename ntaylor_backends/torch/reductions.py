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

__all__ = ["REDUCTIONS", "softmax"]


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


def _prod(a: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        a, dim = op("reshape", a, (-1,)), 0
    parts = op("unstack", a, axis=dim)
    total = parts[0]
    for part in parts[1:]:
        total = total * part
    return op("expand_dims", total, axis=dim) if keepdim else total


def _cumsum(a: Any, dim: int) -> Any:
    return op("cumulative_sum", a, axis=dim)


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
        raise MissingRule(f"no rule for linalg.norm(ord={ord!r}) of a matrix, only for the 2-norm of the entries")
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
    "cumsum": _cumsum,
    "diff": _diff,
    "linalg_norm": _matrix_or_vector_norm,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "max": _extreme("max"),
    "mean": _mean,
    "min": _extreme("min"),
    "norm": _norm,
    "normalize": _normalize,
    "prod": _prod,
    "softmax": softmax,
    "softmin": _softmin,
    "std": _std,
    "sum": _sum,
    "var": _var,
    "vector_norm": _vector_norm,
}
"""Torch's name → function of jets, tensors and numbers."""
