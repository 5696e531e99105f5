"""Threads that wait for work, made when they are first wanted and kept."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["pool"]


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """As many threads, the same in every call."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ntaylor")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a child has none of its parent's threads
