"""Training steps on PyTorch: autograd, ``torch.optim``, random numbers from a generator seeded at every step.

Where ``torch.distributed`` runs with several processes each has its share of the points, and losses and gradients are
summed over the processes: then all take the same step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ntaylor.namespace import did_you_mean

__all__ = ["Trainer", "hessian_diagonal", "share"]


class _Draw:
    """Numbers of one step, on the device."""

    def __init__(self, generator: torch.Generator, dtype: torch.dtype):
        self._generator, self._dtype = generator, dtype

    def rng(self) -> torch.Generator:
        return self._generator

    def normal(self, shape: tuple[int, ...]) -> Any:
        return torch.randn(shape, generator=self._generator, dtype=self._dtype, device=self._generator.device)

    def uniform(self, shape: tuple[int, ...]) -> Any:
        return torch.rand(shape, generator=self._generator, dtype=self._dtype, device=self._generator.device)


class Trainer:
    """The slot ``trainer``: see :class:`ntaylor.dispatch.Trainer`.

    ``optimiser`` is None, a name of ``torch.optim`` in small letters, a class of it, or parameters -> optimiser.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Mapping[str, Any],
        constants: Sequence[Any] | Mapping[str, Any],
        steps: int,
        rate: float,
        seed: int,
        beta2: float = 0.999,
        optimiser: Any = None,
        auxiliary: bool = False,
    ):
        first = next(iter(parameters.values()))
        of_torch = isinstance(first, torch.Tensor)
        device = first.device if of_torch else torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._loss, self._steps, self._rate, self._seed = loss, steps, rate, seed
        self._parameters = {
            name: (p.detach().clone() if of_torch else torch.tensor(p, device=device)).requires_grad_(True)
            for name, p in parameters.items()
        }
        if share()[1] > 1:
            for p in self._parameters.values():
                torch.distributed.broadcast(p.data, 0)  # all start from the first one's
        dtype = next(iter(self._parameters.values())).dtype
        self._like = {"dtype": dtype, "device": device}
        self.replace_constants(constants)
        self._scheduled, self._auxiliary = optimiser is None, auxiliary
        self._optimiser = _optimiser(optimiser, list(self._parameters.values()), rate, beta2)
        self._generator = torch.Generator(device=device)
        self._draw = _Draw(self._generator, dtype)
        self._count = 0

    def replace_constants(self, constants: Sequence[Any] | Mapping[str, Any]) -> None:
        def own(c: Any) -> Any:
            return c.to(**self._like) if isinstance(c, torch.Tensor) else torch.tensor(c, **self._like)

        self._constants: Any = (
            {name: own(c) for name, c in constants.items()}
            if isinstance(constants, Mapping)
            else tuple(own(c) for c in constants)
        )
        self._known: tuple[Any, ...] | None = None
        """Parameters, result and gradients of the last evaluation, for optimisers that begin a step by repeating it."""

    def step(self) -> Any:
        # The rate and the numbers follow from the count alone, so that a checkpoint needs no schedule's or
        # generator's state.
        (seed,) = np.random.SeedSequence([self._seed, self._count]).generate_state(1, np.uint64)
        seed = int(seed >> np.uint64(1))
        if self._scheduled:
            for group in self._optimiser.param_groups:
                group["lr"] = self._rate * max(0.0, 1 - self._count / self._steps)
        results: list[Any] = []

        def closure() -> Any:
            results.append(self._evaluated(seed))
            return results[-1][0]

        self._optimiser.step(closure)
        self._count += 1
        return results[0] if self._auxiliary else results[0][0]

    def _evaluated(self, seed: int) -> tuple[Any, Any]:
        """(loss, auxiliary), with the gradients put where the optimiser looks for them."""
        parameters = list(self._parameters.values())
        if self._known is not None:
            before, result, gradients = self._known
            if all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True)):
                for p, g in zip(parameters, gradients, strict=True):
                    p.grad = None if g is None else g.clone()
                return result  # type: ignore[no-any-return]
        self._generator.manual_seed(seed)
        self._optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            found = self._loss(self._parameters, self._constants, self._draw)
            value, auxiliary = found if self._auxiliary else (found, {})
            value.backward()
        result = value.detach(), {name: a.detach() for name, a in auxiliary.items()}
        if share()[1] > 1:
            result = _summed_over_processes(result, parameters)
        if isinstance(self._optimiser, torch.optim.LBFGS):
            gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
            self._known = ([p.detach().clone() for p in parameters], result, gradients)
        return result

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        moved = [torch.as_tensor(np.asarray(x), **self._like) for x in points]
        with torch.no_grad():
            return function(self._parameters, self._constants, *moved).cpu().numpy()

    def parameters(self) -> dict[str, Any]:
        return {name: p.detach().clone() for name, p in self._parameters.items()}

    def state(self) -> dict[str, Any]:
        found = {"count": np.asarray(self._count)}
        found |= {f"parameter.{name}": p.detach().cpu().numpy().copy() for name, p in self._parameters.items()}
        skeleton = _taken_apart(self._optimiser.state_dict()["state"], "optimiser", found)
        found["optimiser"] = np.frombuffer(json.dumps(skeleton).encode(), dtype=np.uint8)
        return found

    def load(self, state: dict[str, Any]) -> None:
        self._count, self._known = int(state["count"]), None
        for name, p in self._parameters.items():
            with torch.no_grad():
                p.copy_(torch.as_tensor(state[f"parameter.{name}"]))
        of_parameters = _put_together(json.loads(bytes(state["optimiser"])), state)
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": of_parameters})

    def about(self) -> dict[str, Any]:
        on_gpu = self._generator.device.type == "cuda"
        return {
            "library": f"torch {torch.__version__}",
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        }


def _optimiser(chosen: Any, parameters: list[Any], rate: float, beta2: float) -> torch.optim.Optimizer:
    if chosen is None:
        return torch.optim.Adam(parameters, lr=rate, betas=(0.9, beta2))
    if isinstance(chosen, torch.optim.Optimizer):
        raise TypeError(
            "the optimiser holds parameters already: pass what makes it, such as functools.partial(torch.optim.SGD, "
            "lr=1e-3)"
        )
    if chosen == "lbfgs":
        # One iteration a step, so that every one is counted, looked at and stored.
        return torch.optim.LBFGS(parameters, max_iter=1, max_eval=1000, history_size=50, line_search_fn="strong_wolfe")
    if isinstance(chosen, str):
        named = {
            name.lower(): kind
            for name, kind in vars(torch.optim).items()
            if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
        }
        if chosen not in named:
            raise ValueError(f"torch.optim has no optimiser {chosen!r}: {did_you_mean(chosen, sorted(named))}pass one")
        return named[chosen](parameters, lr=rate)
    made = chosen(parameters)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(f"the optimiser must be a torch.optim.Optimizer, {chosen!r} made a {type(made).__name__}")
    return made


# --- several processes --------------------------------------------------------------------------------


def share() -> tuple[int, int]:
    """The slot ``share``."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if there else (0, 1)


def _summed_over_processes(result: tuple[Any, dict[str, Any]], parameters: list[Any]) -> tuple[Any, dict[str, Any]]:
    """Value, auxiliaries and gradients as one message."""
    value, auxiliary = result
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    parts = [value, *auxiliary.values(), *gradients]
    message = torch.cat([p.reshape(-1) for p in parts])
    torch.distributed.all_reduce(message)
    pieces = torch.split(message, [p.numel() for p in parts])
    value, *rest = [piece.reshape(p.shape) for piece, p in zip(pieces, parts, strict=True)]
    for p, gradient in zip(parameters, rest[len(auxiliary) :], strict=True):
        p.grad = gradient.clone()
    return value, dict(zip(auxiliary, rest, strict=False))


# --- an optimiser's state as arrays and a text --------------------------------------------------------


def _taken_apart(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """What JSON can hold of ``value``; tensors are put into ``arrays`` under their path."""
    if isinstance(value, torch.Tensor):
        arrays[path] = value.detach().cpu().numpy().copy()
        return {"array": path}
    if isinstance(value, dict):
        return {"dict": [[key, _taken_apart(v, f"{path}.{key}", arrays)] for key, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_taken_apart(v, f"{path}.{i}", arrays) for i, v in enumerate(value)]}
    return value


def _put_together(skeleton: Any, arrays: Mapping[str, Any]) -> Any:
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "array":
        return torch.tensor(arrays[content])
    if kind == "dict":
        return {key: _put_together(v, arrays) for key, v in content}
    return [_put_together(v, arrays) for v in content]


def hessian_diagonal(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any, Any]:
    """The slot ``hessian_diagonal``: one more reverse sweep through the gradient for every coordinate."""
    x = x.detach().requires_grad_(True)
    u = f(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    second = [torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[-1])]
    return u, gradient, torch.stack(second, dim=-1)
