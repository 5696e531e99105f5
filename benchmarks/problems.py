"""The suite of differential equations: every problem by its recipe, and training by nested differentiation beside it.

Usage: python benchmarks/problems.py [NAME ...] [--seeds 1] [--plain 60] [--nested 300] [--work DIR] ...

Every problem is solved by its recipe, and its tanh network alone is trained by Levenberg–Marquardt for ``--plain``
seconds. Then KdV (third order), Kuramoto–Sivashinsky (fourth) and the beam (sixth) are trained by Adam on PyTorch for
``--nested`` steps, with derivatives by nested reverse-mode differentiation and by ``nt.residual``: the same network,
points, seed and loss, on one thread. What is on record is not run again. Writes ``benchmarks/results/problems.json``
after every run, ``docs/problems.md`` and pictures in ``docs/problems/``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ntaylor as nt
from ntaylor.commands.solution_pictures import solution_picture
from ntaylor.commands.solving import solve
from ntaylor.plots import written_figure
from ntaylor.storage import made_with, write_atomic, write_json
from ntaylor.suite.catalogue import PROBLEMS, find

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "problems.json"
PAGE = ROOT / "docs" / "problems.md"
PICTURES = ROOT / "docs" / "problems"
COMPARED = {"kdv": 1000, "kuramoto-sivashinsky": 1000, "beam-6": 300}
"""Problems of order 3, 4 and 6, and how many points they are trained on."""


def measure(name: str, seed: int, plain: float, work: Path | None) -> dict[str, Any]:
    """One problem by its recipe, with its picture; and its tanh network alone, for so many seconds."""
    entry = find(name)
    solved = solve(entry, seed=seed, folder=None if work is None else work / f"{name}-{seed}", resume=work is not None)
    row = {k: v for k, v in solved.report().items() if k != "history"}
    if seed == 0:
        solution_picture(PICTURES / f"{name}.png", solved)
    if entry.recipe.waves is not None and plain and seed == 0:
        alone = solve(entry, seed=seed, optimizer="lm", steps=500, seconds=plain)
        row["plain"] = {
            "network": alone.words, "relative_l2": alone.errors["relative_l2"], "seconds": alone.seconds,
            "steps": alone.steps,
        }  # fmt: skip
    return row


# --- nested differentiation and n-TangentProp -----------------------------------------------------


class Nested:
    """A field whose derivatives are torch's, one reverse sweep for each, every one made once."""

    def __init__(self, value: Any, columns: dict[str, Any], made: dict[str, Any] | None = None, name: str = ""):
        self.value, self._columns, self._name = value, columns, name
        self._made = {"": value} if made is None else made

    def __getattr__(self, letters: str) -> Any:
        if letters.startswith("_") or not set(letters) <= set(self._columns):
            raise AttributeError(letters)
        import torch

        if letters not in self._made:
            before = self._made[""] if len(letters) == 1 else getattr(self, letters[:-1])
            column = self._columns[letters[-1]]
            self._made[letters] = torch.autograd.grad(before.sum(), column, create_graph=True)[0]
        return self._made[letters]

    def __mul__(self, other: Any) -> Any:
        return self.value * getattr(other, "value", other)

    def __add__(self, other: Any) -> Any:
        return self.value + getattr(other, "value", other)

    def __sub__(self, other: Any) -> Any:
        return self.value - getattr(other, "value", other)

    __rmul__, __radd__ = __mul__, __add__

    def __rsub__(self, other: Any) -> Any:
        return other - self.value


def by_nesting(equation: Callable[..., Any], function: Any, points: Any, names: tuple[str, ...]) -> Any:
    """The residual with every derivative by nested reverse mode."""
    import torch

    columns = {name: points[:, i].clone().requires_grad_() for i, name in enumerate(names)}
    value = function(torch.stack(list(columns.values()), dim=1))[:, 0]
    return equation(Nested(value, columns), *(c.detach() for c in columns.values()))


def by_tangents(equation: Callable[..., Any], function: Any, points: Any, names: tuple[str, ...]) -> Any:
    """The residual by ``nt.residual``."""
    return nt.residual(equation, function, points)


def trained(name: str, count: int, steps: int, residual: Callable[..., Any], seed: int = 0) -> dict[str, list[float]]:
    """Losses, errors and seconds over Adam's steps."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    entry = find(name)
    problem = entry.make()
    widths = entry.recipe.network["widths"]
    layers: list[Any] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [torch.nn.Linear(n_in, n_out, dtype=torch.float64), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    function = problem.function(network)
    arrays = problem.arrays(count, seed=seed)
    asked = {"equation": problem.equation}
    asked |= dict(zip(problem.labels, (c.residual for c in problem.conditions), strict=True))
    groups = {label: torch.as_tensor(arrays[label]) for label in asked}
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    test = entry.test_points()
    record: dict[str, list[float]] = {"loss": [], "error": [], "seconds": []}
    spent = 0.0
    for step in range(steps + 1):
        begun = time.perf_counter()
        optimiser.zero_grad()
        loss = 0.0
        for label, points in groups.items():
            found = residual(asked[label], function, points, problem.inputs)
            for part in found if isinstance(found, tuple) else (found,):
                loss = loss + problem.weight(label) * torch.mean(part * part)
        loss.backward()
        optimiser.step()
        if step:  # the first is set-up on both sides
            spent += time.perf_counter() - begun
        if step % 10 == 0:
            with torch.no_grad():
                values = function(torch.as_tensor(test))[:, 0].numpy()
            record["error"].append(problem.errors(values, test)["relative_l2"])
            record["seconds"].append(spent)
        record["loss"].append(float(loss.detach()))
    return record


def compare(name: str, count: int, steps: int) -> dict[str, Any]:
    """Both ways, one after the other."""
    ways = {"nested": by_nesting, "n-TangentProp": by_tangents}
    found = {way: trained(name, count, steps, f) for way, f in ways.items()}
    a, b = (np.asarray(found[way]["loss"][:51]) for way in ways)
    return {
        "order": find(name).order, "points": count, "steps": steps, "runs": found,
        "apart": float(np.max(np.abs(a - b) / a)),
    }  # fmt: skip


def compared_picture(rows: dict[str, Any], path: Path) -> None:
    """Errors over the seconds that the steps took."""
    with written_figure(path, (13.0, 3.8)) as figure:
        for i, (name, row) in enumerate(rows.items(), 1):
            axes = figure.add_subplot(1, len(rows), i)
            for (way, run), color in zip(row["runs"].items(), ("#e07b00", "#1f5fa8"), strict=True):
                axes.semilogy(run["seconds"], run["error"], color=color, label=way)
            axes.set(xlabel="seconds", title=f"{name}, order {row['order']}, {row['steps']} steps")
            axes.grid(alpha=0.25)
            if i == 1:
                axes.set_ylabel("relative L2 error")
                axes.legend(frameon=False)


# --- the page -------------------------------------------------------------------------------------

HEAD = """# The suite of problems

Made by `python benchmarks/problems.py`; `ntaylor problems` lists them, `ntaylor solve NAME` does one of these runs.
Relative L2 errors and largest errors on a grid of the whole domain (in five dimensions at 8,192 Sobol points), float64,
NumPy, seed 0; seconds of training on one thread. "Waves" are fixed random features whose output weights are found by
Gauss–Newton steps; where a tanh network is named it is trained by Levenberg–Marquardt, and waves are added to it where
both are named. For comparison the last columns have the tanh network alone, trained by Levenberg–Marquardt for at most
as many seconds as given there.
The machine did other work meanwhile, so that times are upper bounds. Allen–Cahn's solution is not smooth: its first
slope jumps where the period closes. The self-similar Burgers profiles, which `ntaylor solve` also takes, have a
[page of their own](profiles.md).

| problem | order | relative L2 | max error | s | network | parameters | tanh alone | relative L2 | s |
|---|---:|---:|---:|---:|---|---:|---|---:|---:|
"""

COMPARISON = """
## The same training by nested differentiation

Adam, {steps} steps, PyTorch, float64, one thread: the same network, start, points and loss, once with every derivative
by nested reverse mode (each made once, lower orders shared), once by `nt.residual`. "Apart" is the largest relative
difference of the two losses in the first 50 steps: what differs is the time. Errors are those after the last step.

| problem | order | points | nested: ms a step | error | n-TangentProp: ms a step | error | ratio of times | apart |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def write(record: dict[str, Any]) -> None:
    """The page, and the picture of the comparison."""
    lines = [HEAD]
    for name, entry in PROBLEMS.items():
        row = record["problems"].get(name, {}).get("0")
        if row is None:
            continue
        plain = row.get("plain")
        beside = f"{plain['network']} | {plain['relative_l2']:.1e} | {plain['seconds']:.0f}" if plain else "| | "
        lines.append(
            f"| [{name}](#{name}) | {entry.order} | {row['relative_l2']:.1e} | {row['max_error']:.1e} | "
            f"{row['seconds']:.0f} | {row['network']} | {row['parameters']} | {beside} |\n"
        )
    nested = dict(sorted(record["nested"].items(), key=lambda item: item[1]["order"]))
    if nested:
        steps = next(iter(nested.values()))["steps"]
        lines.append(COMPARISON.format(steps=steps))
        for name, row in nested.items():
            reverse, tangents = (1000 * run["seconds"][-1] / row["steps"] for run in row["runs"].values())
            errors = [f"{run['error'][-1]:.2e}" for run in row["runs"].values()]
            lines.append(
                f"| {name} | {row['order']} | {row['points']} | {reverse:.1f} | {errors[0]} | {tangents:.1f} | "
                f"{errors[1]} | {reverse / tangents:.1f} | {row['apart']:.0e} |\n"
            )
        lines.append("\n![Errors over seconds](problems/nested.svg)\n")
        compared_picture(nested, PICTURES / "nested.svg")
    for name, entry in PROBLEMS.items():
        rows = record["problems"].get(name, {})
        if "0" not in rows:
            continue
        lines.append(f"\n## {name}\n\n{entry.title}: {entry.equation}.\n\nSource: {entry.source}.\n")
        lines.append(f"Published: {entry.published}.\n")
        if len(rows) > 1:
            errors = [row["relative_l2"] for row in rows.values()]
            lines.append(f"Over {len(rows)} seeds: {min(errors):.1e} to {max(errors):.1e}.\n")
        for unknown, true in entry.truth.items():
            found, limit = rows["0"]["unknowns"][unknown], rows["0"]["statistical_limit"][unknown]
            lines.append(
                f"\n{unknown}: {found:.5g} found, {true:g} true, off by {abs(found - true):.1e}; no unbiased estimate "
                f"has a standard deviation below {limit:.1e} (Cramér and Rao).\n"
            )
        lines.append(f"\n![{name}](problems/{name}.png)\n")
    words = ", ".join(f"{k} {v}" for k, v in record["made_with"].items())
    lines.append(f"\nMade with: {words}.\n")
    write_atomic(PAGE, "".join(lines).encode())


def recorded(part: str = "", name: str = "", row: Any = None) -> dict[str, Any]:
    """The record; with a row, after that was put into it as it is now: others may have written meanwhile."""
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"problems": {}, "nested": {}}
    if row is not None:
        record[part][name] = row
        record["made_with"] = made_with()
        write_json(RESULTS, record)
    return record


def main() -> None:
    """Run what is asked for and not on record; write the record after every run, the page at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="problems (default: all)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--plain", type=float, default=60.0, metavar="SECONDS", help="for tanh networks alone; 0: none")
    parser.add_argument("--nested", type=int, default=300, metavar="STEPS", help="0: no comparison")
    parser.add_argument("--work", type=Path, metavar="DIR", help="for checkpoints, from which the same command goes on")
    parser.add_argument("--only-write", action="store_true", help="write the page of what is on record")
    parser.add_argument("--afresh", action="store_true", help="run again what is on record")
    options = parser.parse_args()
    record = recorded()
    if not options.only_write:
        for name in options.names or PROBLEMS:
            for seed in range(options.seeds):
                if str(seed) in record["problems"].get(find(name).name, {}) and not options.afresh:
                    continue
                row = measure(name, seed, options.plain, options.work)
                before = recorded()["problems"].get(name, {}).get(str(seed), {})
                if "plain" in before and not options.plain:
                    row["plain"] = before["plain"]
                record = recorded("problems", name, {**recorded()["problems"].get(name, {}), str(seed): row})
                done = f"{row['relative_l2']:.1e} in {row['seconds']:.0f} s"
                print(f"{name} seed {seed}: {done}, {row.get('plain')}", flush=True)
        for name, count in COMPARED.items():
            if not options.nested or (options.names and name not in options.names):
                continue
            if name in record["nested"] and not options.afresh:
                continue
            record = recorded("nested", name, compare(name, count, options.nested))
            print(f"{name}: compared, losses apart {record['nested'][name]['apart']:.1e}", flush=True)
    write(record)


if __name__ == "__main__":
    main()
