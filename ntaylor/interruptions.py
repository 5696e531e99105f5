"""Ctrl-C, held back until a step is done.

Floor 0.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["interruptions_between_steps"]


@contextlib.contextmanager
def interruptions_between_steps() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C while a step runs, whose old state is given away before the new one is there.

    In another thread than the main one signals cannot be held back, nor do they arrive.
    """
    came = False

    def note(*_: Any) -> None:
        nonlocal came
        if came:  # who asks twice does not want to wait
            raise KeyboardInterrupt
        came = True

    kinds = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(kind, note) for kind in kinds]
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: came
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
