"""Unbiased estimates of differential operators from a few random directions, with their standard errors.

Floor 10: STDE (Shi, Hu, Lin, Kawaguchi 2024, arXiv 2412.00088) on the plans of exact operators. What is drawn is one
of the plan's directions, or a random vector v whose powers have the operator for their mean; how it is pushed is that
of ``plans``. Equation numbers refer to ``docs/theory.md`` section 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from ntaylor import pushing
from ntaylor.applying import apply, factor_value, scaled
from ntaylor.array_object import unwrapped_namespace
from ntaylor.directions import Coordinates, Directions, Draws, Fields, Rows
from ntaylor.namespace import array_namespace, device, hides_values
from ntaylor.plans import Plan, Step, Sum
from ntaylor.terms import Term, Terms

__all__ = ["KINDS", "VECTORS", "Estimate", "estimate", "split"]

Array = Any

VECTORS = ("rademacher", "gaussian")
KINDS = ("sparse", "stratified", *VECTORS)


class Estimate(NamedTuple):
    """What :meth:`ntaylor.operators.Operator.estimate` returns."""

    value: Array
    """Its mean is the operator's value; (\\*f(x).shape), or (sets, \\*f(x).shape)."""
    standard_error: Array | None
    """The standard deviation of the value, estimated from the spread of the samples; None if not asked for."""
    primal: Array
    """f(x), which every jet has anyway."""


def estimate(
    plan: Plan,
    random: Sequence[tuple[Term, Fraction]],
    f: Callable[..., Any],
    x: Array,
    samples: int,
    draws: Draws,
    kind: str,
    sets: int,
    standard_error: bool,
) -> Estimate:
    """See :meth:`ntaylor.operators.Operator.estimate`, which has checked the arguments.

    ``random`` are the terms that random vectors estimate, of :func:`split`; the plan is that of the others.
    """
    dimension = x.shape[-1]
    run = _Run(f, x, samples, draws, sets, standard_error)
    if kind in VECTORS:
        run.vectors(random, kind)
        if plan.steps or plan.values:
            run.exact(plan)
    else:
        steps = [s for s in plan.steps if s.count(dimension) > samples]
        few = tuple(s.count(dimension) <= samples for s in plan.steps)
        if any(few) or plan.values:
            run.exact(plan.part(few))
        for step in steps:
            run.step(step, kind)
    return run.result()


class _Run:
    """The sums of one estimate as they come in."""

    def __init__(self, f: Any, x: Array, samples: int, draws: Draws, sets: int, errors: bool):
        self.f, self.x, self.samples, self.draws = pushing.traced(f, x), x, samples, draws
        self.sets, self.errors = sets, errors
        self.xp = unwrapped_namespace([x])
        self.primal: Any = None
        self.sure: Any = None
        self.random: list[Any] = [None] * sets
        self.variance: list[Any] = [None] * sets

    def result(self) -> Estimate:
        primal = self.f(self.x) if self.primal is None else self.primal
        zero = primal * 0
        sure = zero if self.sure is None else self.sure
        values = [sure if r is None else sure + r for r in self.random]
        spread = [zero if v is None else self.xp.sqrt(v) for v in self.variance]
        value = values[0] if self.sets == 1 else self.xp.stack(values)
        errors = (spread[0] if self.sets == 1 else self.xp.stack(spread)) if self.errors else None
        return Estimate(value, errors, primal)

    def exact(self, plan: Plan) -> None:
        """What is computed as it is."""
        (self.sure,) = apply(plan, self.f, self.x)

    def _add(self, i: int, mean: Array, variance: Array | None) -> None:
        self.random[i] = mean if self.random[i] is None else self.random[i] + mean
        if variance is not None:
            self.variance[i] = variance if self.variance[i] is None else self.variance[i] + variance

    # --- among the plan's directions ---

    def step(self, step: Step, kind: str) -> None:
        """Directions of the step, each with the same probability: (11.1), or from every stratum: (11.2)."""
        directions, signs = step.at(self.x)
        n = step.count(self.x.shape[-1])
        weights = [scaled(s.weights, signs) for s in step.sums]
        for i in range(self.sets):
            if kind == "sparse":
                chosen = self.draws.choose(n, self.samples, self.x)
                self._sampled(i, step, directions, weights, chosen, None, n)
            else:
                chosen, sizes = self._stratified(n)
                self._sampled(i, step, directions, weights, chosen, sizes, n)

    def _stratified(self, n: int) -> tuple[Array, Any]:
        """Two different ones of each of samples/2 strata, neighbours together, and the strata's sizes."""
        strata = self.samples // 2
        bounds = numpy.linspace(0, n, strata + 1).astype(numpy.int64)
        sizes = numpy.diff(bounds)
        xp = self.xp
        numbers = self.draws.uniform((2, strata), self.x)
        here = None if hides_values(self.x) else device(self.x)
        size = xp.asarray(sizes.astype(numpy.float64), dtype=self.x.dtype, device=here)
        low = xp.asarray(bounds[:-1], device=here)
        first = xp.minimum(xp.floor(numbers[0, :] * size), size - 1)
        second = xp.minimum(xp.floor(numbers[1, :] * (size - 1)), size - 2)
        second = xp.where(second >= first, second + 1, second)
        # Added as integers: float32 knows those up to 2^24 only.
        return xp.concat([low + xp.astype(c, low.dtype) for c in (first, second)]), sizes

    def _sampled(
        self,
        i: int,
        step: Step,
        directions: Directions,
        weights: list[tuple[float, list[float] | None]],
        chosen: Array,
        sizes: Any,
        n: int,
    ) -> None:
        xp, x = self.xp, self.x
        shares: list[tuple[Sum, Any]] = []
        for share, (scale, relative) in zip(step.sums, weights, strict=True):
            if relative is None:
                shares.append((share, scale))
            else:
                every = xp.asarray(relative, dtype=x.dtype, device=None if hides_values(x) else device(x))
                shares.append((share, xp.take(every, chosen, axis=0)))
        part = _chosen(directions, chosen, x)
        if sizes is None:
            self._averaged(i, part, step.order, shares, n, self.samples / n)
        elif (each := self._each(part, step.order, shares)) is not None:
            self._add(i, *_strata(xp, each, sizes, self.errors))

    def _with_factors(self, s: Sum, value: Array, leading: int = 0) -> Array:
        if not s.factors:
            return value
        return value * factor_value(s.factors, self.x, value[0, ...] if leading else value)

    # --- random vectors ---

    def vectors(self, terms: Sequence[tuple[Term, Fraction]], kind: str) -> None:
        """Terms Δ^p and forms from random vectors v, (11.3) and (11.4)."""
        laplacians = [(t, c) for t, c in terms if t.form is None]
        order = 2 * max([0, *[t.laplacians for t, _ in laplacians]])
        for i in range(self.sets):
            draw = self.draws.signs if kind == "rademacher" else self.draws.normal
            if laplacians:
                rows = draw((self.samples, self.x.shape[-1]), self.x)
                shares = [
                    (Sum(0, 2 * t.laplacians, t.factors, ()), float(c) / _odd_factorial(t.laplacians))
                    for t, c in laplacians
                ]
                self._averaged(i, Rows(rows), order, shares)
            for t, c in terms:
                if t.form is not None:
                    directions, signs = t.form.directions(self.x)
                    if any(s < 0 for s in signs or ()):
                        raise ValueError(
                            f"kind={kind!r} takes a form with a positive semidefinite matrix; this one has negative "
                            "eigenvalues: pass kind='sparse'"
                        )
                    mixing = draw((self.samples, directions.count), self.x)
                    stack = directions.stack(self.x)
                    flat = self.xp.reshape(stack, (stack.shape[0], -1))
                    vectors = self.xp.reshape(mixing @ flat, (self.samples, *stack.shape[1:]))
                    self._averaged(i, Fields(vectors), 2, [(Sum(0, 2, t.factors, ()), float(c))])

    # --- what both do ---

    def _averaged(
        self,
        i: int,
        directions: Directions,
        order: int,
        shares: Sequence[tuple[Sum, Any]],
        factor: float = 1.0,
        fraction: float = 0.0,
    ) -> None:
        """factor · mean over the directions; they are a ``fraction`` of a finite population."""
        count = directions.count
        if not self.errors and len(shares) == 1 and isinstance(shares[0][1], float):
            share, number = shares[0]
            found = pushing.along(self.f, self.x, directions, order, None, float(count))
            self.primal = found[0]
            if found[-1] is not None:
                times = number * math.factorial(order) * factor / count
                self._add(i, self._with_factors(share, found[-1] * times), None)
        elif (each := self._each(directions, order, shares)) is not None:
            mean = self.xp.mean(each, axis=0)
            spread = self.xp.sum((each - mean) ** 2, axis=0) / (count - 1) if self.errors else None
            variance = None if spread is None else spread * (factor**2 / count * (1 - fraction))
            self._add(i, mean * factor, variance)

    def _each(self, directions: Directions, order: int, shares: Sequence[tuple[Sum, Any]]) -> Array | None:
        """Every direction's share of the operator, (R, \\*f(x).shape); None if all are zero."""
        c = pushing.along(self.f, self.x, directions, order)
        self.primal = c[0]
        total: Any = None
        for share, weight in shares:
            found = c[share.degree]
            if found is None:
                continue
            if not isinstance(weight, float):
                weight = self.xp.reshape(weight, (-1, *(1,) * (found.ndim - 1)))
            one = self._with_factors(share, found * (weight * math.factorial(share.degree)), leading=1)
            total = one if total is None else total + one
        return total


def split(terms: Terms, kind: str) -> tuple[dict[Term, Fraction], dict[Term, Fraction]]:
    """The terms that random vectors of a kind estimate, and the others."""
    random = {t: c for t, c in terms.items() if _has_mean(t, kind)}
    return random, {t: c for t, c in terms.items() if t not in random}


def _has_mean(term: Term, kind: str) -> bool:
    """Whether the term, but for its factors, is the mean of a power of D_v with v of this kind."""
    if term.monomial:
        return False
    return term.form is not None or term.laplacians == 1 or (kind == "gaussian" and term.laplacians > 1)


def _odd_factorial(p: int) -> int:
    """1 · 3 ⋯ (2p − 1): the mean of D_v^{2p} over standard normal v is this times Δ^p."""
    return math.prod(range(1, 2 * p, 2))


def _chosen(directions: Directions, chosen: Array, x: Array) -> Directions:
    xp = array_namespace(x)
    if isinstance(directions, Coordinates):
        if isinstance(directions.indices, range):
            return Coordinates(chosen)
        return Coordinates(xp.take(directions._indices(x), chosen, axis=0))
    if isinstance(directions, Rows):
        return Rows(xp.take(directions._of(x), chosen, axis=0))
    return Fields(xp.take(directions.stack(x), chosen, axis=0))


def _strata(xp: Any, each: Array, sizes: Any, errors: bool) -> tuple[Array, Array | None]:
    """Σ_h n_h · mean of the two of stratum h, and the variance Σ_h n_h² (1 − 2/n_h) s_h²/2, (11.2)."""
    strata = len(sizes)
    first, second = each[:strata, ...], each[strata:, ...]
    shape = (-1, *(1,) * (each.ndim - 1))
    here = None if hides_values(each) else device(each)
    size = xp.reshape(xp.asarray(sizes.astype(numpy.float64), dtype=each.dtype, device=here), shape)
    value = xp.sum(size * (first + second) / 2, axis=0)
    if not errors:
        return value, None
    return value, xp.sum(size * (size - 2) * (first - second) ** 2 / 4, axis=0)
