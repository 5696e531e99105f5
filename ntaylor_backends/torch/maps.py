"""Functions of torch's that are linear in what depends on t: they act on every Taylor coefficient by themselves.

What the array API standard has no name for, convolutions, pooling, folding and scattering among it, needs no rule but
this: a linear function of a series is that of each coefficient, a bilinear one is Leibniz' rule of the core. Torch is
called with tensors only, also where a coefficient belongs to several directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ntaylor.array_object import innermost, objects_in
from ntaylor.bundles import through
from ntaylor.jets import Jet
from ntaylor.namespace import MissingRule
from ntaylor.series import Series, leibniz

__all__ = ["bilinear", "in_both", "linear", "linearly"]


def linearly(function: Callable[[Any], Any], a: Any) -> Any:
    """``function`` of a, of which it is linear: of each coefficient that is there."""
    return a._mapped(lambda c: through(function, (c,))) if isinstance(a, Jet) else function(a)


def linear(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """The entry of a torch function that is linear in its first argument and takes no jet as another."""

    def of_coefficients(a: Any, *args: Any, **options: Any) -> Any:
        if any(True for _ in objects_in((*args, *options.values()))):
            raise MissingRule(
                f"no rule for {name or function.__name__} with a jet in any place but the first: pass x.detach() for a "
                "constant there"
            )
        return linearly(lambda c: function(c, *args, **options), a)

    return of_coefficients


def bilinear(product: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """``product`` of a and b, linear in each, of which at least one is a jet; a constant may be a tensor."""
    jets = [c for c in (a, b) if isinstance(c, Jet)]
    if not jets:
        return product(a, b)
    level = max([jet.level for jet in jets])
    own = [jet for jet in jets if jet.level == level]
    order = min([jet.order for jet in own])
    u, v = (Series(c._series[: order + 1]) if isinstance(c, Jet) and c.level == level else c for c in (a, b))
    return type(own[0])(leibniz(lambda c, d: through(product, (c, d)), u, v).truncated(order), order, level=level)


def in_both(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """``function(a, b)``, linear in the two together, as what puts entries of b among those of a."""
    of_a = linearly(lambda c: function(c, torch.zeros_like(innermost(b))), a)
    return of_a + linearly(lambda c: function(torch.zeros_like(innermost(a)), c), b)
