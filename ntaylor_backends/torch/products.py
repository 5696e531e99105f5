"""Torch's sums, products and normalisations, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``. A dense layer is the core's: one matrix product for the
coefficients of all orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from ntaylor.array_object import innermost
from ntaylor.jets import Jet
from ntaylor.layers import Dense
from ntaylor.namespace import MissingRule, describe, is_array
from ntaylor_backends.torch.elementwise import op

__all__ = ["PRODUCTS"]


class _Extreme(NamedTuple):
    values: Any
    indices: Any


# --- over axes ------------------------------------------------------------------------------------


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


def _softmax(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    rest, dim = _before_softmax(a, dim, _stacklevel, dtype)
    powers = op("exp", rest)
    return powers / _sum(powers, dim, True)


def _log_softmax(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    rest, dim = _before_softmax(a, dim, _stacklevel, dtype)
    return rest - op("log", _sum(op("exp", rest), dim, True))


def _softmin(a: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    return _softmax(-a, dim, _stacklevel, dtype)


def _before_softmax(a: Any, dim: int | None, stacklevel: Any, dtype: Any) -> tuple[Any, int]:
    """The shifted argument, and the axis. torch.softmax takes the dtype where F.softmax takes a stack level."""
    if isinstance(stacklevel, torch.dtype):
        dtype = stacklevel
    if dim is None:  # torch's old guess
        dim = 0 if a.ndim in (0, 1, 3) else 1
    return _shifted(a if dtype is None else a.to(dtype), dim)[1], dim


# --- of two ---------------------------------------------------------------------------------------


def _matmul(a: Any, b: Any) -> Any:
    _check_dtypes("matmul", a, b)
    return op("matmul", a, b)


def _matmul_of_tensor(a: Any, b: Any) -> Any:
    if torch.compiler.is_compiling():
        # Dynamo (torch 2.13) hands jet @ tensor on as this method, with the operands in the wrong order.
        raise MissingRule("no rule for jet @ tensor under torch.compile: write torch.matmul(a, b), or F.linear")
    return _matmul(a, b)


def _check_dtypes(name: str, a: Any, b: Any) -> None:
    if a.dtype != b.dtype:
        raise TypeError(
            f"dtypes were mixed in {name}: {describe(innermost(a))} and {describe(innermost(b))}. Nothing is promoted: "
            f"pass x.to({b.dtype}), or model.to({a.dtype})"
        )


def _linear(a: Any, weight: Any, bias: Any = None) -> Any:
    _check_dtypes("linear", a, weight)
    dense = isinstance(a, Jet) and weight.ndim == 2 and (bias is None or bias.ndim == 1)
    if dense and not isinstance(weight, Jet) and not isinstance(bias, Jet):
        pushed = Dense(weight.T, bias).push(a._series, a.order)[0]
        return type(a)(pushed, a.order, level=a.level)
    product = op("matmul", a, weight.T if weight.ndim > 1 else weight)
    return product if bias is None else product + bias


def _bilinear(a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    out, width, other = weight.shape
    left = op("matmul", a, torch.reshape(torch.permute(weight, (1, 0, 2)), (width, out * other)))
    left = op("reshape", left, (*a.shape[:-1], out, other))
    product = op("sum", left * op("expand_dims", b, axis=-2), axis=-1)
    return product if bias is None else product + bias


def _addmm(a: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * a + alpha * op("matmul", mat1, mat2)


def _dot(a: Any, b: Any) -> Any:
    return op("sum", a * b)


def _vecdot(a: Any, b: Any, dim: int = -1) -> Any:
    return op("vecdot", a, b, axis=dim)


def _inner(a: Any, b: Any) -> Any:
    return op("tensordot", a, b, axes=((a.ndim - 1,), (b.ndim - 1,))) if a.ndim and b.ndim else a * b


def _tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    return op("tensordot", a, b, axes=dims)


def _cross(a: Any, b: Any, dim: int | None = None) -> Any:
    if dim is None:
        dim = tuple(a.shape).index(3)

    def turned(c: Any, by: int) -> Any:
        return op("roll", c, by, axis=dim)

    return turned(a, -1) * turned(b, -2) - turned(a, -2) * turned(b, -1)


def _einsum(equation: Any, *operands: Any) -> Any:
    """Of one or two operands, as a transpose, sums and one matrix product; of more, pair by pair from the left."""
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or any(len(set(t)) < len(t) for t in terms) or len(terms) != len(operands):
        raise MissingRule(
            f"no rule for einsum({equation!r}): write it with ->, without ellipses and without an index twice in one "
            "operand"
        )
    while len(terms) > 1:
        kept = "".join(dict.fromkeys(c for c in terms[0] + terms[1] if c in "".join(terms[2:]) + right))
        operands = (_product_of_two(terms[0], terms[1], kept, *operands[:2]), *operands[2:])
        terms = [kept, *terms[2:]]
    return _arranged(operands[0], terms[0], right)


def _arranged(a: Any, have: str, want: str) -> Any:
    """Axes named ``have`` summed to those of ``want``, in their order."""
    gone = tuple(i for i, c in enumerate(have) if c not in want)
    a = op("sum", a, axis=gone) if gone else a
    left = [c for c in have if c in want]
    return op("permute_dims", a, tuple(left.index(c) for c in want)) if left != list(want) else a


def _product_of_two(of_a: str, of_b: str, kept: str, a: Any, b: Any) -> Any:
    shared = [c for c in of_a if c in of_b]
    rows = [c for c in of_a if c in kept and c not in of_b]
    columns = [c for c in of_b if c in kept and c not in of_a]
    batch, inner = [c for c in shared if c in kept], [c for c in shared if c not in kept]
    sizes = {**dict(zip(of_a, a.shape, strict=True)), **dict(zip(of_b, b.shape, strict=True))}

    def shaped(c: Any, have: str, *groups: Sequence[str]) -> Any:
        c = _arranged(c, have, "".join(name for group in groups for name in group))
        return op("reshape", c, tuple(sizes[n] for n in groups[0]) + tuple(_count(sizes, g) for g in groups[1:]))

    product = op("matmul", shaped(a, of_a, batch, rows, inner), shaped(b, of_b, batch, inner, columns))
    names = "".join([*batch, *rows, *columns])
    return _arranged(op("reshape", product, tuple(sizes[n] for n in names)), names, kept)


def _count(sizes: dict[str, int], names: Sequence[str]) -> int:
    return math.prod(sizes[name] for name in names)


# --- what layers of torch.nn call -----------------------------------------------------------------


def _layer_norm(a: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return _scaled(_standardised(a, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def _standardised(a: Any, axes: tuple[int, ...], eps: float) -> Any:
    centred = a - op("mean", a, axis=axes, keepdims=True)
    variance = op("mean", centred * centred, axis=axes, keepdims=True)
    return centred * op("pow", variance + eps, -0.5)


def _scaled(a: Any, weight: Any, bias: Any) -> Any:
    a = a if weight is None else a * weight
    return a if bias is None else a + bias


def _rms_norm(a: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(a.dtype).eps if eps is None else eps
    return _scaled(a * op("pow", op("mean", a * a, axis=axes, keepdims=True) + eps, -0.5), weight, None)


def _by_channel(a: Any, values: Any) -> Any:
    return None if values is None else torch.reshape(values, (-1, *[1] * (a.ndim - 2)))


def _group_norm(a: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    groups = op("reshape", a, (a.shape[0], num_groups, -1))
    same = op("reshape", _standardised(groups, (-1,), eps), tuple(a.shape))
    return _scaled(same, _by_channel(a, weight), _by_channel(a, bias))


def _batch_norm(
    a: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training:
        raise MissingRule(
            "no rule for batch_norm in training, where every point's value depends on the batch: call model.eval(), or "
            "use LayerNorm"
        )
    factor = torch.rsqrt(running_var + eps)
    same = (a - _by_channel(a, running_mean)) * _by_channel(a, factor)
    return _scaled(same, _by_channel(a, weight), _by_channel(a, bias))


def _dropout(a: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p > 0:
        raise MissingRule(
            "no rule for dropout in training: its mask is drawn anew at every call, so derivatives along x are of "
            "another function each time. Call model.eval() first"
        )
    return a


def _glu(a: Any, dim: int = -1) -> Any:
    half = a.shape[dim] // 2
    return a.narrow(dim, 0, half) * op("sigmoid", a.narrow(dim, half, half))


def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if dropout_p > 0 or enable_gqa:
        raise MissingRule("no rule for scaled_dot_product_attention with dropout_p > 0 or enable_gqa: leave them out")
    scores = op("matmul", query, op("matrix_transpose", key)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(tuple(scores.shape[-2:]), dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = op("where", attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return op("matmul", _softmax(scores, -1), value)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "__matmul__": _matmul,
    "Tensor.matmul": _matmul_of_tensor,
    "__rmatmul__": lambda a, b: _matmul(b, a),
    "addmm": _addmm,
    "amax": _over("max"),
    "amin": _over("min"),
    "batch_norm": _batch_norm,
    "bilinear": _bilinear,
    "bmm": _matmul,
    "cross": _cross,
    "linalg_cross": lambda a, b, dim=-1: _cross(a, b, dim),
    "linalg_norm": _matrix_or_vector_norm,
    "cumsum": _cumsum,
    "diff": _diff,
    "dot": _dot,
    "einsum": _einsum,
    "ger": lambda a, b: op("outer", a, b),
    "glu": _glu,
    "group_norm": _group_norm,
    "inner": _inner,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "matmul": _matmul,
    "max": _extreme("max"),
    "mean": _mean,
    "min": _extreme("min"),
    "mm": _matmul,
    "mv": _matmul,
    "norm": _norm,
    "normalize": _normalize,
    "outer": lambda a, b: op("outer", a, b),
    "prod": _prod,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
    "softmin": _softmin,
    "std": _std,
    "sum": _sum,
    "tensordot": _tensordot,
    "trace": lambda a: op("sum", a.diagonal()),
    "var": _var,
    "vdot": lambda a, b: op("sum", op("conj", a) * b),
    "vecdot": _vecdot,
    "vector_norm": _vector_norm,
    **{f"{kind}dropout": _dropout for kind in ("", "alpha_", "feature_", "feature_alpha_")},
    **{f"dropout{d}d": _dropout for d in (1, 2, 3)},
}
"""Torch's name → function of jets, tensors and numbers."""
