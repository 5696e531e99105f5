"""Who is compared in a benchmark on NumPy and CuPy, which have no autograd of their own: what the two share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ntaylor import activations
from ntaylor.dispatch import Contestant, Prepared
from ntaylor.faa_di_bruno import ntangentprop
from ntaylor.networks import MLP

__all__ = ["OWN_GRADIENTS", "contestants"]

Array = Any

OWN_GRADIENTS = "n-TangentProp's gradient is by `nt.value_and_grad` here, there being no autograd"


def contestants(
    workload: Any,
    ours: Any,
    xp: Any,
    synchronise: Callable[[], object],
    modes: Mapping[str, Callable[[Callable[[], Any]], Callable[[], Any]]],
) -> list[Contestant]:
    """Of arrays of ``xp``; a mode is a name and what it does with a call of ours."""

    def array(values: Any) -> Array:
        return xp.asarray(values)

    def prepared(function: Callable[[Any, Array], Array]) -> Prepared:
        """By the core's reverse sweep."""
        parameters, x = {name: array(p) for name, p in workload.parameters().items()}, array(workload.points())
        gradient = ours.value_and_grad(lambda p: xp.sum(function(p, x) ** 2))

        def forward() -> Any:
            u = function(parameters, x)
            synchronise()
            return u

        def step() -> Any:
            found = gradient(parameters)
            synchronise()
            return found

        return Prepared(forward, step, lambda u: u, lambda found: found[1])

    def in_mode(function: Callable[[Any, Array], Array], wrap: Callable[..., Any]) -> Callable[[], Prepared]:
        def prepare() -> Prepared:
            made = prepared(function)
            return Prepared(wrap(made.forward), wrap(made.step), made.outputs, made.gradient)

        return prepare

    def plain(p: Any, x: Array) -> Array:
        return ours.operate(lambda x: workload.apply(p, x, xp), x)

    found = []
    if workload.model == "network":
        net = MLP.create(workload.widths, xp=xp)

        def of_network(p: Any, x: Array) -> Array:
            return ours.operate(net.replace(p), x)

        found += [
            Contestant("ntaylor, nt.MLP", mode, "ours", in_mode(of_network, wrap)) for mode, wrap in modes.items()
        ]
    found += [Contestant("ntaylor, function", mode, "ours", in_mode(plain, wrap)) for mode, wrap in modes.items()]
    if workload.model == "network" and workload.task == "derivatives":
        layers = range(0, 2 * len(workload.widths) - 2, 2)
        towers = activations.get("tanh").towers
        assert towers is not None

        def published(p: Any, x: Array) -> Array:
            pairs = [(p[f"{i}.weight"], p[f"{i}.bias"]) for i in layers]
            return xp.stack(ntangentprop(pairs, lambda u, n: towers(u, n, xp), x, xp.ones_like(x[:1]), workload.order))

        mode = list(modes)[-1]
        found.append(Contestant("n-TangentProp", mode, "rival", lambda: prepared(published)))
        found.append(Contestant("floor", mode, "floor", lambda: _floor(workload.floor(), array, xp, synchronise)))
    return found


def _floor(workload: Any, array: Callable[[Any], Array], xp: Any, synchronise: Callable[[], object]) -> Prepared:
    """The plain network, forward and backpropagation by hand: nothing of ntaylor."""
    parameters, rows = {name: array(p) for name, p in workload.parameters().items()}, array(workload.points())
    layers = range(workload.depth + 1)

    def evaluated() -> list[Array]:
        kept = [rows]
        for i in layers:
            h = kept[-1] @ parameters[f"{2 * i}.weight"] + parameters[f"{2 * i}.bias"]
            kept.append(xp.tanh(h) if i < workload.depth else h)
        return kept

    def forward() -> Array:
        u = evaluated()[-1]
        synchronise()
        return u

    def step() -> Any:
        *kept, u = evaluated()
        bar, gradient = 2 * u, {}
        for i in reversed(layers):
            gradient[f"{2 * i}.weight"] = kept[i].T @ bar
            gradient[f"{2 * i}.bias"] = xp.sum(bar, axis=0)
            if i:
                bar = (bar @ parameters[f"{2 * i}.weight"].T) * (1 - kept[i] * kept[i])
        value = xp.sum(u * u)
        synchronise()
        return value, gradient

    return Prepared(forward, step, lambda u: u, lambda found: found[1])
