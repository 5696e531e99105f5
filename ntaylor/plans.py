"""A linear differential operator as a plan, directions × order × weights.

Floor 8. An operator is a sum of terms; its part of each degree is a polynomial, which ``power_sums`` writes as powers
of linear forms, that is directional derivatives (``docs/theory.md`` section 9). Those of one order are one step, for
one push along all their directions; several steps may be one pass (``passes``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from ntaylor.directions import Coordinates, Directions, of_integers
from ntaylor.linear_forms import Direction, Monomial
from ntaylor.passes import Pass, Wanted, one_pass
from ntaylor.power_sums import condition, power_sum
from ntaylor.terms import Factor, Form, Term, Terms, expanded

__all__ = ["Plan", "Step", "Sum", "Taken", "make_plan"]

Array = Any


class Sum(NamedTuple):
    """A share of a step in the result: factors · Σ_r ω_r D_{v_r}^degree f, of derivatives."""

    output: int
    """Which of several operators it belongs to."""
    degree: int
    factors: tuple[Factor, ...]
    weights: tuple[Fraction, ...]


@dataclass(frozen=True)
class Step:
    """One push: directions, the order they are pushed to, and what is summed."""

    order: int
    sums: tuple[Sum, ...]
    integers: tuple[Direction, ...] = ()
    """Exact directions, or none for …"""
    every: int = 0
    """… all so many coordinates, or …"""
    form: Form | None = None
    """… those of a form, whose weights are known when it is applied."""
    conditions: tuple[float, ...] = ()

    def count(self, dimension: int) -> int:
        """R."""
        return len(self.integers) or self.every or (dimension if self.form is None else self.form.count(dimension))

    def arrays(self, collapse: bool) -> int:
        """Of a step of known directions: what a push carries beside f(x)."""
        count = len(self.integers)
        collapsed = collapse and count > 1 and sum(s.degree == self.order for s in self.sums) == 1
        return count * (self.order - collapsed) + collapsed

    def at(self, x: Array) -> tuple[Directions, list[float] | None]:
        """The directions, and weights that multiply those of the sums."""
        if self.form is not None:
            return self.form.directions(x)
        if self.every:
            return Coordinates(range(self.every)), None
        return of_integers(self.integers, x.shape[-1]), None


Taken = tuple[bool, ...]
"""Some of a plan's steps."""
Result = tuple[int, tuple[Factor, ...]]
"""An output, and the factors of what is added to it."""


@dataclass(frozen=True)
class Plan:
    """How operators are computed: printed, it says so in plain words."""

    dimension: int
    outputs: int
    values: tuple[tuple[int, tuple[Factor, ...], Fraction], ...]
    """Multiples of f itself: output, factors, number."""
    steps: tuple[Step, ...]
    passes: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Of a network several steps are one pass; made when first wanted, as plans of some of the steps are."""

    def one_pass(self, taken: Taken, collapse: bool) -> tuple[tuple[Result, ...], Pass]:
        """Those steps, of known directions, and the multiples of f: what the results of the pass are, and the pass."""
        _prepare_pass(self, taken, collapse)
        return self.passes[taken, collapse]  # type: ignore[no-any-return]

    def part(self, kept: Taken) -> Plan:
        """With those steps alone; the same plan at every call."""
        _prepare_part(self, kept)
        return self.passes[kept]  # type: ignore[no-any-return]

    def together(self, kept: Taken, collapse: bool) -> tuple[Step, ...]:
        """Those steps, of known directions, for pushes of a function: two of them are one where that costs no more.

        A push costs the arrays that it carries, f(x) among them, and one more for the call of f. As one, all its
        directions go to the higher order, and the sum of the top ones may be of some of them.
        """
        _prepare_together(self, kept, collapse)
        return self.passes["together", kept, collapse]  # type: ignore[no-any-return]

    @property
    def order(self) -> int:
        """The highest order of any jet."""
        return max((s.order for s in self.steps), default=0)

    @property
    def directions(self) -> int:
        """How many jets are pushed."""
        return sum(s.count(self.dimension) for s in self.steps)

    def __str__(self) -> str:
        lines = [f"in {self.dimension} dimension{'s' * (self.dimension != 1)}:"]
        for _, factors, number in self.values:
            lines.append(f"  {_times(number)}{_of_factors(factors)}f(x)")
        for step in self.steps:
            lines += _described(step, self.dimension)
        exact = tuple(bool(step.integers) for step in self.steps)
        if sum(exact) > 1:
            carried = self.one_pass(exact, True)[1].size
            lines.append(f"  of a network, jets of several orders in one pass that shares f(x): {carried} arrays")
        if not self.steps and not self.values:
            lines.append("  nothing: the operator is 0")
        return "\n".join(lines)


def _times(number: Fraction) -> str:
    return "" if number == 1 else f"{number} · "


def _of_factors(factors: Sequence[Factor]) -> str:
    names = []
    for function, monomial in factors:
        name = getattr(function, "__name__", type(function).__name__)
        names.append(f"{'∂' + ''.join(map(str, monomial)) + ' ' if monomial else ''}{name}(x) · ")
    return "".join(names)


def _vector(direction: Direction, dimension: int) -> str:
    if dimension <= 6:
        entries = dict(direction)
        return f"({', '.join(str(entries.get(i, 0)) for i in range(dimension))}{',' * (dimension == 1)})"
    return " + ".join(f"{_times(Fraction(entry))}e{i}" for i, entry in direction)


_SHOWN = 12


def _described(step: Step, dimension: int) -> list[str]:
    count = step.count(dimension)
    plain, collapsed = 1 + step.order * count, 2 + (step.order - 1) * count
    tops = [s for s in step.sums if s.degree == step.order]
    lines = [f"  {count} jet{'s' * (count != 1)} of order {step.order}{' that share f(x)' * (count > 1)}"]
    if len(tops) == 1 and count > 1:
        lines.append(
            f"    cost: {collapsed} arrays like f(x), order {step.order} carried as its sum (collapsed), not {plain}"
        )
    else:
        lines.append(f"    cost: {plain} arrays like f(x)")
    if step.order == 2 and len(tops) == 1 and count > 1 and not (step.form and step.form.varies):
        lines.append("    of a network whose first layer has fewer outputs, as many jets as that has (compressed)")
    if step.order > 1:
        lines.append(
            f"    nested reverse mode instead is {step.order} gradients deep, its graph grows as 2^{step.order}"
        )
    for s in step.sums:
        power = "" if s.degree == 1 else f"^{s.degree}"
        lines.append(f"    {_of_factors(s.factors)}Σ ω D_v{power} f with")
        if step.every:
            lines.append(f"      v = every coordinate  ω = {s.weights[0]}")
        elif step.form is not None:
            kind = (
                "the Cholesky factor's columns at each point"
                if step.form.varies
                else "the matrix's scaled eigenvectors"
            )
            signs = {sign * float(s.weights[0]) for sign in step.form.signs or [1.0]}
            lines.append(f"      v = {kind}  ω = {' or '.join(f'{w:g}' for w in sorted(signs, reverse=True))}")
        else:
            used = [(v, w) for v, w in zip(step.integers, s.weights, strict=True) if w]
            width = max(len(_vector(v, dimension)) for v, _ in used[:_SHOWN])
            lines += [f"      v = {_vector(v, dimension):<{width}}  ω = {w}" for v, w in used[:_SHOWN]]
            if len(used) > _SHOWN:
                lines.append(f"      and {len(used) - _SHOWN} more")
    if step.conditions and max(step.conditions) > 1:
        lines.append(f"    cancellation costs a factor of at most {max(step.conditions):.3g} in rounding")
    return lines


# --- making ------------------------------------------------------------------------------------------

_EXPANDED = 32
"""Up to so many coordinates a Laplacian is written out, so that it may share directions with other terms."""


def make_plan(operators: Sequence[Terms], dimension: int) -> Plan:
    """The plan of several operators at once. Weights are exact, and their identities were verified."""
    values: list[tuple[int, tuple[Factor, ...], Fraction]] = []
    polynomials: dict[tuple[int, tuple[Factor, ...], int], dict[Monomial, Fraction]] = {}
    steps: list[Step] = []
    for output, terms in enumerate(operators):
        alone = _laplacians_alone(terms, dimension)
        for term, number in terms.items():
            if term.form is not None:
                if not term.form.count(dimension):
                    continue
                sums = (Sum(output, 2, term.factors, (number,)),)
                steps.append(Step(2, sums, form=term.form))
            elif term in alone:
                steps.append(Step(2, (Sum(output, 2, term.factors, (number,)),), every=dimension))
            else:
                for monomial, times in expanded(term, dimension).items():
                    if not monomial:
                        values.append((output, term.factors, number * times))
                        continue
                    polynomial = polynomials.setdefault((output, term.factors, len(monomial)), {})
                    polynomial[monomial] = polynomial.get(monomial, Fraction(0)) + number * times
    return Plan(dimension, len(operators), tuple(values), (*_steps(polynomials), *steps))


def _laplacians_alone(terms: Terms, dimension: int) -> set[Term]:
    """Terms Δ that are better left as every coordinate."""
    if dimension <= _EXPANDED:
        return set()
    return {t for t in terms if t.laplacians == 1 and not t.monomial}


def _steps(polynomials: Mapping[tuple[int, tuple[Factor, ...], int], Mapping[Monomial, Fraction]]) -> list[Step]:
    """The highest degrees first; lower ones along directions that are there, where they are enough."""
    sums_of: dict[int, list[tuple[int, tuple[Factor, ...], dict[Direction, Fraction]]]] = {}
    conditions: dict[int, list[float]] = {}
    for (output, factors, degree), polynomial in polynomials.items():
        left = {monomial: c for monomial, c in polynomial.items() if c}
        if not left:
            continue
        found = power_sum(left, degree)
        weights = dict(zip(found.directions, found.weights, strict=True))
        sums_of.setdefault(degree, []).append((output, factors, weights))
        conditions.setdefault(degree, []).append(condition(found))
    order_of: dict[Direction, int] = {}
    for degree in sorted(sums_of, reverse=True):
        for _, _, weights in sums_of[degree]:
            for direction in weights:
                order_of.setdefault(direction, degree)
    steps = []
    for order in sorted(sums_of, reverse=True):
        directions = tuple(sorted(d for d, n in order_of.items() if n == order))
        if not directions:
            continue
        sums = []
        for degree in sorted(sums_of, reverse=True):
            for output, factors, weights in sums_of[degree]:
                row = tuple(weights.get(d, Fraction(0)) for d in directions)
                if any(row) and degree <= order:
                    sums.append(Sum(output, degree, factors, row))
        steps.append(Step(order, tuple(sums), integers=directions, conditions=tuple(conditions.get(order, ()))))
    return steps


# --- parts of a plan ----------------------------------------------------------------------------------


def _prepare_pass(plan: Plan, taken: Taken, collapse: bool) -> bool:
    """Make the pass that is looked up next."""
    if (taken, collapse) in plan.passes:
        return True
    steps = list(itertools.compress(plan.steps, taken))
    results: dict[Result, int] = {}
    wanted = []
    # Those of one result, output, degree and factors are one sum, though their directions are of several steps.
    shares: dict[tuple[Result, int], list[tuple[Direction, Fraction]]] = {}
    for step in steps:
        for s in step.sums:
            pairs = [(v, w) for v, w in zip(step.integers, s.weights, strict=True) if w]
            shares.setdefault(((s.output, s.factors), s.degree), []).extend(pairs)
    for output, factors, number in plan.values:
        shares.setdefault(((output, factors), 0), []).append(((), number))
    for (result, degree), pairs in shares.items():
        wanted.append(Wanted(results.setdefault(result, len(results)), degree, tuple(pairs)))
    plan.passes[taken, collapse] = tuple(results), one_pass(wanted, len(results), plan.dimension, collapse)
    return True


def _prepare_part(plan: Plan, kept: Taken) -> bool:
    if kept not in plan.passes:
        steps = tuple(itertools.compress(plan.steps, kept))
        plan.passes[kept] = Plan(plan.dimension, plan.outputs, plan.values, steps)
    return True


def _prepare_together(plan: Plan, kept: Taken, collapse: bool) -> bool:
    if ("together", kept, collapse) not in plan.passes:
        found: list[Step] = []
        for step in itertools.compress(plan.steps, kept):
            both = _as_one(found[-1], step) if found else step
            if found and both.arrays(collapse) <= found[-1].arrays(collapse) + 2 + step.arrays(collapse):
                found[-1] = both
            else:
                found.append(step)
        plan.passes["together", kept, collapse] = tuple(found)
    return True


def _as_one(first: Step, second: Step) -> Step:
    """A step of the directions of both, of which the first has the higher order."""
    zero = Fraction(0)
    before, after = (zero,) * len(first.integers), (zero,) * len(second.integers)
    weights = {(s.output, s.degree, s.factors): s.weights + after for s in first.sums}
    for s in second.sums:
        key = s.output, s.degree, s.factors
        weights[key] = weights.get(key, before + after)[: len(before)] + s.weights
    sums = tuple(Sum(*key, row) for key, row in weights.items())
    return Step(first.order, sums, first.integers + second.integers, conditions=first.conditions + second.conditions)


# Fractions are not for torch.compile to follow.
_prepare_pass._dynamo_marked_constant = True  # type: ignore[attr-defined]
_prepare_part._dynamo_marked_constant = True  # type: ignore[attr-defined]
_prepare_together._dynamo_marked_constant = True  # type: ignore[attr-defined]
