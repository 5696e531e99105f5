"""Training steps on PyTorch: autograd, ``torch.optim.Adam``, random numbers from a generator seeded at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["Trainer", "hessian_diagonal"]


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
    """The slot ``trainer``: see :class:`ntaylor.dispatch.Trainer`."""

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Mapping[str, Any],
        constants: Sequence[Any],
        steps: int,
        rate: float,
        seed: int,
        beta2: float = 0.999,
    ):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._loss, self._steps, self._rate, self._seed = loss, steps, rate, seed
        self._parameters = {name: torch.tensor(p, device=device).requires_grad_(True) for name, p in parameters.items()}
        dtype = next(iter(self._parameters.values())).dtype
        self._constants = tuple(torch.tensor(c, dtype=dtype, device=device) for c in constants)
        self._optimiser = torch.optim.Adam(self._parameters.values(), lr=rate, betas=(0.9, beta2))
        self._generator = torch.Generator(device=device)
        self._draw = _Draw(self._generator, dtype)
        self._count = 0

    def step(self) -> Any:
        # The rate and the numbers follow from the count alone, so that a checkpoint needs no schedule's or
        # generator's state.
        (seed,) = np.random.SeedSequence([self._seed, self._count]).generate_state(1, np.uint64)
        self._generator.manual_seed(int(seed >> np.uint64(1)))
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * max(0.0, 1 - self._count / self._steps)
        self._optimiser.zero_grad(set_to_none=True)
        value = self._loss(self._parameters, self._constants, self._draw)
        value.backward()
        self._optimiser.step()
        self._count += 1
        return value.detach()

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        like = next(iter(self._parameters.values()))
        moved = [torch.as_tensor(np.asarray(x), dtype=like.dtype, device=like.device) for x in points]
        with torch.no_grad():
            return function(self._parameters, self._constants, *moved).cpu().numpy()

    def state(self) -> dict[str, Any]:
        found = {"count": np.asarray(self._count)}
        for name, p in self._parameters.items():
            found[f"parameter.{name}"] = p.detach().cpu().numpy().copy()
            for what, moment in self._optimiser.state.get(p, {}).items():
                found[f"{what}.{name}"] = torch.as_tensor(moment).cpu().numpy().copy()
        return found

    def load(self, state: dict[str, Any]) -> None:
        self._count = int(state["count"])
        self._optimiser.state.clear()
        for name, p in self._parameters.items():
            with torch.no_grad():
                p.copy_(torch.as_tensor(state[f"parameter.{name}"]))
            moments = {
                what: torch.as_tensor(state[f"{what}.{name}"])
                for what in ("step", "exp_avg", "exp_avg_sq")
                if f"{what}.{name}" in state
            }
            if moments:
                on_device = {what: m if what == "step" else m.to(p.device) for what, m in moments.items()}
                self._optimiser.state[p] = on_device

    def about(self) -> dict[str, Any]:
        on_gpu = self._generator.device.type == "cuda"
        return {
            "library": f"torch {torch.__version__}",
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        }


def hessian_diagonal(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any, Any]:
    """The slot ``hessian_diagonal``: one more reverse sweep through the gradient for every coordinate."""
    x = x.detach().requires_grad_(True)
    u = f(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    second = [torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[-1])]
    return u, gradient, torch.stack(second, dim=-1)
