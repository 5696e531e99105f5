"""What n derivatives cost on NumPy, as a ratio to n+1 evaluations of the same network.

Usage: python benchmarks/cost.py [--orders 1 2 4 8 12 16] [--repeats 30]

The floor is the plain network evaluated (and, for a step, differentiated) on (n+1)·batch rows, written by hand in
NumPy: what any method that computes n+1 numbers a point must at least do. Contestants are timed in turn, round after
round, and medians are quoted. Writes ``benchmarks/results/cost.json``, ``docs/cost.md`` and ``docs/cost.svg``.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.progress import track
from threadpoolctl import threadpool_limits

import ntaylor as nt
from ntaylor.faa_di_bruno import ntangentprop
from ntaylor.storage import made_with, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"3×24, batch 256": ([1, 24, 24, 24, 1], 256), "5×128, batch 1024": ([1, *[128] * 5, 1], 1024)}


def plain_forward(dense, rows):
    """The network's value, and what its backpropagation needs: nothing of ntaylor."""
    h, kept = rows[:, None], []
    for i, (weight, bias) in enumerate(dense):
        kept.append(h)
        h = h @ weight + bias
        if i + 1 < len(dense):
            h = np.tanh(h)
    return h, kept


def plain_step(dense, rows):
    """Sum of squares and its gradient by every weight and bias, by hand."""
    value, kept = plain_forward(dense, rows)
    bar, gradients = 2 * value, []
    for i in reversed(range(len(dense))):
        gradients.append((kept[i].T @ bar, bar.sum(axis=0)))
        if i:
            bar = (bar @ dense[i][0].T) * (1 - kept[i] * kept[i])
    return np.sum(value * value), gradients


def contestants(widths, batch, order):
    """Callables by name; each does the whole of what its name says on the same network and points."""
    net = nt.MLP.create(widths, seed=0)
    x = np.random.default_rng(0).uniform(-1, 1, batch)
    rows = np.random.default_rng(1).uniform(-1, 1, batch * (order + 1))
    dense = [(net.parameters[f"{i}.weight"], net.parameters[f"{i}.bias"]) for i in range(0, 2 * len(widths) - 2, 2)]
    tanh = nt.activations.get("tanh")

    def loss(parameters):
        return np.sum(nt.derivatives(net.replace(parameters), x, order) ** 2)

    return {
        "forward": lambda: nt.derivatives(net, x, order),
        "forward floor": lambda: plain_forward(dense, rows),
        "step": lambda: nt.value_and_grad(loss)(net.parameters),
        "step floor": lambda: plain_step(dense, rows),
        "published algorithm, forward": lambda: ntangentprop(
            dense, lambda u, n: tanh.towers(u, n, np), x[:, None], np.ones(1), order
        ),
    }


def measure(orders, repeats):
    results = []
    jobs = [(name, order) for name in NETWORKS for order in orders]
    for name, order in track(jobs, description="cost"):
        widths, batch = NETWORKS[name]
        run = contestants(widths, batch, order)
        times = {key: [] for key in run}
        for round_ in range(repeats + 1):
            for key, function in run.items():
                if key.startswith("published") and order > 10:
                    continue  # its terms grow as the partitions; minutes beyond this order
                begin = time.perf_counter()
                function()
                if round_:  # the first round warms caches and tables
                    times[key].append(time.perf_counter() - begin)
        medians = {key: statistics.median(t) for key, t in times.items() if t}
        results.append({"network": name, "order": order, "seconds": medians})
    return results


def page(content):
    results = content["results"]
    lines = [
        "# What n derivatives cost on NumPy",
        "",
        "Made by `python benchmarks/cost.py`. Medians of interleaved runs, float64, one BLAS thread. The floor is the",
        "plain network on (n+1)·batch rows, forward and backpropagation written by hand in NumPy; a step is all",
        "derivatives to order n, the sum of their squares, and its gradient by every parameter. *Published* is",
        "n-TangentProp's algorithm (arXiv 2412.09752), Faà di Bruno sums over partitions, in our NumPy implementation,",
        "forward only: below 1 it is the faster one. At low orders it is: its slope 1 − tanh² is cheaper than ours,",
        "which keeps its relative accuracy where tanh saturates, and calls on small arrays are mostly overhead.",
        "",
    ]
    for name in NETWORKS:
        lines += [
            f"## {name}",
            "",
            "| n | forward / floor | step / floor | published / ours, forward | step, ms |",
            "|---:|---:|---:|---:|---:|",
        ]
        for r in (r for r in results if r["network"] == name):
            s = r["seconds"]
            published = s.get("published algorithm, forward")
            ratio = "–" if published is None else f"{published / s['forward']:.1f}"
            lines.append(
                f"| {r['order']} | {s['forward'] / s['forward floor']:.2f} | {s['step'] / s['step floor']:.2f} "
                f"| {ratio} | {1e3 * s['step']:.2f} |"
            )
        lines.append("")
    return "\n".join(
        [
            *lines,
            "![cost against order](cost.svg)",
            "",
            "Made with: " + ", ".join(f"{k} {v}" for k, v in content["made_with"].items()) + ".",
            "",
        ]
    )


def picture(results):
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for i, name in enumerate(NETWORKS):
        rows = [r for r in results if r["network"] == name]
        orders = [r["order"] for r in rows]
        axes = figure.add_subplot(1, 2, i + 1)
        for key, style in (("step", "o-"), ("step floor", "s--"), ("forward", "o-"), ("forward floor", "s--")):
            axes.loglog(orders, [1e3 * r["seconds"][key] for r in rows], style, label=key, markersize=4)
        axes.set(title=name, xlabel="order n", ylabel="milliseconds")
        axes.set_xticks(orders, [str(n) for n in orders], minor=False)
        axes.minorticks_off()
        axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2, 4, 8, 12, 16])
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    with threadpool_limits(limits=1, user_api="blas"):
        results = measure(options.orders, options.repeats)
    content = {"made_with": made_with(), "results": results}
    write_json(ROOT / "benchmarks" / "results" / "cost.json", content)
    write_atomic(ROOT / "docs" / "cost.svg", picture(results))
    write_atomic(ROOT / "docs" / "cost.md", page(content).encode())
    print(page(content))


if __name__ == "__main__":
    main()
