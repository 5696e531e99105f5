"""Convolutions, pooling, padding and resampling of images and signals: linear in the image, convolutions in both.

Arguments are named as in ``elementwise`` and ``shapes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from ntaylor.array_object import innermost
from ntaylor.namespace import MissingRule
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.indexing import gather
from ntaylor_backends.torch.maps import bilinear, linear, linearly

__all__ = ["CONVOLUTIONS"]


def _convolution(name: str, axes: int) -> Callable[..., Any]:
    function = getattr(F, name)

    def convolution(a: Any, weight: Any, bias: Any = None, *args: Any, **options: Any) -> Any:
        product = bilinear(lambda c, w: function(c, w, None, *args, **options), a, weight)
        return product if bias is None else product + op("reshape", bias, (-1, *[1] * axes))

    return convolution


def _conv_tbc(a: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    return bilinear(lambda c, w: torch.conv_tbc(c, w, bias.new_zeros(bias.shape), pad), a, weight) + bias


def _pad(a: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    pad = list(pad)
    padded = linearly(lambda c: F.pad(c, pad, mode), a)
    if mode != "constant" or not value:
        return padded
    return padded + F.pad(torch.zeros_like(innermost(a)), pad, mode, value)


def _max_pool(name: str, axes: int, keeps_indices: bool) -> Callable[..., Any]:
    """Which entry of a window is the largest is locally constant: the entry of each coefficient at its place."""
    function = getattr(F, name)

    def pooled(a: Any, *args: Any, return_indices: bool = False, **options: Any) -> Any:
        _, indices = function(innermost(a).detach(), *args, return_indices=True, **options)
        lead = tuple(a.shape[:-axes])
        flat = op("reshape", a, (*lead, math.prod(a.shape[-axes:])))
        values = gather(flat, -1, torch.reshape(indices, (*lead, math.prod(indices.shape[-axes:]))))
        values = op("reshape", values, tuple(indices.shape))
        return (values, indices) if keeps_indices or return_indices else values

    return pooled


def _grid_sample(a: Any, grid: Any, *args: Any, **options: Any) -> Any:
    if innermost(grid) is not grid:
        raise MissingRule(
            "no rule for grid_sample of a grid that depends on x, in which it is only piecewise differentiable: write "
            "the interpolation with torch.floor, indexing and products"
        )
    return linearly(lambda c: F.grid_sample(c, grid, *args, **options), a)


_LINEAR = {
    "adaptive_avg_pool1d": F.adaptive_avg_pool1d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "adaptive_avg_pool3d": F.adaptive_avg_pool3d,
    "affine_grid": F.affine_grid,
    "avg_pool1d": F.avg_pool1d,
    "avg_pool2d": F.avg_pool2d,
    "avg_pool3d": F.avg_pool3d,
    "channel_shuffle": F.channel_shuffle,
    "fold": F.fold,
    "interpolate": F.interpolate,
    "istft": torch.istft,
    "max_unpool1d": F.max_unpool1d,
    "max_unpool2d": F.max_unpool2d,
    "max_unpool3d": F.max_unpool3d,
    "native_channel_shuffle": F.native_channel_shuffle,
    "pixel_shuffle": F.pixel_shuffle,
    "pixel_unshuffle": F.pixel_unshuffle,
    "stft": torch.stft,
    "unfold": F.unfold,
    "upsample": F.interpolate,
}

CONVOLUTIONS: dict[str, Callable[..., Any]] = {
    **{name: linear(function, name) for name, function in _LINEAR.items()},
    **{f"conv{d}d": _convolution(f"conv{d}d", d) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _convolution(f"conv_transpose{d}d", d) for d in (1, 2, 3)},
    **{f"max_pool{d}d": _max_pool(f"max_pool{d}d", d, False) for d in (1, 2, 3)},
    **{f"max_pool{d}d_with_indices": _max_pool(f"max_pool{d}d", d, True) for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": _max_pool(f"adaptive_max_pool{d}d", d, False) for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d_with_indices": _max_pool(f"adaptive_max_pool{d}d", d, True) for d in (1, 2, 3)},
    "constant_pad_nd": lambda a, pad, value=0: _pad(a, pad, "constant", value),
    "conv_tbc": _conv_tbc,
    "grid_sample": _grid_sample,
    "pad": _pad,
}
"""Torch's name → function of jets, tensors and numbers."""
