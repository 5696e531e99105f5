"""Who is compared in a benchmark on PyTorch: eager and compiled ntaylor, nested autograd, torch-jet, the floor."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from types import FunctionType
from typing import Any

import array_api_compat.torch as xp
import torch

from ntaylor import activations
from ntaylor.dispatch import Contestant, Prepared
from ntaylor.faa_di_bruno import ntangentprop
from ntaylor.networks import MLP

__all__ = ["Contestants"]

Tensor = Any
Call = Callable[[Tensor], Tensor]

_TORCH_JET = "jet-for-pytorch"


class Contestants:
    """The slot ``contestants``: see :class:`ntaylor.dispatch.Contestants`."""

    def __init__(self, device: Any, folder: Path | None):
        self._device = torch.device(device)
        if folder is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
            os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
            os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")

    def of(self, workload: Any, ours: Any) -> list[Contestant]:
        torch.compiler.reset()  # a compiler that has met many workloads gives up compiling
        made = _Made(workload, ours, self._device)
        found = []

        def add(
            name: str,
            role: str,
            build: Callable[[], tuple[Call, Mapping[str, Tensor]]],
            modes: tuple[str, ...] = ("eager", "compiled"),
            rows: Any = workload,
            missing: str | None = None,
            exponential: bool = False,
        ) -> None:
            for mode in modes:

                def prepare(compiled: bool = mode == "compiled") -> Prepared:
                    return _prepared(*build(), made.points(rows), compiled)

                found.append(Contestant(name, mode, role, prepare, missing, exponential))

        if workload.model == "network":
            add("ntaylor, nt.MLP", "ours", made.network)
            add("ntaylor, nn.Sequential", "ours", made.ours_on_plain)
        else:
            add("ntaylor, function", "ours", made.ours_on_plain)
        if workload.task == "derivatives":
            add("floor", "floor", made.plain, rows=workload.floor())
            if workload.model == "network":
                add("n-TangentProp", "rival", made.published, ("eager",))
        add("nested torch.autograd", "rival", made.nested, ("eager",), exponential=True)
        if workload.order:
            missing = None if importlib.util.find_spec("jet") and _torch_jet() else "not installed"
            add("torch-jet", "rival", made.torch_jet, missing=missing)
        return found

    def about(self) -> dict[str, Any]:
        jet = _torch_jet()
        versions = {"torch": torch.__version__, "torch-jet": jet or "not installed"}
        found: dict[str, Any] = {"versions": versions, "threads": {"torch": torch.get_num_threads()}, "notes": []}
        if self._device.type == "cuda":
            found["device"] = torch.cuda.get_device_name(self._device)
        asked = re.match(r">=\s*(\d+)\.(\d+)", metadata(_TORCH_JET).get("Requires-Python", "")) if jet else None
        if asked and sys.version_info < (int(asked[1]), int(asked[2])):
            found["notes"].append(
                f"torch-jet {jet} asks for Python {asked[1]}.{asked[2]}; here it ran on {sys.version_info.major}."
                f"{sys.version_info.minor} with its one `type` statement rewritten"
            )
        return found

    def memory(self) -> tuple[int, Callable[[], int]] | None:
        if self._device.type != "cuda":
            return None
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return torch.cuda.memory_allocated(self._device), lambda: torch.cuda.max_memory_allocated(self._device)

    def copy_bandwidth(self) -> float | None:
        if self._device.type != "cuda":
            return None  # of the host's memory NumPy's copy tells it
        source = torch.ones(2**27, dtype=torch.float64, device=self._device)
        target = torch.empty_like(source)
        seconds = []
        for _ in range(5):
            torch.cuda.synchronize(self._device)
            begin = time.perf_counter()
            target.copy_(source)
            torch.cuda.synchronize(self._device)
            seconds.append(time.perf_counter() - begin)
        return 2 * source.nbytes / min(seconds)


def _torch_jet() -> str | None:
    try:
        return version(_TORCH_JET)
    except PackageNotFoundError:
        return None


def _prepared(call: Call, leaves: Mapping[str, Tensor], x: Tensor, compiled: bool) -> Prepared:
    """Loss and gradient by autograd. The forward pass is that of a training step: it records what backward needs."""

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = call(x)
        return (outputs * outputs).sum(), outputs.detach()

    run: Any = loss
    if compiled:
        # What is compiled is kept with the code, so every contestant needs code of its own.
        own = FunctionType(loss.__code__.replace(), globals(), "loss", None, loss.__closure__)
        run = torch.compile(own, mode="reduce-overhead" if x.is_cuda else "default")
    names, tensors = list(leaves), list(leaves.values())

    def wait() -> None:
        if x.is_cuda:
            torch.cuda.synchronize(x.device)

    def forward() -> Any:
        found = run(x)
        wait()
        return found

    def step() -> Any:
        value, _ = run(x)
        found = torch.autograd.grad(value, tensors, allow_unused=True)
        wait()
        return found

    def named(found: Any) -> dict[str, Tensor]:
        # A Linear's weight is (outputs, inputs).
        turned = any(isinstance(t, torch.nn.Parameter) for t in tensors)
        whole = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
        return {n: g.T if turned and n.endswith("weight") else g for n, g in zip(names, whole, strict=True)}

    return Prepared(forward, step, lambda found: found[1], named)


def _laplacian(f: Call) -> Call:
    """One more reverse sweep through the gradient for every coordinate, and nothing of ntaylor."""

    def found(x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        second = (torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[-1]))
        return sum(second)

    return found


class _Made:
    """Each method builds a contestant: the function of the points whose outputs are asked for, and its parameters."""

    def __init__(self, workload: Any, ours: Any, device: Any):
        self._workload, self._ours, self._device = workload, ours, device

    def points(self, workload: Any) -> Tensor:
        return torch.tensor(workload.points(), device=self._device)

    def _leaves(self) -> dict[str, Tensor]:
        return {
            name: torch.tensor(p, device=self._device).requires_grad_()
            for name, p in self._workload.parameters().items()
        }

    def network(self) -> tuple[Call, Mapping[str, Tensor]]:
        leaves = self._leaves()
        net = MLP.create(self._workload.widths, xp=torch).replace(leaves)
        return lambda x: self._ours.operate(net, x), leaves

    def plain(self) -> tuple[Call, Mapping[str, Tensor]]:
        """A module as users write it; or the function that is none."""
        leaves = self._leaves()
        if self._workload.model == "function":
            return lambda x: self._workload.apply(leaves, x, torch), leaves
        layers: list[Any] = []
        for a, b in itertools.pairwise(self._workload.widths):
            layers += [torch.nn.Linear(a, b, device=self._device, dtype=leaves["0.weight"].dtype), torch.nn.Tanh()]
        net = torch.nn.Sequential(*layers[:-1])
        net.load_state_dict({n: p.detach().T if n.endswith("weight") else p.detach() for n, p in leaves.items()})
        return net, dict(net.named_parameters())

    def ours_on_plain(self) -> tuple[Call, Mapping[str, Tensor]]:
        f, leaves = self.plain()
        return lambda x: self._ours.operate(f, x), leaves

    def published(self) -> tuple[Call, Mapping[str, Tensor]]:
        leaves, towers = self._leaves(), activations.get("tanh").towers
        assert towers is not None
        pairs = [(leaves[f"{2 * i}.weight"], leaves[f"{2 * i}.bias"]) for i in range(self._workload.depth + 1)]

        def call(x: Tensor) -> Tensor:
            one = torch.ones_like(x[:1])
            return torch.stack(ntangentprop(pairs, lambda u, n: towers(u, n, xp), x, one, self._workload.order))

        return call, leaves

    def nested(self) -> tuple[Call, Mapping[str, Tensor]]:
        f, leaves = self.plain()
        task, order = self._workload.task, self._workload.order

        def derivatives(x: Tensor) -> Tensor:
            # A row depends on its own t only, so that the gradient of the sum is every row's derivative.
            t = torch.zeros_like(x[:, :1], requires_grad=True)
            found = [f(x + t)]
            for _ in range(order):
                found.append(torch.autograd.grad(found[-1].sum(), t, create_graph=True)[0])
            return torch.stack(found)

        def operator(x: Tensor) -> Tensor:
            x = x.detach().requires_grad_()
            return (_laplacian(f) if task == "laplacian" else _laplacian(_laplacian(f)))(x)

        return derivatives if task == "derivatives" else operator, leaves

    def torch_jet(self) -> tuple[Call, Mapping[str, Tensor]]:
        import jet

        f, leaves = self.plain()
        x = self.points(self._workload)
        if self._workload.task != "derivatives":
            operator = jet.laplacian if self._workload.task == "laplacian" else jet.bilaplacian
            return torch.func.vmap(operator(f, (x[0],))), leaves
        pushed, order = jet.jet(f, (x,)), self._workload.order

        def call(x: Tensor) -> Tensor:
            return torch.stack(pushed((x, torch.ones_like(x), *[torch.zeros_like(x)] * (order - 1))))

        return call, leaves
