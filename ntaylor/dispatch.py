"""Which adapter serves an array.

Floor 1: knows that arrays have types and that packages announce adapters for them, not which
packages. An adapter is found by the entry point (group ``ntaylor.backends``) that bears the name of
the top-level module of the array's type, the first time such an array arrives; so importing
ntaylor imports no array library but NumPy, and anybody can add a backend by declaring an entry point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "Adapter",
    "Contestant",
    "Contestants",
    "Draw",
    "Model",
    "Prepared",
    "Traced",
    "Trainer",
    "adapter_for",
    "serve",
]


class Draw(Protocol):
    """Random numbers of one training step, where the step runs. Every call gives others."""

    def normal(self, shape: tuple[int, ...]) -> Any:
        """Of N(0, 1)."""

    def uniform(self, shape: tuple[int, ...]) -> Any:
        """Of [0, 1)."""

    def rng(self) -> Any:
        """The library's own source of randomness, for those who draw themselves: a key, or a generator."""


class Trainer(Protocol):
    """Parameters, an optimiser's state and a count of steps, and the compiled step from one to the next."""

    def step(self) -> Any:
        """Go one step; what the loss was before it, on the device: whoever makes a number of it waits for the step."""

    def parameters(self) -> Mapping[str, Any]:
        """The parameters by name, arrays of the library that later steps do not change."""

    def replace_constants(self, constants: Any) -> None:
        """Others of the same shapes, from the next step on."""

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        """``function(parameters, constants, *points)``, of NumPy arrays, to NumPy; no gradient is prepared."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, as NumPy arrays: with ``load`` the trajectory goes on from there."""

    def load(self, state: dict[str, Any]) -> None:
        """Put in the place of what is there what :meth:`state` gave."""

    def about(self) -> dict[str, Any]:
        """ "device", its name; "peak_bytes", the most memory used on it, None where the process's own tells that."""


@dataclass(frozen=True)
class Model:
    """What is trained, as arrays by name, and what is made of others in their places."""

    arrays: Mapping[str, Any]
    made: Callable[[Mapping[str, Any]], Any]
    """arrays -> the function of points that they stand for; differentiable in them."""
    given: Callable[[Mapping[str, Any]], Any]
    """arrays -> what the user gets: a network like the one that came, or that very one, written to."""
    network: Any = None
    """An ``MLP`` with these parameters that is this function, where it is one: it has a closed-form pullback."""


@dataclass(frozen=True)
class Prepared:
    """A contestant that can be called. Both calls come back when the device is done."""

    forward: Callable[[], Any]
    step: Callable[[], Any]
    outputs: Callable[[Any], Any]
    """What ``forward`` gave -> the derivatives, an array of the library."""
    gradient: Callable[[Any], Mapping[str, Any]]
    """What ``step`` gave -> the loss's gradient, named and shaped as the workload's parameters."""


@dataclass(frozen=True)
class Contestant:
    """One way to compute what a benchmark's workload asks for, with one library."""

    name: str
    mode: str
    """How the library runs it: "eager", "compiled", "jitted", …"""
    role: str
    """ "ours", "rival" or "floor"."""
    prepare: Callable[[], Prepared]
    """Builds network and points on the device. What is compiled is compiled by the first call of what it returns."""
    missing: str | None = None
    """Why it cannot be had on this machine."""
    exponential: bool = False
    """Whether its cost is exponential in the order: then what is beyond a budget at one order is at every higher."""


class Contestants(Protocol):
    """What a library brings to a benchmark, on one of its devices."""

    def of(self, workload: Any, ours: Any) -> list[Contestant]:
        """Who can compute a ``workloads.Workload``; ``ours`` are the library's verbs, as ``contests.Ours`` has them."""

    def about(self) -> dict[str, Any]:
        """Versions of what takes part, the threads, the device's name; "notes", a list of what a reader must know."""

    def memory(self) -> tuple[int, Callable[[], int]] | None:
        """(bytes in use on the device, the most since this call); None where the process's own memory tells that."""

    def copy_bandwidth(self) -> float | None:
        """Bytes a second, read and written, of a large copy on the device; None where it was not measured."""


class Traced:
    """A function that its library has followed once, at points x (\\*batch, d) of one shape and dtype.

    It takes such points and jets of them, does what the function did, and the function is not called again.
    """

    width: int | None = None
    """Outputs of the dense layer that it begins with, all that it does with x; None where it begins otherwise."""

    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError

    def opened(self, x: Any) -> tuple[Any, Any, Traced]:
        """(value (\\*batch, width), weight (d, width), rest): f(x + v) = rest(value + v @ weight)."""
        raise NotImplementedError


class Adapter:
    """The slots a backend may fill. A slot left as ``None`` is served by the core.

    An adapter is an instance of a subclass; its slots are methods (or ``None``).
    """

    priority: int = 0
    """Of several arrays in one call, the one whose adapter has the highest priority decides."""

    push: Callable[..., Any] | None = None
    """(f, *jets) -> f(*jets): how a function of this library's own kind is pushed forward."""

    traced: Callable[..., Traced | None] | None = None
    """(f, x) -> :class:`Traced`; None where f cannot be followed at x, of which ``push`` says why."""

    jet: Callable[..., Any] | None = None
    """(coefficients, order) -> Jet: what ``nt.jet`` returns, where this library's own functions take such jets."""

    propagate: Callable[..., Any] | None = None
    """(network, coefficients, order) -> coefficients of the network's output."""

    network: Callable[..., Any] | None = None
    """(f, x, coefficients=None) -> the :class:`ntaylor.MLP` that a function of the library's own kind is at x, or None.

    Where arrays that hold Taylor coefficients, x among them, are given, it takes those too.
    """

    push_network: Callable[..., Any] | None = None
    """(network, coefficients, order, plain) -> what plain(coefficients, order), its own push, gives; faster."""

    activate: Callable[..., Any] | None = None
    """(activation, coefficients, order, parameters) -> (coefficients of the value, pullback).

    The coefficients are differentiable in the backend's own way; the pullback is that of
    ``Activation.closed_form``, for those who sweep back themselves. What does not suit the adapter it hands on
    to ``activation.closed_form``.
    """

    fuses: Callable[..., bool] | None = None
    """(*arrays) -> whether ``activate`` makes one kernel of a product or quotient of two series of these arrays."""

    shifted: Callable[..., Any] | None = None
    """(rows (orders, …), bias) -> a ``Block`` of these coefficients with the bias added to the primal.

    For those whose arrays cannot be written to; without it the block is taken apart.
    """

    value_and_grad: Callable[..., Any] | None = None
    """(loss, parameters) -> (value, gradient), both of this library; gradient shaped as parameters."""

    vjp: Callable[..., Any] | None = None
    """(function, arrays) -> (outputs, pullback), by the library's own reverse mode; as ``gradients.vjp``."""

    jacobian: Callable[..., Any] | None = None
    """(function, parameters) -> (r, {name: ∂r/∂parameter (rows, \\*shape)}) for function(parameters) -> r (rows,).

    By the library's own reverse mode, one sweep for each row, many rows at a time; parameters is a flat dict of arrays.
    """

    compiled: Callable[..., Any] | None = None
    """f -> f, of trees of arrays, as the library's compiler makes it; for what is called many times."""

    nested: Callable[..., Any] | None = None
    """(f, x, order, direction) -> derivatives (order+1, \\*f(x).shape) of t ↦ f(x + t·direction) at t = 0.

    By the library's own reverse mode, nested, and nothing of ntaylor: it is what ``nt.check`` compares with. ``f`` is
    called on plain arrays; the direction is an array that broadcasts to x. Derivatives, not Taylor coefficients.
    """

    vmap: Callable[..., Any] | None = None
    """f -> f mapped over the first axis of every argument and result: one call instead of a loop."""

    draws: Callable[..., Any] | None = None
    """A generator of the library's own -> ``directions.Draws`` with it; TypeError where it is none."""

    gram_root: Callable[..., Any] | None = None
    """a (R, h), R > h -> T (h, h) with TᵀT = aᵀa, differentiable where a is: equation (10.4)."""

    model: Callable[..., Any] | None = None
    """(net, points) -> :class:`Model` of a network of this library's own kind; None of what it does not know.

    ``points`` (n, d) are some at which it can be called, to see how.
    """

    trainer: Callable[..., Trainer] | None = None
    """(loss, parameters, constants, steps, rate, seed, beta2=0.999, optimiser=None, auxiliary=False) -> a Trainer.

    ``optimiser`` is None for Adam with ``beta2``, the memory of its second moments, and ``rate`` falling linearly to 0;
    else a name that the library's optimisers have, taken with ``rate``, or what it takes as one, taken as it is.

    ``parameters``, a flat dict, and ``constants``, a sequence or dict of arrays, are NumPy's, of which it makes its own
    on the device it finds, or the library's own, which stay where they are; loss(parameters, constants, draw) ->
    scalar, with ``auxiliary`` (scalar, {name: scalar}). The numbers of step k follow from the seed and k.
    """

    least_squares: Callable[..., Any] | None = None
    """(rows, parameters, constants, optimiser) -> :class:`Trainer` by a least-squares method of the library's.

    rows(parameters, constants) -> r (rows,), of which r·r is the loss; None where ``optimiser`` is no such method.
    """

    share: Callable[..., tuple[int, int]] | None = None
    """() -> (which process this is, of how many) that train together, each with its share of the points."""

    placed: Callable[..., Any] | None = None
    """({name: array}, devices, split) -> the arrays on several devices, rows shared out among them or copied to all."""

    hessian_diagonal: Callable[..., Any] | None = None
    """(f, x) -> (f(x) (batch,), gradient (batch, d), diagonal of the Hessian (batch, d)) for x (batch, d).

    By the library's own automatic differentiation, nested, and nothing of ntaylor; differentiable itself. What fast
    methods are compared with.
    """

    writes: Callable[..., bool] | None = None
    """(*arrays) -> whether a new one of these may be changed in place, with nobody following what is done."""

    total: Callable[..., Any] | None = None
    """array (R, …) -> its sum over R directions, (…)."""

    spread: Callable[..., Any] | None = None
    """(array, R) -> what R directions share as one for each, (R, …)."""

    contestants: Callable[..., Contestants] | None = None
    """(device, folder) -> :class:`Contestants`: who is compared in a benchmark on this library.

    With a folder compilers keep there, and not where the user's are, what they compiled.
    """


_CORE = Adapter()
_served: dict[type, Adapter] = {}
_found: dict[type, Adapter] = {}
_homes: dict[type, str] = {}


def serve(kind: type, adapter: Adapter) -> None:
    """Let ``adapter`` serve arrays of type ``kind`` (for array types that live in one process only)."""
    # Found at once: what a compiler meets in the middle of its work must be there when it begins.
    _served[kind] = _found[kind] = adapter
    _homes.clear()


def _adapter_of_type(kind: type) -> Adapter:
    # In steps that torch.compile, which follows Python code, can follow: what looks for entry points is marked as
    # giving a constant, so a name, and the adapter of that name is looked up where its methods can be followed too.
    home = _home_of_adapter(kind)
    if not home:
        return _found[kind]
    module, _, name = home.partition(":")
    adapter: Adapter = getattr(sys.modules[module], name)
    return adapter


def _home_of_adapter(kind: type) -> str:
    """Where the adapter of a type is, as "module:name"; "" for one of :func:`serve` or the core's, in ``_found``."""
    home = _homes.get(kind)
    return _find(kind) if home is None else home


_home_of_adapter._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _find(kind: type) -> str:
    from importlib.metadata import entry_points  # a tenth of the time that importing ntaylor would take

    announced = {point.name: point for point in entry_points(group="ntaylor.backends")}
    _found[kind], _homes[kind] = _CORE, ""
    for base in kind.__mro__:
        if base in _served:
            _found[kind] = _served[base]
            break
        point = announced.get(base.__module__.partition(".")[0])
        if point is not None:
            adapter = point.load()
            if not isinstance(adapter, Adapter):
                del _homes[kind]
                raise TypeError(
                    f"entry point {point.name!r} of group 'ntaylor.backends' gave a {type(adapter).__name__}; "
                    "it must name an instance of ntaylor.dispatch.Adapter"
                )
            _found[kind], _homes[kind] = adapter, point.value
            break
    return _homes[kind]


def adapter_for(*arrays: Any) -> Adapter:
    """The adapter with the highest priority among those of the given arrays (``None`` is passed over)."""
    best, last = _CORE, None
    for array in arrays:
        kind: type = type(array)
        if kind is last:  # as a network's parameters are, one after the other
            continue
        adapter, last = _adapter_of_type(kind), kind
        if best is _CORE or adapter.priority > best.priority:
            best = adapter
    return best
