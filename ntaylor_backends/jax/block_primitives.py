"""A dense layer written out, of a jet whose coefficients are one array: one product for all orders, and a bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.blocks import Block
from ntaylor.jets import Jet
from ntaylor_backends.jax.block_activation import Shifted

__all__ = ["OF_BLOCKS"]


def _product(primitive: Any, args: Sequence[Any], params: Mapping[str, Any]) -> Jet | None:
    """A jet's last axis by a matrix, in one product of all orders' rows; None if it is another product."""
    u, matrix = args
    axes, batches = params["dimension_numbers"]
    if not isinstance(u, Jet) or not isinstance(u._series, Block) or not isinstance(matrix, jax.Array):
        return None
    if matrix.ndim != 2 or any(map(len, batches)) or tuple(axes[0]) != (u.ndim - 1,) or params.get("out_sharding"):
        return None
    rows = u._series.array
    flat = jnp.reshape(rows, (math.prod(rows.shape[:-1]), rows.shape[-1]))
    v = primitive.bind(flat, matrix, **{**params, "dimension_numbers": (((1,), tuple(axes[1])), ((), ()))})
    return Jet(Block(jnp.reshape(v, (*rows.shape[:-1], v.shape[-1]))), u.order, level=u.level)


def _sum(primitive: Any, args: Sequence[Any], params: Mapping[str, Any]) -> Jet | None:
    """A jet and a constant, such as a dense layer's bias; None if it is another sum."""
    u, shift = args if isinstance(args[0], Jet) else args[::-1]
    if not isinstance(u._series, Block) or not isinstance(shift, jax.Array) or shift.dtype != u.dtype:
        return None
    if jnp.broadcast_shapes(shift.shape, u.shape) != u.shape:
        return None
    return Jet(Shifted(u._series.array, shift), u.order, level=u.level)


OF_BLOCKS: dict[str, Callable[..., Jet | None]] = {"dot_general": _product, "add": _sum}
"""Primitive -> (primitive, arguments, parameters) -> the jet; None where the primitive's own rule is to be used."""
