"""What layers of ``torch.nn`` call: normalisations and dropout, in the operations of the array API standard.

Arguments are named as in ``elementwise`` and ``shapes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ntaylor.namespace import MissingRule
from ntaylor_backends.torch.elementwise import op

__all__ = ["LAYERS"]


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


def _instance_norm(
    a: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5, cudnn_enabled: bool = False,
) -> Any:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(a, running_mean, running_var, weight, bias, eps=eps)
    if running_mean is not None:
        raise MissingRule("no rule for instance_norm in training with running statistics: call model.eval()")
    same = _standardised(a, tuple(range(2, a.ndim)), eps)
    return _scaled(same, _by_channel(a, weight), _by_channel(a, bias))


LAYERS: dict[str, Callable[..., Any]] = {
    "batch_norm": _batch_norm,
    "glu": _glu,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    **{f"dropout{d}d": _dropout for d in (1, 2, 3)},
    **{f"{kind}dropout": _dropout for kind in ("", "alpha_", "feature_", "feature_alpha_")},
}
"""Torch's name → function of jets, tensors and numbers."""
