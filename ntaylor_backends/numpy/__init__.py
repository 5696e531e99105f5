"""The adapter for NumPy arrays: kernels compiled by Numba where it is installed."""

from __future__ import annotations

from ntaylor.dispatch import Adapter

__all__ = ["adapter"]

adapter = Adapter()
