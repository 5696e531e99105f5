"""Which adapter serves an array.

Floor 1: knows that arrays have types and that packages announce adapters for them, not which
packages. An adapter is found by the entry point (group ``ntaylor.backends``) that bears the name of
the top-level module of the array's type, the first time such an array arrives; so importing
ntaylor imports no array library but NumPy, and anybody can add a backend by declaring an entry point.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

__all__ = ["Adapter", "adapter_for", "serve"]


class Adapter:
    """The slots a backend may fill. A slot left as ``None`` is served by the core.

    An adapter is an instance of a subclass; its slots are methods (or ``None``).
    """

    priority: int = 0
    """Of several arrays in one call, the one whose adapter has the highest priority decides."""

    push: Callable[..., Any] | None = None
    """(f, jet) -> jet: how a function of this library's own kind is pushed forward."""

    propagate: Callable[..., Any] | None = None
    """(network, coefficients, order) -> coefficients of the network's output."""

    activate: Callable[..., Any] | None = None
    """(activation, coefficients, order, parameters) -> (coefficients of the value, pullback).

    The coefficients are differentiable in the backend's own way; the pullback is that of
    ``Activation.closed_form``, for those who sweep back themselves. What does not suit the adapter it hands on
    to ``activation.closed_form``.
    """

    value_and_grad: Callable[..., Any] | None = None
    """(loss, parameters) -> (value, gradient), both of this library; gradient shaped as parameters."""

    joins_orders: bool = True
    """Whether a dense layer multiplies the rows of all orders in one product, or each order in one of its own."""


_CORE = Adapter()
_served: dict[type, Adapter] = {}
_found: dict[type, Adapter] = {}


def serve(kind: type, adapter: Adapter) -> None:
    """Let ``adapter`` serve arrays of type ``kind`` (for array types that live in one process only)."""
    _served[kind] = adapter
    _found.clear()


def _adapter_of_type(kind: type) -> Adapter:
    known = _found.get(kind)
    return _find(kind) if known is None else known


def _find(kind: type) -> Adapter:
    adapter = _found[kind] = _announced_for(kind)
    return adapter


# A compiler that follows Python code, as torch.compile does, takes the answer as it is: looking for entry points is
# nothing that it could compile.
_find._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _announced_for(kind: type) -> Adapter:
    announced = {point.name: point for point in entry_points(group="ntaylor.backends")}
    for base in kind.__mro__:
        if base in _served:
            return _served[base]
        point = announced.get(base.__module__.partition(".")[0])
        if point is not None:
            adapter = point.load()
            if not isinstance(adapter, Adapter):
                raise TypeError(
                    f"entry point {point.name!r} of group 'ntaylor.backends' gave a {type(adapter).__name__}; "
                    "it must name an instance of ntaylor.dispatch.Adapter"
                )
            return adapter
    return _CORE


def adapter_for(*arrays: Any) -> Adapter:
    """The adapter with the highest priority among those of the given arrays (``None`` is passed over)."""
    best = _CORE
    for array in arrays:
        kind: type = type(array)
        adapter = _adapter_of_type(kind)
        if best is _CORE or adapter.priority > best.priority:
            best = adapter
    return best
