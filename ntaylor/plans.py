"""A linear differential operator as a plan, directions × order × weights, and the plan applied.

Floor 9. An operator is a sum of terms; its part of each degree is a polynomial, which ``power_sums`` writes as powers
of linear forms, that is directional derivatives (``docs/theory.md`` section 9). Those of one order are one step: one
push along all their directions. That a step is exact, collapsed or compressed is a choice here, not another code.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from ntaylor import pushing
from ntaylor.array_object import unwrapped_namespace
from ntaylor.directions import Coordinates, Directions, of_integers
from ntaylor.linear_forms import Direction, Monomial
from ntaylor.namespace import array_namespace, broadcast_shapes, device, hides_values, is_array
from ntaylor.passes import Wanted, one_pass
from ntaylor.power_sums import condition, power_sum
from ntaylor.terms import Factor, Form, Term, Terms, expanded

__all__ = ["METHODS", "Plan", "Step", "Sum", "apply", "factor_value", "make_plan", "scaled"]

Array = Any

METHODS = ("auto", "plain", "collapsed", "compressed")


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

    def at(self, x: Array) -> tuple[Directions, list[float] | None]:
        """The directions, and weights that multiply those of the sums."""
        if self.form is not None:
            return self.form.directions(x)
        if self.every:
            return Coordinates(range(self.every)), None
        return of_integers(self.integers, x.shape[-1]), None


Taken = tuple[bool, ...]
"""Some of a plan's steps."""


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

    def part(self, kept: Taken) -> Plan:
        """With those steps alone; the same plan at every call."""
        _prepare_part(self, kept)
        return self.passes[kept]  # type: ignore[no-any-return]

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


# --- applying ----------------------------------------------------------------------------------------


def apply(
    plan: Plan, f: Callable[..., Any], x: Array, method: str = "auto", max_directions: int | None = None
) -> list[Array]:
    """Each operator of the plan, of the shape of f(x). ``x`` is (\\*batch, d)."""
    primal: Any = None
    totals: list[Any] = [None] * plan.outputs
    if method == "compressed":
        _check_compressible(plan, f, x)

    def add(share: Sum, result: Any) -> None:
        value = result if not share.factors else factor_value(share.factors, x, result) * result
        totals[share.output] = value if totals[share.output] is None else totals[share.output] + value

    taken = _taken(plan, f, x, method, max_directions)
    done = () if not any(taken) else _in_one_pass(plan, taken, f, x, method != "plain")
    if done is None:
        taken = (False,) * len(plan.steps)
    elif done:
        primal, found = done
        for (output, factors), result in zip(_results(plan, taken), found, strict=True):
            if result is not None:
                add(Sum(output, 0, factors, ()), result)
    for step in itertools.compress(plan.steps, map(operator.not_, taken)):
        directions, signs = step.at(x)
        tops = [s for s in step.sums if s.degree == step.order]
        lower = [s for s in step.sums if s.degree < step.order]
        if _is_compressed(step, tops, f, x, directions, method):
            for top in tops:
                scale, relative = scaled(top.weights, signs)
                primal, result = pushing.quadratic(f, x, directions, relative, max_directions)
                add(top, result * scale)
            if lower:  # first derivatives, along those directions only that they need
                kept = [r for r in range(directions.count) if any(s.weights[r] for s in lower)]
                directions = of_integers([step.integers[r] for r in kept], x.shape[-1])
                lower = [s._replace(weights=tuple(s.weights[r] for r in kept)) for s in lower]
            step_sums, order = lower, 1
        else:
            step_sums, order = list(step.sums), step.order
        if step_sums:
            primal = _push_and_sum(f, x, directions, signs, order, step_sums, method, max_directions, add)
    for output, factors, number in () if any(taken) else plan.values:
        primal = f(x) if primal is None else primal
        add(Sum(output, 0, factors, ()), primal * float(number))
    if any(t is None for t in totals):
        primal = f(x) if primal is None else primal
        totals = [primal * 0 if t is None else t for t in totals]
    return totals


def _taken(plan: Plan, f: Any, x: Array, method: str, max_directions: int | None) -> Taken:
    """Of a network, the steps of known directions that are not compressed, the small ones first, up to a size."""
    left = 0 if max_directions is not None or x.shape[-1] > pushing.WRITTEN_OUT else pushing.MOST - 1
    by_size = sorted((len(s.integers) * s.order, i) for i, s in enumerate(plan.steps) if s.integers)
    taken = [False] * len(plan.steps)
    for cost, i in by_size:
        if cost <= left:
            step = plan.steps[i]
            directions, _ = step.at(x)
            tops = [s for s in step.sums if s.degree == step.order]
            taken[i] = not _is_compressed(step, tops, f, x, directions, method)
            left -= cost if taken[i] else 0
    return tuple(taken)


def _results(plan: Plan, taken: Taken) -> list[tuple[int, tuple[Factor, ...]]]:
    """(output, factors) of every result of the pass."""
    sums = [s for step in itertools.compress(plan.steps, taken) for s in step.sums]
    return list(dict.fromkeys([*((s.output, s.factors) for s in sums), *((o, f) for o, f, _ in plan.values)]))


def _in_one_pass(plan: Plan, taken: Taken, f: Any, x: Array, collapse: bool) -> tuple[Array, list[Array | None]] | None:
    _prepare_pass(plan, taken, collapse)
    one = plan.passes[taken, collapse]
    found = pushing.fanned(f, x, one.directions, one.fan)
    return None if found is None else (found[0], one.combined(found))


def _prepare_pass(plan: Plan, taken: Taken, collapse: bool) -> bool:
    """Make the pass that is looked up next."""
    if (taken, collapse) not in plan.passes:
        results = {result: i for i, result in enumerate(_results(plan, taken))}
        wanted = [
            Wanted(results[s.output, s.factors], s.degree, tuple((v, w) for v, w in pairs if w))
            for step in itertools.compress(plan.steps, taken)
            for s in step.sums
            for pairs in [zip(step.integers, s.weights, strict=True)]
        ]
        wanted += [Wanted(results[output, factors], 0, (((), number),)) for output, factors, number in plan.values]
        plan.passes[taken, collapse] = one_pass(wanted, len(results), plan.dimension, collapse)
    return True


def _prepare_part(plan: Plan, kept: Taken) -> bool:
    if kept not in plan.passes:
        steps = tuple(itertools.compress(plan.steps, kept))
        plan.passes[kept] = Plan(plan.dimension, plan.outputs, plan.values, steps)
    return True


# Fractions are not for torch.compile to follow.
_prepare_pass._dynamo_marked_constant = True  # type: ignore[attr-defined]
_prepare_part._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _is_compressed(step: Step, tops: Sequence[Sum], f: Any, x: Array, directions: Directions, method: str) -> bool:
    if method in ("plain", "collapsed") or step.order != 2 or not directions.shared:
        return False
    if method == "auto" and not hasattr(unwrapped_namespace([x]), "linalg"):  # an extension, which a library may lack
        return False
    width = pushing.width_of_compression(f, x)
    # Of several sums over the same directions each is compressed alone.
    return width is not None and (directions.count > width * len(tops) or method == "compressed")


def _check_compressible(plan: Plan, f: Any, x: Array) -> None:
    if not any(s.order == 2 and not (s.form and s.form.varies) for s in plan.steps):
        raise ValueError(
            'method="compressed" is for operators of second order whose directions all points share, this one has no '
            'such part: pass method="collapsed", or leave it out'
        )
    if pushing.width_of_compression(f, x) is None:
        raise ValueError(
            'method="compressed" needs an nt.MLP whose first layer is dense, or a HardConstraint of one, and points '
            f'(batch, d); f is a {type(f).__name__}, x has shape {tuple(x.shape)}: pass "collapsed"'
        )


def scaled(weights: Sequence[Fraction], signs: Sequence[float] | None = None) -> tuple[float, list[float] | None]:
    """A number, and the weights of every direction relative to it: None if all are 1.

    One weight is that of all, so that a million equal ones are never written out.
    """
    if signs is None and len(weights) == 1:
        return float(weights[0]), None
    numbers = [float(w) for w in weights]
    if signs is not None:
        numbers = [w * s for w, s in zip(numbers * len(signs) if len(numbers) == 1 else numbers, signs, strict=True)]
    first = next((w for w in numbers if w), 1.0)
    return (first, None) if all(w == first for w in numbers) else (1.0, numbers)


def _push_and_sum(
    f: Any,
    x: Array,
    directions: Directions,
    signs: Sequence[float] | None,
    order: int,
    sums: Sequence[Sum],
    method: str,
    max_directions: int | None,
    add: Callable[[Sum, Any], None],
) -> Any:
    xp = unwrapped_namespace([x])
    count = directions.count
    tops = [s for s in sums if s.degree == order]
    collapse = len(tops) == 1 and method != "plain" and count > 1
    primal = None
    weighted = [(s, *scaled(s.weights, signs)) for s in sums]
    size = max_directions or count

    def array(weights: list[float]) -> Array:
        return xp.asarray(weights, dtype=x.dtype, device=None if hides_values(x) else device(x))

    for start in range(0, count, size):
        stop = min(start + size, count)
        part = directions if (start, stop) == (0, count) else directions.part(start, stop)
        here = [(s, scale, None if every is None else every[start:stop]) for s, scale, every in weighted]
        weights, total = None, None
        if collapse:
            of_top = next(relative for s, _, relative in here if s is tops[0])
            weights = None if of_top is None else array(of_top)
            total = float(stop - start) if of_top is None else sum(of_top)
        c = pushing.along(f, x, part, order, weights, total)
        primal = c[0]
        for s, scale, relative in here:
            found = c[s.degree]
            if found is None:
                continue
            if not (collapse and s is tops[0]):
                if relative is not None:
                    found = found * xp.reshape(array(relative), (-1, *(1,) * (found.ndim - 1)))
                found = xp.sum(found, axis=0)
            add(s, found * (scale * math.factorial(s.degree)))
    return primal


def factor_value(factors: Sequence[Factor], x: Array, like: Array) -> Any:
    """The product of the factors at x, to multiply by ``like``, which is of f's shape."""
    product: Any = 1.0
    for function, monomial in factors:
        value = function(x)
        if not is_array(value):
            if isinstance(value, bool) or not isinstance(value, (int, float, complex)):
                raise TypeError(
                    f"a function that an operator is multiplied by must return an array or a number, it returned a "
                    f"{type(value).__name__}"
                )
            value = 0.0 if monomial else value  # a constant
        elif monomial:
            (value,) = apply(make_plan([{Term(monomial): Fraction(1)}], x.shape[-1]), function, x)
        product = product * _beside(value, x, like)
    return product


def _beside(value: Any, x: Array, like: Array) -> Any:
    """A factor's value, to multiply ``like``: (\\*batch,), (\\*batch, 1), of like's shape or a number."""
    if not is_array(value):
        return value
    shape, batch, whole = tuple(value.shape), tuple(x.shape[:-1]), tuple(like.shape)
    if not shape:
        # A NumPy number would decide the dtype of a product.
        return value.item() if isinstance(value, numpy.generic) else value
    if shape in ((*batch, 1), batch):  # one number a point, whatever f has a point
        return array_namespace(value).reshape(value, (*batch, *(1,) * (len(whole) - len(batch))))
    try:
        fits = broadcast_shapes(shape, whole) == whole
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"a function that an operator is multiplied by returned shape {shape}, f(x) has shape {whole}: it must "
            f"return one number a point, shape {batch} or {(*batch, 1)}, or broadcast to f(x)"
        )
    return value
