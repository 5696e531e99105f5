"""Torch's products, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``. A dense layer is the core's: one matrix product for the
coefficients of all orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ntaylor.array_object import innermost
from ntaylor.blocks import arrays_in
from ntaylor.jets import Jet
from ntaylor.layers import Coefficients, Dense
from ntaylor.namespace import MissingRule, describe
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.nodes import propagate
from ntaylor_backends.torch.sequential import Linear

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
        return type(a)(_pushed(weight, bias, a._series, a.order), a.order, level=a.level)
    product = op("matmul", a, weight.T if weight.ndim > 1 else weight)
    return product if bias is None else product + bias


def _pushed(weight: Any, bias: Any, u: Coefficients, order: int) -> Coefficients:
    if all(isinstance(c, torch.Tensor) for c in arrays_in(u)) and isinstance(weight, torch.Tensor):
        return propagate(Linear(weight, bias), u, order)
    return Dense(weight.T, bias).push(u, order)[0]


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
    return op("linalg.cross", a, b, axis=tuple(a.shape).index(3) if dim is None else dim)


def _einsum(equation: Any, *operands: Any) -> Any:
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return op("einsum", equation, *operands)


def _addbmm(a: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * a + alpha * op("sum", op("matmul", batch1, batch2), axis=0)


def _addr(a: Any, vec1: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * a + alpha * op("outer", vec1, b)


def _addmv(a: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * a + alpha * op("matmul", mat, vec)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "Tensor.matmul": _matmul_of_tensor,
    "__matmul__": _matmul,
    "__rmatmul__": lambda a, b: _matmul(b, a),
    "addbmm": _addbmm,
    "addmm": _addmm,
    "addmv": _addmv,
    "addr": _addr,
    "baddbmm": _addmm,
    "bilinear": _bilinear,
    "bmm": _matmul,
    "cross": _cross,
    "dot": _dot,
    "einsum": _einsum,
    "ger": lambda a, b: op("outer", a, b),
    "inner": _inner,
    "kron": lambda a, b: op("kron", a, b),
    "linalg_cross": lambda a, b, dim=-1: _cross(a, b, dim),
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "mv": _matmul,
    "outer": lambda a, b: op("outer", a, b),
    "tensordot": _tensordot,
    "trace": lambda a: op("trace", a),
    "vdot": lambda a, b: op("sum", op("conj", a) * b),
    "vecdot": _vecdot,
}
"""Torch's name → function of jets, tensors and numbers."""
