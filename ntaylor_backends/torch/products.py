"""Torch's products, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``. A dense layer is the core's: one matrix product for the
coefficients of all orders.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ntaylor.array_object import innermost
from ntaylor.jets import Jet
from ntaylor.layers import Dense
from ntaylor.namespace import MissingRule, describe
from ntaylor_backends.torch.elementwise import op

__all__ = ["PRODUCTS"]


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
    terms, right = _named_axes(equation.replace(" ", ""), [a.ndim for a in operands])
    if any(len(set(t)) < len(t) for t in terms):
        raise MissingRule(f"no rule for einsum({equation!r}): write it without an index twice in one operand")
    while len(terms) > 1:
        kept = "".join(dict.fromkeys(c for c in terms[0] + terms[1] if c in "".join(terms[2:]) + right))
        operands = (_product_of_two(terms[0], terms[1], kept, *operands[:2]), *operands[2:])
        terms = [kept, *terms[2:]]
    return _arranged(operands[0], terms[0], right)


def _named_axes(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The indices of every operand and of the result, those that "..." and a missing "->" stand for among them."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum({equation!r}) names {len(terms)} operands, got {len(ndims)}")
    if not arrow:  # alphabetically, what is there once
        right = "..." * ("..." in left) + "".join(sorted(c for c in set(left) - set(".,") if left.count(c) == 1))
    free = [c for c in string.ascii_letters if c not in equation]
    counts = [ndim - len(t.replace("...", "")) for t, ndim in zip(terms, ndims, strict=True)]
    for t, count in zip(terms, counts, strict=True):
        if count < 0 or (count and "..." not in t):
            raise ValueError(f"einsum({equation!r}) does not fit operands of {', '.join(map(str, ndims))} axes")
    names = "".join(free[: max(counts)])  # of the axes that "..." stands for, aligned at the last
    terms = [t.replace("...", names[len(names) - count :]) for t, count in zip(terms, counts, strict=True)]
    return terms, right.replace("...", names)


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
    return math.prod([sizes[name] for name in names])  # a list, which torch.compile can follow


PRODUCTS: dict[str, Callable[..., Any]] = {
    "Tensor.matmul": _matmul_of_tensor,
    "__matmul__": _matmul,
    "__rmatmul__": lambda a, b: _matmul(b, a),
    "addmm": _addmm,
    "baddbmm": _addmm,
    "bilinear": _bilinear,
    "bmm": _matmul,
    "cross": _cross,
    "dot": _dot,
    "einsum": _einsum,
    "ger": lambda a, b: op("outer", a, b),
    "inner": _inner,
    "linalg_cross": lambda a, b, dim=-1: _cross(a, b, dim),
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "mv": _matmul,
    "outer": lambda a, b: op("outer", a, b),
    "tensordot": _tensordot,
    "trace": lambda a: op("sum", a.diagonal()),
    "vdot": lambda a, b: op("sum", op("conj", a) * b),
    "vecdot": _vecdot,
}
"""Torch's name → function of jets, tensors and numbers."""
