"""A picture of a solved problem: the solution found, its error, and how the training went.

Floor 16: arrays in, a file out; matplotlib is imported when one is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.commands.solving import Solved
from ntaylor.plots import written_figure

__all__ = ["solution_picture"]


def solution_picture(path: Path, solved: Solved) -> None:
    """Write it; ImportError, saying what to install, without matplotlib."""
    entry = solved.entry
    problem, points = entry.make(), entry.test_points()
    found = solved.values(points)[:, 0]
    assert problem.solution is not None
    exact = np.asarray(problem.solution(points)).reshape(len(points), -1)[:, 0]
    error = f"relative L2 {solved.errors['relative_l2']:.1e}"
    with written_figure(path, (13.0, 3.9)) as figure:
        first, second, third = (figure.add_subplot(1, 3, i) for i in (1, 2, 3))
        figure.suptitle(f"{entry.title}: {error}, {solved.words}, {solved.seconds:.0f} s", fontsize=11)
        _draw_solution(first, second, solved, points, found, exact)
        steps: list[int] = []
        before = 0
        for i, p in enumerate(solved.history):
            before = steps[-1] if i and p.step <= solved.history[i - 1].step else before
            steps.append(before + p.step)
        third.semilogy(steps, [p.loss for p in solved.history], color="0.25", label="loss")
        errors = [(s, p.error) for s, p in zip(steps, solved.history, strict=True) if p.error is not None]
        if errors:
            third.semilogy(*zip(*errors, strict=True), color="#1f5fa8", label="relative L2 error")
        third.set(xlabel="steps", title="training")
        third.legend(frameon=False, fontsize=8)
        third.grid(alpha=0.25)


def _draw_solution(first: Any, second: Any, solved: Solved, points: Any, found: Any, exact: Any) -> None:
    problem, grid = solved.entry.make(), solved.entry.grid
    name, size = problem.fields[0], np.maximum(np.abs(found - exact), 1e-17)
    if len(problem.domain) == 1:
        first.plot(points[:, 0], found, color="#1f5fa8", linewidth=2, label="network")
        first.plot(points[:, 0], exact, color="#e07b00", linestyle=(0, (4, 3)), label="exact")
        first.legend(frameon=False)
        second.semilogy(points[:, 0], size, color="#1f5fa8")
        first.set(xlabel=problem.inputs[0], title=name)
        second.set(xlabel=problem.inputs[0], title="|error|")
        return
    if len(problem.domain) > 2:
        first.plot(exact, found, ".", markersize=2, color="#1f5fa8")
        first.set(xlabel=f"{name} exact", ylabel=f"{name} found", title=name)
        second.hist(np.log10(size), bins=40, color="#1f5fa8")
        second.set(xlabel="log₁₀ |error|", title="errors at the test points")
        return
    # Time runs to the right, as does the first of two coordinates of space.
    across = 1 if problem.inputs[1] == "t" else 0
    a, b = (points[:, i].reshape(grid) for i in (across, 1 - across))
    shown = first.pcolormesh(a, b, found.reshape(grid), cmap="RdBu_r", shading="gouraud", rasterized=True)
    first.figure.colorbar(shown, ax=first)
    top = max(float(size.max()), 1e-16)
    shown = second.pcolormesh(
        a, b, np.abs(found - exact).reshape(grid), cmap="magma", vmin=0, vmax=top, rasterized=True
    )
    second.figure.colorbar(shown, ax=second, format="%.1e")
    for axes, title in ((first, name), (second, "|error|")):
        axes.set(xlabel=problem.inputs[across], ylabel=problem.inputs[1 - across], title=title)
