"""Attention in its mathematical form: softmax(Q Kᵀ/√d + mask) V (Vaswani et al. 2017), and the layer round it.

Arguments are named as in ``elementwise`` and ``shapes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ntaylor.array_object import ArrayObject
from ntaylor.namespace import MissingRule
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.products import PRODUCTS
from ntaylor_backends.torch.reductions import softmax

__all__ = ["ATTENTION"]

_linear = PRODUCTS["linear"]
_NO_DROPOUT = "its mask is drawn anew at every call: call model.eval(), or make the layer with dropout=0"


def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """Torch's scaled_dot_product_attention; a boolean mask is True at what is attended to."""
    if dropout_p > 0:
        raise MissingRule(f"no rule for scaled_dot_product_attention with dropout_p > 0: {_NO_DROPOUT}")
    if is_causal:
        if attn_mask is not None:
            raise ValueError("scaled_dot_product_attention takes attn_mask or is_causal=True, not both")
        ones = torch.ones((query.shape[-2], key.shape[-2]), dtype=torch.bool, device=query.device)
        attn_mask = ones.tril()
    if enable_gqa:  # every key and value head serves several query heads
        times = query.shape[-3] // key.shape[-3]
        key, value = (op("repeat", c, times, axis=-3) for c in (key, value))
    return _attended(query, key, value, attn_mask, scale)[0]


def _attended(query: Any, key: Any, value: Any, mask: Any, scale: float | None = None) -> tuple[Any, Any]:
    """What is attended to, and the weights. A query that may attend to nothing gets zeros, as from torch."""
    scores = op("matmul", query, op("matrix_transpose", key)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is None or isinstance(mask, ArrayObject):
        weights = softmax(scores if mask is None else scores + mask, -1)
        return op("matmul", weights, value), weights
    open_ = mask if mask.dtype == torch.bool else mask > -math.inf
    some = open_.any(-1, keepdim=True)
    # Masked by a choice, not by a sum: of a row that is masked altogether neither value nor gradient is NaN.
    added = scores if mask.dtype == torch.bool else scores + torch.where(open_, mask, 0.0)
    weights = softmax(op("where", open_ | ~some, added, -math.inf), -1)
    weights = op("where", torch.broadcast_to(some, tuple(weights.shape)), weights, 0.0)
    return op("matmul", weights, value), weights


def _multi_head(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any,
    bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any,
    training: bool = True, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Torch's multi_head_attention_forward: (length, batch, width), or (length, width) without a batch."""
    if training and dropout_p > 0:
        raise MissingRule(f"no rule for MultiheadAttention in training with dropout > 0: {_NO_DROPOUT}")
    if static_k is not None or static_v is not None:
        raise MissingRule("no rule for multi_head_attention_forward with static_k or static_v: leave them out")
    batched = query.ndim == 3
    if not batched:
        query, key, value = (op("expand_dims", c, axis=1) for c in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
    width, batch, length = query.shape[-1], query.shape[1], query.shape[0]
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (_linear(c, w, b) for c, w, b in zip((query, key, value), weights, biases, strict=True))
    mask = _masks(attn_mask, key_padding_mask, batch, num_heads, q.dtype)
    if bias_k is not None:
        k, v = (op("concat", [c, b.expand(1, batch, width)], axis=0) for c, b in ((k, bias_k), (v, bias_v)))
    if add_zero_attn:
        k, v = (op("concat", [c, torch.zeros_like(c[:1])], axis=0) for c in (k, v))
    further = (bias_k is not None) + add_zero_attn
    if mask is not None and further:
        mask = torch.nn.functional.pad(mask, (0, further))
    q, k, v = (
        op("permute_dims", op("reshape", c, (c.shape[0], batch, num_heads, width // num_heads)), (1, 2, 0, 3))
        for c in (q, k, v)
    )
    heads, shares = _attended(q, k, v, mask)
    joined = op("reshape", op("permute_dims", heads, (2, 0, 1, 3)), (length, batch, width))
    result = _linear(joined, out_proj_weight, out_proj_bias)
    if need_weights and average_attn_weights:
        shares = op("mean", shares, axis=1)
    if not batched:
        result, shares = op("squeeze", result, axis=1), op("squeeze", shares, axis=0)
    return result, shares if need_weights else None


def _masks(attn_mask: Any, key_padding_mask: Any, batch: int, heads: int, dtype: Any) -> Any:
    """One mask to be added, of shape (batch or 1, heads or 1, length or 1, keys); in torch's, True is masked out."""
    total = None
    if attn_mask is not None:
        shape = tuple(attn_mask.shape)
        total = _added(attn_mask, dtype).reshape((1, 1, *shape) if len(shape) == 2 else (batch, heads, *shape[1:]))
    if key_padding_mask is not None:
        padding = _added(key_padding_mask, dtype).reshape((batch, 1, 1, -1))
        total = padding if total is None else total + padding
    return total


def _added(mask: Any, dtype: Any) -> Any:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)


ATTENTION: dict[str, Callable[..., Any]] = {
    "multi_head_attention_forward": _multi_head,
    "scaled_dot_product_attention": _attention,
}
"""Torch's name → function of jets, tensors and numbers."""
