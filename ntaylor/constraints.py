"""Functions that meet conditions by construction, a(x) · network(x) + b(x), with operators applied to them exactly.

Floor 9. What of such a function depends on the dimension in a simple way is not differentiated along every direction:
a radial factor along a direction is a function of one number, and a second-order operator of the product needs the
network's along as many directions as its first layer has outputs, and along one more, the factor's gradient: (10.6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from itertools import zip_longest
from typing import Any

from ntaylor import pushing
from ntaylor.array_object import ArrayObject, new_level
from ntaylor.bundles import Bundle, Family
from ntaylor.differentiate import pushed
from ntaylor.directions import Coordinates, Directions, Fields, Itself
from ntaylor.fans import Fan, highest, merged, opened_out, size
from ntaylor.jets import Jet
from ntaylor.namespace import array_namespace, describe, device, hides_values
from ntaylor.series import Series, add

__all__ = ["HardConstraint", "Radial"]

Array = Any


class Radial:
    """x ↦ profile(‖x‖²), of shape (\\*batch, 1): a factor or a term of a :class:`HardConstraint`.

    ``profile(s, xp)`` is written against the array API: ``Radial(lambda s, xp: 1 - s)`` vanishes on the unit sphere,
    ``Radial(lambda s, xp: (1 - s) * (4 - s))`` on those of radius 1 and 2.
    """

    def __init__(self, profile: Callable[[Any, Any], Any]):
        if not callable(profile):
            raise TypeError(
                f"Radial takes a function of s = ‖x‖² and xp, such as lambda s, xp: 1 - s; got {describe(profile)}"
            )
        self.profile = profile

    def _of(self, s: Any) -> Any:
        return self.profile(s, s.__array_namespace__() if isinstance(s, ArrayObject) else array_namespace(s))

    def __call__(self, x: Any) -> Any:
        """profile(‖x‖²) at points (\\*batch, d), an array or a Jet."""
        xp = x.__array_namespace__() if isinstance(x, ArrayObject) else array_namespace(x)
        return self._of(xp.sum(x * x, axis=-1, keepdims=True))

    def jet_along(self, x: Array, directions: Directions, family: Family, order: int) -> Jet:
        """See :func:`ntaylor.pushing.jet_along`: ‖x + t v‖² = ‖x‖² + 2 t x·v + t² ‖v‖²."""
        xp = array_namespace(x)
        s = [xp.sum(x * x, axis=-1, keepdims=True), Bundle(2 * directions.inner(x), family)]
        # Squares that all points share are broadcast where they meet what differs.
        squares = xp.broadcast_to(directions.squares(x), (family.size, *s[0].shape))
        s.append(Bundle(squares, family))
        return pushed(self._of, s[: order + 1], order)  # type: ignore[no-any-return]

    def slope_and_laplacian(self, x: Array) -> tuple[Array, Array, Array]:
        """(a, 2a′, Δa): ∇a = 2a′ x and Δa = 4 s a″ + 2 d a′, with derivatives by s, (10.6)."""
        xp = array_namespace(x)
        s = xp.sum(x * x, axis=-1, keepdims=True)
        jet = pushed(self._of, [s, xp.ones_like(s)], 2)
        zero = s * 0
        first, half_second = (zero if c is None else c for c in jet.series)
        return jet.primal, 2 * first, 8 * s * half_second + 2 * x.shape[-1] * first


class HardConstraint:
    """x ↦ factor(x) · network(x) + term(x), exactly what it says in every derivative.

    Parameters
    ----------
    network: an :class:`ntaylor.MLP`, or another function of points (\\*batch, d).
    factor: a :class:`Radial` or any function of x whose value broadcasts against network(x), such as (\\*batch, 1).
    term: likewise, or None.

    ``parameters`` and ``replace`` are the network's. Second-order operators with constant coefficients are compressed
    as the network alone would be.
    """

    def __init__(self, network: Any, factor: Callable[[Any], Any], term: Callable[[Any], Any] | None = None):
        for name, part in {"network": network, "factor": factor, "term": term}.items():
            if not callable(part) and not (name == "term" and part is None):
                raise TypeError(f"{name} must be a function, such as operators.Radial(…); got {describe(part)}")
        self.network, self.factor, self.term = network, factor, term

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The network's."""
        return self.network.parameters  # type: ignore[no-any-return]

    @property
    def compresses(self) -> Any:
        """What decides how many directions are enough."""
        return self.network

    def traced(self, x: Array) -> HardConstraint:
        """See :func:`ntaylor.pushing.traced`."""
        other = copy(self)
        other.network = pushing.traced(self.network, x)
        return other

    def replace(self, parameters: Mapping[str, Array]) -> HardConstraint:
        """The same with other parameters of the network."""
        other = copy(self)
        other.network = self.network.replace(parameters)
        return other

    def __call__(self, x: Any) -> Any:
        """The value; of a Jet, the jet of the value."""
        value = self.factor(x) * self.network(x)
        return value if self.term is None else value + self.term(x)

    def jet_along(self, x: Array, directions: Directions, family: Family, order: int) -> Jet:
        """See :func:`ntaylor.pushing.jet_along`."""
        level = new_level()

        def of(f: Any) -> Any:
            jet = pushing.jet_along(f, x, directions, family, order)
            return Jet(jet._series, order, level=level)

        product = of(self.factor) * of(self.network)
        return product if self.term is None else product + of(self.term)  # type: ignore[no-any-return]

    def fanned(self, x: Array, directions: Directions, fan: Fan) -> list[Any] | None:
        """See :func:`ntaylor.pushing.fanned`: Leibniz' rule along every direction, (2.1)."""
        of_network = pushing.fanned(self.network, x, directions, fan)
        if of_network is None:
            return None
        product = merged(
            fan,
            [
                a * b
                for a, b in zip(
                    self._series(self.factor, x, directions, fan), map(Series, opened_out(fan, of_network)), strict=True
                )
            ],
        )
        product += [None] * (size(fan) - len(product))
        if self.term is None:
            return product
        term = merged(fan, self._series(self.term, x, directions, fan))
        zero = product[0] * 0  # of all outputs, where the term has one
        return [c if t is None else add(zero if c is None else c, t) for c, t in zip_longest(product, term)]

    @staticmethod
    def _series(f: Any, x: Array, directions: Directions, fan: Fan) -> list[Series]:
        """That of a factor or a term along every direction."""
        family = Family(directions.count, new_level())
        jet = pushing.jet_along(f, x, directions, family, highest(fan))

        def along(r: int, order: int) -> Series:
            above = (jet._coefficient(k) for k in range(1, order + 1))
            return Series([jet.primal, *(c.array[r, ...] if isinstance(c, Bundle) else c for c in above)])

        return [along(r, order) for r, order in enumerate(fan.orders)]

    def quadratic(
        self, x: Array, directions: Directions, weights: Any, max_directions: int | None = None
    ) -> tuple[Array, Array]:
        """As :func:`pushing.quadratic`: L(aN + b) = a LN + 2 D_g N + N La + Lb, g = Σ_r ω_r (D_{v_r} a) v_r."""
        value, second = pushing.quadratic(self.network, x, directions, weights, max_directions)
        a, scale, along, of_a = _first_and_second(self.factor, x, directions, weights, max_directions)
        slope = pushing.along(self.network, x, along, 1)[1]
        result = a * second + value * of_a
        if slope is not None:
            result = result + 2 * scale * slope[0, ...]
        total = a * value
        if self.term is not None:
            b, _, _, of_b = _first_and_second(self.term, x, directions, weights, max_directions)
            total, result = total + b, result + of_b
        return total, result


def _first_and_second(
    f: Any, x: Array, directions: Directions, weights: Any, max_directions: int | None
) -> tuple[Array, Any, Directions, Array]:
    """(f, c, v, Σ_r ω_r D²_{v_r} f) with one direction v a point and a factor c: c v = Σ_r ω_r (D_{v_r} f) v_r."""
    whole = isinstance(directions, Coordinates) and directions.indices == range(x.shape[-1]) and weights is None
    if isinstance(f, Radial) and whole:
        value, scale, second = f.slope_and_laplacian(x)
        return value, scale, Itself(), second
    count = directions.count
    size = max_directions or count
    value, gradient, total = None, 0.0, 0.0
    for start in range(0, count, size):
        part = directions if size >= count else directions.part(start, min(start + size, count))
        value, g, second = _of_part(f, x, part, None if weights is None else weights[start : start + size])
        gradient, total = gradient + g, total + second
    return value, 1.0, Fields(gradient[None, ...]), total  # type: ignore[index]


def _of_part(f: Any, x: Array, directions: Directions, weights: Any) -> tuple[Array, Array, Array]:
    """(f, Σ_r ω_r (D_{v_r} f) v_r (\\*batch, d), Σ_r ω_r D²_{v_r} f)."""
    xp, here = array_namespace(x), None if hides_values(x) else device(x)
    value, first, second = pushing.along(f, x, directions, 2)
    zero = xp.zeros((1,) * (value.ndim + 1), dtype=x.dtype, device=here)
    first, second = (zero if c is None else c for c in (first, second))
    if weights is not None:
        w = xp.reshape(xp.asarray(weights, dtype=x.dtype, device=here), (-1, *(1,) * value.ndim))
        first, second = first * w, second * w
    if tuple(value.shape[-1:]) != (1,) or value.ndim != x.ndim:
        raise ValueError(
            f"the factor and the term of a HardConstraint give one number a point, shape {(*x.shape[:-1], 1)}, where a "
            f"second-order operator is compressed; got {tuple(value.shape)}: end them with keepdims=True"
        )
    return value, xp.sum(first * directions.stack(x), axis=0), 2 * xp.sum(second, axis=0)
