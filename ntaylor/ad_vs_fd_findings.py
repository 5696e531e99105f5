"""What a record of ``ntaylor ad-vs-fd`` says: rows of tables, and findings with their counts.

Floor 13: numbers in, words out; nothing is measured here and no figure is typed by hand. A *pair* is the exact
method and one of differences in the same cell, that is with the same features or the same start.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

__all__ = [
    "AUTO",
    "FIT_HEAD",
    "JETS",
    "TRAINING_HEAD",
    "Count",
    "best",
    "findings",
    "fit_rows",
    "losses",
    "method_name",
    "middle",
    "pairs",
    "ratio",
    "smooth_enough",
    "spread",
    "training_rows",
]

JETS = "jets"
AUTO = "fd auto"
"""The step that the engine's error model chooses."""

HEADLINE = 1e-12
"""The cut-off of the tables."""
_EQUAL = 1e-3
"""Figures that are closer than this, relatively, are called equal."""

Cell = dict[str, Any]


def method_name(step: float | None) -> str:
    """``jets`` is the exact one; a step that is a power of two is written so; None is the chosen step."""
    if step is None:
        return AUTO
    exponent = math.log2(step)
    return f"fd 2^{exponent:.0f}" if exponent.is_integer() else f"fd {step:g}"


def smooth_enough(name: str, order: int) -> bool:
    """Whether the derivative of this order is continuous: of max(u, 0)^p those of an order below p are."""
    name = "relu1" if name == "relu" else name
    return not (name.startswith("relu") and name[4:].isdigit()) or int(name[4:]) > order


def spread(values: Iterable[float | None], digits: int = 2) -> str:
    """The median, and what several lie between."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    low, middle, high = (f"{v:.{digits}g}" for v in (min(known), statistics.median(known), max(known)))
    return middle if low == high else f"{middle} ({low} … {high})"


def _cells(content: Cell, kind: str, **wanted: Any) -> list[Cell]:
    found = [c for c in content["cells"].values() if c["kind"] == kind]
    return [c for c in found if all(c[name] == value for name, value in wanted.items())]


def _cutoff(content: Cell, value: float = HEADLINE) -> int:
    """The place of the cut-off, or of the one nearest to it."""
    cutoffs = content["settings"]["cutoffs"]
    return min(range(len(cutoffs)), key=lambda i: abs(math.log(cutoffs[i] / value)))


def _coarse(content: Cell, order: int) -> str:
    return method_name(content["settings"]["steps"][str(order)][0])


def _coarsest(content: Cell) -> Callable[[Cell], list[str]]:
    return lambda cell: [_coarse(content, cell["order"])]


# --- tables ------------------------------------------------------------------------------------------

FIT_HEAD = (
    *("order", "d", "activation", "method", "H(a)", "H/log N", "N_a", "smallest kept"),
    *("σ small / exact", "residual", "error", "seconds"),
)


def middle(values: Iterable[float | None], digits: int = 2) -> str:
    """The median alone, for tables that have to be narrow."""
    known = [v for v in values if v is not None]
    return f"{statistics.median(known):.{digits}g}" if known else "–"


def fit_rows(content: Cell, short: bool = False, spread: Callable[..., str] = spread) -> list[tuple[str, ...]]:
    """A row a group of seeds and method; ``short`` leaves the chosen, the coarsest and the best step."""
    at = _cutoff(content)
    rows: list[tuple[str, ...]] = []
    for (order, dimension, name), group in _grouped(_cells(content, "features")):
        methods = list(group[0]["methods"])
        if short:
            tried = [m for m in methods if m != JETS]
            best = min(tried, key=lambda m: statistics.median(c["methods"][m]["error"][at] for c in group))
            methods = [m for m in methods if m in (JETS, _coarse(content, order), best, AUTO)]
        for method in methods:
            of = [c["methods"][method] for c in group]
            rough = "" if smooth_enough(name, order) else " *"
            rows.append(
                (
                    str(order),
                    str(dimension),
                    name + rough,
                    method,
                    *(spread([f[key][at] for f in of], 3) for key in ("entropy", "normalised", "number")),
                    spread([f["smallest_kept"][at] for f in of]),
                    "1" if method == JETS else spread([f["small"] for f in of]),
                    spread([f["residual"][at] for f in of]),
                    spread([f["error"][at] for f in of]),
                    spread([statistics.median(f["seconds"] for f in of)]),
                )
            )
    return rows


TRAINING_HEAD = (
    *("order", "d", "activation", "optimiser", "method", "loss", "exact loss", "error"),
    *("H(a) of G", "H/log N of G", "ms a step", "diverged"),
)


def training_rows(content: Cell, spread: Callable[..., str] = spread) -> list[tuple[str, ...]]:
    """A row a group of seeds and method; losses are those after equally many steps."""
    at = _cutoff(content)
    rows: list[tuple[str, ...]] = []
    cells = _cells(content, "training") + _cells(content, "long")
    groups = _grouped(cells, ("optimiser", "dtype", "kind"))
    for (order, dimension, name, optimiser, dtype, kind), group in groups:
        for method in group[0]["methods"]:
            of = [c["methods"][method] for c in group]
            ended = [f for f in of if f["diverged_at"] is None]
            rows.append(
                (
                    str(order),
                    str(dimension),
                    name,
                    optimiser + (" f32" if dtype == "float32" else " long" if kind == "long" else ""),
                    method,
                    *(spread([f["curve"][key][-1] for f in ended]) for key in ("loss", "exact_loss", "error")),
                    *(spread([f["kernels"][-1][key][at] for f in ended], 3) for key in ("entropy", "normalised")),
                    spread([statistics.median(1e3 * f["seconds_a_step"] for f in of)]),
                    str(len(of) - len(ended)) if len(of) > len(ended) else "",
                )
            )
    return rows


def _grouped(cells: Sequence[Cell], more: tuple[str, ...] = ()) -> list[tuple[tuple[Any, ...], list[Cell]]]:
    """Cells that differ by their seed only, in the order of the record."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for c in cells:
        groups.setdefault(tuple(c[name] for name in ("order", "dimension", "activation", *more)), []).append(c)
    return list(groups.items())


# --- findings ----------------------------------------------------------------------------------------


class Count(NamedTuple):
    """In how many pairs a statement held, both were equal to a thousandth, or the opposite held."""

    yes: int
    equal: int
    no: int

    @property
    def of(self) -> int:
        """All of them."""
        return self.yes + self.equal + self.no

    @property
    def verdict(self) -> str:
        """In one word, by nine tenths of the pairs; equal ones count for neither."""
        if not self.of:
            return "not measured"
        if self.yes >= 0.9 * self.of:
            return "confirmed"
        if self.no >= 0.9 * self.of:
            return "refuted: the opposite holds"
        if self.equal >= 0.9 * self.of:
            return "no difference"
        return "never the opposite, but often equal" if not self.no else "not in general"

    def __str__(self) -> str:
        return f"{self.yes} of {self.of}" + (f", {self.equal} equal" if self.equal else "")


def pairs(content: Cell, kind: str, methods: Callable[[Cell], Sequence[str]] | None = None, **wanted: Any) -> list[Any]:
    """(exact, by differences, cell) of every pair of smooth enough activations; all methods unless chosen."""
    found = []
    for c in _cells(content, kind, **wanted):
        if smooth_enough(c["activation"], c["order"]):
            chosen = [m for m in c["methods"] if m != JETS] if methods is None else methods(c)
            found += [(c["methods"][JETS], c["methods"][m], c) for m in chosen if m in c["methods"]]
    return found


def _counted(values: Iterable[tuple[float, float]]) -> Count:
    """How often the first is larger than the second."""
    yes = equal = no = 0
    for a, b in values:
        if a == b or (math.isfinite(a - b) and abs(a - b) <= _EQUAL * max(abs(a), abs(b))):
            equal += 1
        elif a > b:
            yes += 1
        else:
            no += 1
    return Count(yes, equal, no)


def _auto(_: Cell) -> list[str]:
    return [AUTO]


def best(cell: Cell) -> list[str]:
    """Of a training the step with the least exact loss at the end, known afterwards only."""
    ended = {m: f for m, f in cell["methods"].items() if m != JETS and f["diverged_at"] is None}
    return sorted(ended, key=lambda m: ended[m]["curve"]["exact_loss"][-1])[:1]


def _entropies(content: Cell, key: str, at: int, methods: Any = None, **wanted: Any) -> Count:
    return _counted((a[key][at], b[key][at]) for a, b, _ in pairs(content, "features", methods, **wanted))


def losses(
    content: Cell, methods: Any = None, key: str = "exact_loss", kind: str = "training", **wanted: Any
) -> list[tuple[float, float]]:
    """(by differences, exact) after equally many steps; who diverged has lost, both together say nothing."""
    found = []
    for a, b, _ in pairs(content, kind, methods, **wanted):
        ends = [math.inf if f["diverged_at"] is not None else f["curve"][key][-1] for f in (b, a)]
        if ends != [math.inf, math.inf]:
            found.append((ends[0], ends[1]))
    return found


def ratio(found: Sequence[tuple[float, float]]) -> float | None:
    """The median of first over second."""
    return statistics.median(b / a for b, a in found) if found else None


def _reaches(content: Cell, pair: Any) -> bool:
    """Whether the exact spectrum ends below rounding, eps·σ_1 times some tens."""
    exact, _, c = pair
    return bool(exact["number"][0] < content["settings"]["features"][str(c["dimension"])])


def findings(content: Cell) -> list[tuple[str, str, str]]:
    """(statement, verdict, evidence) of the published findings, in their order."""
    single, long = _cells(content, "training", dtype="float32"), _cells(content, "long")
    return [
        _large(content),
        _small(content),
        _entropy(content, "entropy", "H(a)"),
        _entropy(content, "normalised", "H(a)/log N_a"),
        _kernels(content),
        *(_faster(content, optimiser, "float64") for optimiser in content["settings"]["optimisers"]),
        _order(content, "float64"),
        *([_faster(content, "adam", "float32"), _order(content, "float32")] if single else []),
        *([_faster(content, "adam", "float64", "long"), _order(content, "float64", "long")] if long else []),
    ]


def _large(content: Cell) -> tuple[str, str, str]:
    def agree(found: Sequence[Any]) -> Count:
        within = [b["large"] <= 0.05 for _, b, _ in found]
        return Count(sum(within), 0, len(within) - sum(within))

    chosen = pairs(content, "features", _auto)
    of_coarse = agree(pairs(content, "features", _coarsest(content)))
    evidence = (
        f"those above σ_1/100 agree to 5 % in {agree(chosen)} fits with the chosen step (largest difference: "
        f"{spread(b['large'] for _, b, _ in chosen)}), in {of_coarse} with the coarsest step and in "
        f"{agree(pairs(content, 'features'))} with any"
    )
    verdict = f"{agree(chosen).verdict} where the step is chosen; {of_coarse.verdict} where it is coarse"
    return "large singular values agree", verdict, evidence


def _small(content: Cell) -> tuple[str, str, str]:
    fits = pairs(content, "features")
    ends = [p for p in fits if _reaches(content, p)]
    rest = [p for p in fits if not _reaches(content, p)]
    of_ends, of_rest = (_counted((b["small"], 1.0) for _, b, _ in part) for part in (ends, rest))
    limit = f"{content['settings']['cutoffs'][0]:g} σ_1"
    evidence = (
        "geometric mean of the last quarter over the exact one: larger than 1 in "
        f"{of_ends} pairs whose exact spectrum ends below {limit} (factor {spread(b['small'] for _, b, _ in ends)}), "
        f"in {of_rest} of the others (factor {spread(b['small'] for _, b, _ in rest)})"
    )
    verdict = f"{of_ends.verdict} where the exact spectrum ends below {limit}; {of_rest.verdict} where it does not"
    return "small singular values of the FD matrix are larger", verdict, evidence


def _entropy(content: Cell, key: str, name: str) -> tuple[str, str, str]:
    cutoffs = content["settings"]["cutoffs"]
    counts = [_entropies(content, key, i) for i in range(len(cutoffs))]
    evidence = "; ".join(
        f"a = {a:g} σ_1: {count} (chosen step {_entropies(content, key, i, _auto)})"
        for i, (a, count) in enumerate(zip(cutoffs, counts, strict=True))
    )
    shares = [count.yes / count.of for count in counts if count.of]
    depends = max(shares, default=0) - min(shares, default=0) > 0.2
    verdict = counts[_cutoff(content)].verdict
    others = ", ".join(f"{a:g} σ_1" for a, count in zip(cutoffs, counts, strict=True) if count.verdict != verdict)
    whatever = f", at all cut-offs but {others}" if others else ", whatever the cut-off"
    return (
        f"AD's truncated entropy {name} is larger",
        verdict + ("; how often, depends on the cut-off" if depends else whatever),
        evidence,
    )


def _kernels(content: Cell) -> tuple[str, str, str]:
    """The same of the training kernels, at the start and at the end."""
    at = _cutoff(content)
    found = [
        (a["kernels"], b["kernels"])
        for a, b, _ in pairs(content, "training", dtype="float64")
        if a["diverged_at"] is None and b["diverged_at"] is None
    ]
    counts = {
        (key, place): _counted((a[place][key][at], b[place][key][at]) for a, b in found)
        for key in ("entropy", "normalised")
        for place in (0, -1)
    }
    evidence = "; ".join(
        f"{ {'entropy': 'H(a)', 'normalised': 'H/log N_a'}[key] } {'after' if place else 'before'} training: {count}"
        for (key, place), count in counts.items()
    )
    return "AD's training kernel has the larger H(a)/log N_a", counts["normalised", 0].verdict, evidence


def _faster(content: Cell, optimiser: str, dtype: str, kind: str = "training") -> tuple[str, str, str]:
    one = {"optimiser": optimiser, "dtype": dtype}
    ways = {"coarsest step": _coarsest(content), "chosen step": _auto, "best of the tried steps": best}
    verdicts, parts = [], []
    for label, methods in ways.items():
        found = losses(content, methods, kind=kind, **one)
        verdicts.append(f"{label}: {_counted(found).verdict}")
        parts.append(f"{label}: lower in {_counted(found)}, median loss ratio FD/AD {_number(ratio(found))}")
    name = {"gd": "gradient descent", "adam": "Adam"}.get(optimiser, optimiser)
    verdict = "; ".join(verdicts)
    what = f"AD trains to a lower residual, by {name} in {content['settings']['long']:,} steps"
    return (
        what if kind == "long" else f"AD trains faster, by {name}{_in(dtype)}",
        verdict,
        "exact loss after equal steps: " + "; ".join(parts),
    )


def _in(dtype: str) -> str:
    return "" if dtype == "float64" else f", in {dtype}"


def _order(content: Cell, dtype: str, kind: str = "training") -> tuple[str, str, str]:
    """Of medians: yes where the last order's is larger than the first's and none falls below the one before it."""
    orders, verdicts, parts = content["settings"]["orders"], [], []
    for label, methods in (("coarsest", _coarsest(content)), ("chosen", _auto), ("best", best)):
        found = [losses(content, methods, kind=kind, order=n, dtype=dtype) for n in orders]
        by_order = [ratio(of_order) for of_order in found]
        listed = ", ".join(map(_number, by_order))
        counts = "/".join(str(len(of_order)) for of_order in found)
        parts.append(
            f"{label} step, orders {', '.join(map(str, orders))}: median loss ratio FD/AD {listed} ({counts} pairs)"
        )
        verdicts.append(f"{label} step: {_growth([r for r in by_order if r is not None])}")
    return (
        f"more so at higher order{', in long trainings' if kind == 'long' else _in(dtype)}",
        "; ".join(verdicts),
        "; ".join(parts),
    )


def _growth(ratios: Sequence[float]) -> str:
    """In a word, whether these grow, to a hundredth."""
    if len(ratios) < 2:
        return "not measured"
    if ratios[-1] > 1.01 * ratios[0]:
        falls = any(after < 0.99 * before for before, after in itertools.pairwise(ratios))
        return "not at every order" if falls else "yes"
    if ratios[-1] < 0.99 * ratios[0]:
        return "no, less so"
    return "no difference" if max(ratios) <= 1.01 * min(ratios) else "no"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
