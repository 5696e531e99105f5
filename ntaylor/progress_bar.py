"""The bar of commands that go through a list: what is being done, how much of it, since when.

Floor 0.
"""

from __future__ import annotations

from typing import Any

__all__ = ["bar_on"]


def bar_on(console: Any) -> Any:
    """A ``rich`` progress bar that is gone when it is done, and never there where output goes to a file."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
