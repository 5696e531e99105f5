"""The page and the pictures of a record of ``ntaylor ad-vs-fd``.

Floor 14: every figure in the text comes out of the record.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ntaylor.ad_vs_fd_findings import (
    AUTO,
    FIT_HEAD,
    JETS,
    TRAINING_HEAD,
    findings,
    fit_rows,
    losses,
    method_name,
    pairs,
    ratio,
    spread,
    training_rows,
)
from ntaylor.ad_vs_fd_findings import best as best_step
from ntaylor.plots import Curve, curves_picture

__all__ = ["advice", "draw", "page"]

Record = dict[str, Any]


# --- sentences ---------------------------------------------------------------------------------------


def advice(content: Record) -> list[str]:
    """What it means for who trains on an equation, in ten sentences with the record's numbers."""
    orders = content["settings"]["orders"]
    cutoffs = content["settings"]["cutoffs"]
    names = {2: "second", 4: "fourth", 6: "sixth"}
    first, last = orders[0], orders[-1]

    def coarse(cell: Record) -> list[str]:
        return [method_name(content["settings"]["steps"][str(cell["order"])][0])]

    def auto(_: Record) -> list[str]:
        return [AUTO]

    def listed(values: Iterable[Any]) -> str:
        return ", ".join("–" if v is None else f"{v:.2g}" for v in values)

    def best(methods: Any, order: int, which: int) -> float | None:
        found = [min(p[which]["error"]) for p in pairs(content, "features", methods, order=order, dimension=1)]
        return statistics.median(found) if found else None

    def own_over_exact(order: int, kind: str) -> float | None:
        found = [
            b["curve"]["exact_loss"][-1] / b["curve"]["loss"][-1]
            for _, b, _ in pairs(content, kind, coarse, order=order, dtype="float64")
            if b["diverged_at"] is None
        ]
        return statistics.median(found) if found else None

    def cost(order: int, dimension: int) -> float | None:
        found = [
            b["seconds_a_step"] / a["seconds_a_step"]
            for a, b, _ in pairs(content, "training", auto, order=order, dimension=dimension, dtype="float64")
        ]
        return statistics.median(found) if found else None

    def single(methods: Any, order: int) -> float | None:
        return ratio(losses(content, methods, order=order, dtype="float32"))

    every = ", ".join(names.get(n, f"{n}th") for n in orders)
    at_orders = f"at orders {', '.join(map(str, orders))}" if len(orders) > 1 else f"at order {first}"
    tight = cutoffs[len(cutoffs) // 2 - 1]
    loose = [
        min(b["error"][: len(cutoffs) // 2]) / min(b["error"])
        for _, b, _ in pairs(content, "features", auto, order=last)
    ]
    small = "; ".join(
        spread(b["small"] for _, b, _ in pairs(content, "features", auto, order=n, dimension=1)) for n in orders
    )
    chosen = [found for n in orders for found in losses(content, auto, order=n, dtype="float64")]
    apart = spread(abs(b / a - 1) for b, a in chosen if b < float("inf"))
    dimensions = content["settings"]["dimensions"]
    costs = [listed(cost(n, d) for d in dimensions) for n in (first, last)]
    return [
        (
            f"Look at the digits that you want: with derivatives of {every} order in one dimension the best fit by "
            f"random features had a median error of {listed(best(None, n, 0) for n in orders)} by exact ones, and of "
            f"{listed(best(auto, n, 1) for n in orders)} by differences with the chosen step."
        ),
        (
            "If you take differences, do not guess the step: with the coarsest of those tried the same errors were "
            f"{listed(best(coarse, n, 1) for n in orders)}."
        ),
        (
            "Know what differences add to a matrix, noise in its small singular values: with the chosen step the last "
            f"quarter of them was in one dimension so many times the exact ones {at_orders}: {small}."
        ),
        (
            f"Choose the cut-off of a pseudo-inverse above that noise: at order {last} the best error with one of "
            f"at most {tight:g} was {spread(loose)} times the best one with any."
        ),
        (
            "Do not read a difference quotient's fuller spectrum as information, and compare no entropies "
            "without naming the cut-off: of the chosen step's pairs AD's H/log N_a was larger in "
            f"{_share(content, 1, auto)} at {cutoffs[1]:g} σ_1 and in {_share(content, -1, auto)} at "
            f"{cutoffs[-1]:g} σ_1."
        ),
        (
            "Before you change the method to train faster in float64, look at the step: with the chosen one the exact "
            f"losses after equal steps were apart by {apart}, relatively, and their median ratio FD/AD was "
            f"{listed(ratio(losses(content, auto, order=n, dtype='float64')) for n in orders)} {at_orders}, and after "
            f"{content['settings']['long']:,} steps with a falling rate "
            f"{listed(ratio(losses(content, auto, kind='long', order=n)) for n in orders)}."
        ),
        (
            "Do not trust the loss that a training by coarse differences shows: with the coarsest step the exact loss "
            f"was {listed(own_over_exact(n, 'training') for n in orders)} times the one shown {at_orders}, and after "
            f"{content['settings']['long']:,} steps {listed(own_over_exact(n, 'long') for n in orders)} times."
        ),
        (
            "Mind the dtype: in float32, in which most networks are trained, the exact loss after equal steps was "
            f"{listed(single(auto, n) for n in orders)} times that of exact derivatives with the chosen step, "
            f"{listed(single(coarse, n) for n in orders)} times with the coarsest, and "
            f"{listed(single(best_step, n) for n in orders)} times with the best of the tried ones, {at_orders}."
        ),
        (
            "Mind the time: a step of training by differences took "
            f"{costs[0]} times as long as one by exact derivatives at order {first}, and {costs[1]} times at order "
            f"{last}, in {' and '.join(map(str, dimensions))} dimension{'s' * (dimensions[-1] > 1)}."
        ),
        _rough(content),
    ]


def _share(content: Record, at: int, methods: Any) -> str:
    found = pairs(content, "features", methods)
    yes = sum(a["normalised"][at] > b["normalised"][at] * 1.001 for a, b, _ in found)
    return f"{yes} of {len(found)}"


def _rough(content: Record) -> str:
    """Of an activation without the derivatives that the equation has."""
    order = next((n for n in content["settings"]["orders"] if n >= 4), None)
    rough = [
        c
        for c in content["cells"].values()
        if c["kind"] == "features" and c["activation"] == "relu3" and c["order"] == order and c["dimension"] == 1
    ]
    if not rough:
        return "Take an activation with more continuous derivatives than the equation has."
    exact, best = zip(*map(_errors, rough), strict=True)
    groups: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for c in content["cells"].values():
        if c["kind"] == "features":
            groups.setdefault((c["activation"], c["order"], c["dimension"]), []).append(_errors(c))
    won: dict[str, list[int]] = {}
    count = 0
    for (name, n, _), of_group in groups.items():
        of_exact, of_best = (statistics.median(errors) for errors in zip(*of_group, strict=True))
        if of_best < 0.999 * of_exact:
            count += 1
            won.setdefault(name, []).append(n)
    where = "; ".join(f"{name} at order {', '.join(map(str, sorted(set(of))))}" for name, of in won.items())
    return (
        "Take an activation with more continuous derivatives than the equation has: max(u, 0)³ in an equation of "
        f"order {order} has exact rows of zeros and so an error of {spread(exact)}; differences with the best of "
        f"the tried steps, which look over its kinks, had {spread(best)}. With their best step and cut-off, which are "
        f"known afterwards only, they had the lower median error in {count} of {len(groups)} groups of fits"
        f"{f': {where}' if where else ''}."
    )


def _errors(cell: Record) -> tuple[float, float]:
    """The least error at any cut-off, of exact derivatives, and of differences with any step."""
    of_method = {name: min(f["error"]) for name, f in cell["methods"].items()}
    return of_method[JETS], min(error for name, error in of_method.items() if name != JETS)


# --- the page ----------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    bar = "|" + "---|" * left + "---:|" * (len(head) - left)
    return [f"| {' | '.join(head)} |", bar, *(f"| {' | '.join(row)} |" for row in rows)]


_HEAD = """\
# Automatic against finite differences

Made by `python benchmarks/ad_vs_fd.py`; `ntaylor ad-vs-fd` runs the same study, `--quick` a small one. Chen, Yang,
Xiang and Hao (arXiv 2405.14099) found that exact derivatives make for better training matrices than finite
differences. Their abstract was at hand, the body of the paper was not: problems, sizes and steps here are of our own
making, and so is the exact form of the truncated entropy.

**What is solved.** Δᵖu = f for p = 1, 2, 3 (u″, u⁗, u⁽⁶⁾ in one dimension) on [−1, 1]ᵈ, with u, …, Δᵖ⁻¹u on the
boundary and the solution Π sin(πxᵢ + 0.4). Rows are scaled so that each block has norm 1 where u = 0. The only thing
that differs is how derivatives are taken: by jets, or by central differences of second order, with steps that are
powers of two and with the one that the library's error model chooses (`fd auto`).

**Random features**: {features}, solved by pseudo-inverse, {seeds} seeds.
**Networks**: two layers of width {width}, all parameters trained from the same start at the same rate for
{steps}, {training_seeds} seeds; gradient descent with half the
inverse of the kernel's largest eigenvalue, Adam with {rate:g}; some by Adam
for {long:,} steps, from {long_seeds} of the starts, with a rate that falls to 0.

**Definitions** (`nt.spectra`). With singular values above a cut-off a, N_a of them, p_k = σ_k/Σσ_j:
H(a) = −Σ p_k log p_k, and beside it H/log N_a, because H may grow with N_a and the two can disagree. The cut-off is
relative to σ_1. The published relative without a cut-off is Roy and Vetterli's effective rank.

## The published findings, looked at again

A pair is one method of differences and the exact one on the same features or from the same start; counts are of pairs,
over orders, dimensions, smooth enough activations, seeds and steps. *Confirmed* and *refuted* want nine tenths of
them; figures within a thousandth of each other are called equal. *More so at higher order* looks at medians alone: it
wants that of the highest order to be more than a hundredth larger than that of the lowest, and none to fall on the way.
"""

_CAUSES = """\
Two causes explain the table. *Rounding*: a quotient of order n carries noise of about eps/hⁿ, so singular values below
it come out at its level: that is where those of the FD matrix are larger, and the more so the finer the step.
*Truncation*: a coarse step damps what varies fast, so most large singular values come out too small, and the matrix
is exact for another equation. Between the two lies the chosen step. H(a) is ruled by the large values, so truncation
lowers it, and the cut-off hardly matters; H/log N_a falls where noise is counted in N_a, so there the cut-off decides.
In float32 eps is 2⁻²³: there the two causes leave little room between them, and less at higher order.

![singular values](ad_vs_fd-spectra.png)

![error, small singular values and entropy over the step](ad_vs_fd-steps.png)

![loss over training](ad_vs_fd-loss.png)

![eigenvalues of the training kernel](ad_vs_fd-kernels.png)

## Random features

Median, and in brackets the range over the seeds, at the cut-off 1e-12 σ_1. “σ small / exact” is the geometric mean of
the last quarter of singular values over the exact ones. A * marks activations whose derivative of the equation's order
is not continuous: there the exact rows are 0 almost everywhere, and counts leave them out.
"""

_NETWORKS = """\
## Two-layer networks

After equally many steps; f32 was trained in float32, with every step h, and looked at in float64; long ones have a
rate that falls to 0. “exact loss” is the loss with exact derivatives of the network that was trained, whatever it was
trained with; G is the kernel of the rows it was trained with, at the end. “ms a step” is the time of the residual and
its gradient.
"""


def page(content: Record) -> str:
    """The record as a page of Markdown."""
    settings = content["settings"]
    made = ", ".join(f"{k} {v}" for k, v in content["made_with"].items())
    head = _HEAD.format(
        features=", ".join(f"{n} in {d}-D" for d, n in settings["features"].items()),
        seeds=settings["seeds"],
        width=settings["width"],
        steps=", ".join(f"{n:,} steps in {d}-D" for d, n in settings["training_steps"].items()),
        long=settings["long"],
        long_seeds=settings["long_seeds"],
        training_seeds=settings["training_seeds"],
        rate=settings["rate"],
    )
    return "\n".join(
        [
            head,
            "| finding | here | evidence |",
            "|---|---|---|",
            *(f"| {statement} | **{verdict}** | {evidence} |" for statement, verdict, evidence in findings(content)),
            "",
            _CAUSES,
            *_table(FIT_HEAD, fit_rows(content, short=True), 4),
            "",
            _NETWORKS,
            *_table(TRAINING_HEAD, training_rows(content), 5),
            "",
            f"Made with: {made}.",
            "",
            "## What this means for your PINN",
            "",
            *(f"{i}. {sentence}" for i, sentence in enumerate(advice(content), 1)),
            "",
        ]
    )


# --- pictures ----------------------------------------------------------------------------------------


def draw(content: Record, folder: Path, stem: str, kind: str = ".png") -> list[Path]:
    """Spectra, steps, losses and kernels, each a file; those of which there is nothing in the record are left out."""
    columns = len(content["settings"]["orders"])
    pictures = {
        "spectra": (_spectra, ("k", "σ_k / σ_1"), "y", "Singular values of the collocation matrix, seed 0"),
        "steps": (_steps, ("step h", ""), "xy", "Differences over the step; dashed: exact derivatives"),
        "loss": (
            _losses_drawn,
            ("steps + 1", "exact loss"),
            "xy",
            "Exact loss over training, its range over the seeds",
        ),
        "kernels": (_kernels, ("k", "λ_k / λ_1"), "y", "Training kernel before and after training by Adam, seed 0"),
    }
    drawn = []
    for name, (made_of, labels, scales, title) in pictures.items():
        panels = made_of(content)
        if panels:
            drawn.append(folder / f"{stem}-{name}{kind}")
            curves_picture(drawn[-1], panels, title, labels, columns=columns, logarithmic=scales)
    return drawn


Panel = tuple[str, dict[str, Curve]]


def _shown(content: Record, cell: Record) -> list[str]:
    """The exact method, the coarsest step, the finest, and the chosen one, of those that the cell has."""
    steps = content["settings"]["steps"][str(cell["order"])]
    wanted = [JETS, method_name(steps[0]), method_name(steps[-1]), AUTO]
    return [m for m in wanted if m in cell["methods"]]


def _label(content: Record, cell: Record, method: str) -> str:
    steps = content["settings"]["steps"][str(cell["order"])]
    words = {JETS: "exact", method_name(steps[0]): "coarsest step", method_name(steps[-1]): "finest step"}
    return {**words, AUTO: "chosen step"}.get(method, "a middle step")


def _line(values: Sequence[float]) -> Curve:
    return list(range(1, len(values) + 1)), values, values, values


def _spectra(content: Record) -> list[Panel]:
    panels = []
    for dimension in content["settings"]["dimensions"]:
        for order in content["settings"]["orders"]:
            cell = _one(content, "features", order, dimension, "tanh")
            if cell is not None:
                curves = {}
                for method in _shown(content, cell):
                    values = cell["methods"][method]["values"]
                    curves[_label(content, cell, method)] = _line([max(v / values[0], 1e-20) for v in values])
                panels.append((f"tanh, order {order}, {dimension}-D", curves))
    return panels


def _one(content: Record, kind: str, order: int, dimension: int, name: str, **wanted: Any) -> Record | None:
    """Seed 0 of a group."""
    for c in content["cells"].values():
        at = (c["kind"], c["order"], c["dimension"], c["activation"], c["seed"])
        if at == (kind, order, dimension, name, 0) and all(c[k] == v for k, v in wanted.items()):
            return c  # type: ignore[no-any-return]
    return None


def _steps(content: Record) -> list[Panel]:
    cutoffs = content["settings"]["cutoffs"]
    at = min(range(len(cutoffs)), key=lambda i: abs(cutoffs[i] - 1e-12))
    panels: list[Panel] = []
    for head, key in (("error", "error"), ("σ small / exact", "small"), ("H/log N_a, a = 1e-12 σ_1", "normalised")):
        for order in content["settings"]["orders"]:
            curves: dict[str, Curve] = {}
            for dimension in content["settings"]["dimensions"]:
                for name in ("tanh", "sin"):
                    group = [
                        c
                        for c in content["cells"].values()
                        if (c["kind"], c["order"], c["dimension"], c["activation"])
                        == ("features", order, dimension, name)
                    ]
                    if not group:
                        continue
                    steps = content["settings"]["steps"][str(order)]

                    def of(method: str, group: Sequence[Record] = group, key: str = key) -> list[float]:
                        found = [c["methods"][method][key] for c in group]
                        return [f[at] if isinstance(f, list) else f for f in found]

                    by_step = [of(method_name(h)) for h in steps]
                    label = f"{name}, {dimension}-D"
                    curves[label] = _band(steps, by_step)
                    curves[f"{label}, exact"] = _band([steps[0], steps[-1]], [of(JETS)] * 2)
            if curves:
                panels.append((f"{head}, order {order}", curves))
    return panels


def _band(x: Sequence[float], values: Sequence[Sequence[float]]) -> Curve:
    return x, [statistics.median(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def _losses_drawn(content: Record) -> list[Panel]:
    panels: list[Panel] = []
    dimension = content["settings"]["dimensions"][0]
    rows = (("training", "gd", "float64"), ("training", "adam", "float64"), ("training", "adam", "float32"))
    for kind, optimiser, dtype in (*rows, ("long", "adam", "float64")):
        for order in content["settings"]["orders"]:
            group = [
                c
                for c in content["cells"].values()
                if (c["kind"], c["order"], c["dimension"], c["activation"]) == (kind, order, dimension, "tanh")
                and (c["optimiser"], c["dtype"]) == (optimiser, dtype)
            ]
            curves: dict[str, Curve] = {}
            for method in _shown(content, group[0]) if group else []:
                found = [c["methods"][method]["curve"] for c in group]
                steps = min((f["step"] for f in found), key=len)
                by_step = [[f["exact_loss"][i] for f in found] for i in range(len(steps))]
                curves[_label(content, group[0], method)] = _band([s + 1 for s in steps], by_step)
            if curves:
                name = {"gd": "gradient descent", "adam": "Adam"}[optimiser]
                more = ", float32" if dtype == "float32" else ", long" * (kind == "long")
                panels.append((f"tanh, order {order}, {name}{more}", curves))
    return panels


def _kernels(content: Record) -> list[Panel]:
    panels: list[Panel] = []
    for order in content["settings"]["orders"]:
        cell = _one(
            content, "training", order, content["settings"]["dimensions"][0], "tanh", optimiser="adam", dtype="float64"
        )
        curves: dict[str, Curve] = {}
        for method in cell["methods"] if cell else []:
            kernels = cell["methods"][method]["kernels"]  # type: ignore[index]
            for when, found in (("before", kernels[0]), ("after", kernels[-1])):
                values = found["values"]
                label = f"{_label(content, cell, method)}, {when}"  # type: ignore[arg-type]
                curves[label] = _line([max(v / values[0], 1e-34) for v in values])
        if curves:
            panels.append((f"tanh, order {order}, {content['settings']['dimensions'][0]}-D", curves))
    return panels
