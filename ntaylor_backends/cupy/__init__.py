"""The adapter for CuPy arrays: kernels in CUDA C."""

from __future__ import annotations

from ntaylor.dispatch import Adapter

__all__ = ["adapter"]

adapter = Adapter()
