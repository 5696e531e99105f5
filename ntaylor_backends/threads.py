"""Threads that wait for work, made when they are first wanted and kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

__all__ = ["at_once"]


def at_once(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of tasks that run beside one another; the first in the thread that asks."""
    others = [_pool(len(tasks) - 1).submit(copy_context().run, task) for task in tasks[1:]]
    return [tasks[0](), *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """As many threads, the same in every call."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ntaylor")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
