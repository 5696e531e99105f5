"""The adapter for JAX arrays."""

from __future__ import annotations

from ntaylor.dispatch import Adapter

__all__ = ["adapter"]


class _JaxAdapter(Adapter):
    # XLA on a CPU is twice as fast on separate arrays as on one that joins all orders.
    joins_orders = False


adapter = _JaxAdapter()
