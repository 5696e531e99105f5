"""``ntaylor problems``: what there is to solve, and what is known of how well it can be.

Floor 16.
"""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_problems"]


def add_problems(commands: Any) -> None:
    """Let the parser's ``commands`` know ``problems``."""
    problems = commands.add_parser(
        "problems",
        help="list the problems that ntaylor solve knows",
        description="The suite of differential equations with their order, their source and published accuracies.",
    )
    problems.set_defaults(run=_problems)


def _problems(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ntaylor.problems.self_similar_burgers import SelfSimilarBurgers
    from ntaylor.suite.catalogue import PROBLEMS, PROFILES

    console = Console(markup=False, highlight=False)
    rows: list[tuple[str, ...]] = []
    for e in PROBLEMS.values():
        title = e.title if e.smooth else f"{e.title} (not smooth)"
        rows.append((e.name, str(e.order), ", ".join(e.make().inputs), title, e.equation, e.published))
    for k, name in enumerate(PROFILES):
        order, published = SelfSimilarBurgers(k).selecting_order + 1, _PUBLISHED_PROFILES[k]
        equation = "λU = ((1 + λ)X + U)U′ on [−2, 2], U(∓2) = ±1, λ unknown"
        rows.append((name, str(order), "X", f"self-similar Burgers, profile {k}", equation, published))
    _print(rows, console)
    console.print("ntaylor solve NAME solves one; relative errors in L2 unless said otherwise.")
    return 0


_PUBLISHED_PROFILES = ("λ to 8.5e-7", "λ to 9.9e-6", "λ to 1.7e-3", "failed: λ at its bound", "not tried")
"""From the results of arXiv 2412.09752."""


def _print(rows: list[tuple[str, ...]], console: Any) -> None:
    """A table; where it would be cut, a paragraph a problem."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if console.width < 110:
        for name, order, inputs, title, equation, published in rows:
            console.print(f"{name}: {title}\n  {equation}\n  order {order} in {inputs}; published: {published}")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("problem", "order", "inputs"):
        table.add_column(head, justify="right" if head == "order" else "left", no_wrap=True)
    for head in ("what", "equation", "published"):
        table.add_column(head)
    for row in rows:
        table.add_row(*row)
    console.print(table)
