"""Torch's losses and distances, in the operations of the array API standard.

Arguments are named as in ``elementwise``; ``target`` may depend on t as ``a`` may.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ntaylor.namespace import MissingRule, is_array
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.indexing import gather
from ntaylor_backends.torch.reductions import REDUCTIONS
from ntaylor_backends.torch.special import SPECIAL

__all__ = ["LOSSES"]

_log_softmax = REDUCTIONS["log_softmax"]


def _reduced(loss: Any, reduction: Any) -> Any:
    if isinstance(reduction, int):  # the compiled functions'
        reduction = ("none", "mean", "sum")[reduction]
    if reduction == "batchmean":
        return op("sum", loss) / loss.shape[0]
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be none, mean or sum, got {reduction!r}")
    return loss if reduction == "none" else op(reduction, loss)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loss entry by entry, with torch's options for how entries are weighed and put together."""

    def loss(
        a: Any, target: Any, *args: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
        reduction: Any = "mean", **options: Any,
    ) -> Any:  # fmt: skip
        if size_average is not None or reduce is not None:
            raise MissingRule("no rule for losses with size_average or reduce, which torch has given up: use reduction")
        entries = function(a, target, *args, **options)
        if weight is None:
            return _reduced(entries, reduction)
        if reduction == "mean" and function in (_square, _modulus, _huber):  # torch's weighted mean
            return op("sum", entries * weight) / torch.sum(torch.broadcast_to(weight, tuple(entries.shape)))
        return _reduced(entries * weight, reduction)

    return loss


def _square(a: Any, target: Any) -> Any:
    return (a - target) ** 2


def _modulus(a: Any, target: Any) -> Any:
    return op("abs", a - target)


def _huber(a: Any, target: Any, delta: float = 1.0) -> Any:
    apart = a - target
    modulus = op("abs", apart)
    return op("where", op("less", modulus, delta), apart * apart * 0.5, (modulus - 0.5 * delta) * delta)


def _smooth_l1(a: Any, target: Any, beta: float = 1.0) -> Any:
    return _modulus(a, target) if beta == 0 else _huber(a, target, beta) / beta


def _soft_margin(a: Any, target: Any) -> Any:
    return op("softplus", -(target * a))


def _kl_div(a: Any, target: Any, log_target: bool = False) -> Any:
    if log_target:
        return op("exp", target) * (target - a)
    return SPECIAL["xlogy"](target, target) - target * a


def _binary_cross_entropy(a: Any, target: Any) -> Any:
    # Torch holds the logarithms above −100.
    return -(target * op("maximum", op("log", a), -100.0) + (1 - target) * op("maximum", op("log1p", -a), -100.0))


def _with_logits(a: Any, target: Any, pos_weight: Any = None) -> Any:
    positive = target * op("softplus", -a)
    return (positive if pos_weight is None else positive * pos_weight) + (1 - target) * op("softplus", a)


def _gaussian_nll(a: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6) -> Any:
    var = torch.clamp(var, min=eps) if is_array(var) else torch.full((), max(var, eps), dtype=a.dtype, device=a.device)
    loss = (torch.log(var) + (a - target) ** 2 / var) * 0.5
    return loss + 0.5 * math.log(2 * math.pi) if full else loss


def _poisson_nll(a: Any, target: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> Any:
    if full:
        raise MissingRule("no rule for poisson_nll_loss(full=True): add Stirling's terms of the target yourself")
    return op("exp", a) - target * a if log_input else a - target * op("log", a + eps)


def _nll(a: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: Any = "mean") -> Any:
    """−a at the class that the target names, weighed."""
    axis = 1 if a.ndim > 1 else 0
    kept = target != ignore_index
    places = torch.where(kept, target, 0).unsqueeze(axis)
    scores = -op("squeeze", gather(a, axis, places), axis=axis)
    weights = kept.to(a.dtype) if weight is None else weight[places.squeeze(axis)] * kept
    loss = op("where", kept, scores * weights, 0.0)
    return op("sum", loss) / torch.sum(weights) if reduction in ("mean", 1) else _reduced(loss, reduction)


def _nll_loss(
    a: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: Any = "mean",
) -> Any:  # fmt: skip
    return _nll(a, target, weight, ignore_index, reduction)


def _cross_entropy(
    a: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: Any = "mean", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    axis = 1 if a.ndim > 1 else 0
    logs = _log_softmax(a, axis)
    if target.dtype.is_floating_point:
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / a.shape[axis]
        products = logs * target
        if weight is not None:
            products = products * torch.reshape(weight, (-1, *[1] * (a.ndim - axis - 1)))
        loss = -op("sum", products, axis=axis)
        return op("sum", loss) / max(math.prod(loss.shape), 1) if reduction == "mean" else _reduced(loss, reduction)
    if label_smoothing:
        raise MissingRule("no rule for cross_entropy(label_smoothing=…) of class numbers: pass F.one_hot(target) as "
                          "floating probabilities")  # fmt: skip
    return _nll(logs, target, weight, ignore_index, reduction)


def _margin(function: Callable[..., Any]) -> Callable[..., Any]:
    def loss(*args: Any, reduction: Any = "mean", **options: Any) -> Any:
        options = {key: value for key, value in options.items() if key not in ("size_average", "reduce")}
        return _reduced(function(*args, **options), reduction)

    return loss


def _cosine_embedding(input1: Any, input2: Any, target: Any, margin: float = 0.0) -> Any:
    # Torch's own guard of the lengths here, which is another than that of cosine_similarity.
    squares = [torch.sum(c * c, -1) + 1e-12 for c in (input1, input2)]
    cosine = torch.sum(input1 * input2, -1) / torch.sqrt(squares[0] * squares[1])
    apart = op("maximum", cosine - margin, 0.0)
    return op("where", target == 1, 1 - cosine, apart)


def _margin_ranking(input1: Any, input2: Any, target: Any, margin: float = 0.0) -> Any:
    return op("maximum", -target * (input1 - input2) + margin, 0.0)


def _hinge_embedding(a: Any, target: Any, margin: float = 1.0) -> Any:
    return op("where", target == 1, a, op("maximum", margin - a, 0.0))


def _triplet_margin(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False
) -> Any:
    near, far = _pairwise_distance(anchor, positive, p, eps), _pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = op("minimum", far, _pairwise_distance(positive, negative, p, eps))
    return op("maximum", near - far + margin, 0.0)


# --- distances ----------------------------------------------------------------------------------


def _cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    # By torch's names, for one of the two may be a plain tensor.
    lengths = [torch.clamp(torch.linalg.vector_norm(c, 2, dim), min=eps) for c in (x1, x2)]
    return op("sum", x1 * x2, axis=dim) / (lengths[0] * lengths[1])


def _pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    return torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim)


def _cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    apart = op("expand_dims", x1, axis=-2) - op("expand_dims", x2, axis=-3)
    return op("vector_norm", apart, ord=p, axis=-1)


def _dist(a: Any, b: Any, p: float = 2) -> Any:
    return op("vector_norm", a - b, ord=p)


LOSSES: dict[str, Callable[..., Any]] = {
    "binary_cross_entropy": _elementwise(_binary_cross_entropy),
    "binary_cross_entropy_with_logits": _elementwise(_with_logits),
    "cdist": _cdist,
    "cosine_embedding_loss": _margin(_cosine_embedding),
    "cosine_similarity": _cosine_similarity,
    "cross_entropy": _cross_entropy,
    "dist": _dist,
    "gaussian_nll_loss": _elementwise(_gaussian_nll),
    "hinge_embedding_loss": _margin(_hinge_embedding),
    "huber_loss": _elementwise(_huber),
    "kl_div": _elementwise(_kl_div),
    "l1_loss": _elementwise(_modulus),
    "margin_ranking_loss": _margin(_margin_ranking),
    "mse_loss": _elementwise(_square),
    "nll_loss": _nll_loss,
    "nll_loss_nd": _nll_loss,
    "pairwise_distance": _pairwise_distance,
    "poisson_nll_loss": _elementwise(_poisson_nll),
    "smooth_l1_loss": _elementwise(_smooth_l1),
    "soft_margin_loss": _elementwise(_soft_margin),
    "triplet_margin_loss": _margin(_triplet_margin),
}
"""Torch's name → function of jets, tensors and numbers."""
