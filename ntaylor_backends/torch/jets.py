"""``TorchJet``: a jet that torch functions, tensor methods and modules take for a tensor.

Torch asks the arguments of its functions for ``__torch_function__``, so ``torch.sin(x)``, ``F.linear(x, …)``, an
operator with a tensor on its left and every module built of these arrive here. ``FUNCTIONS`` says what they are in the
operations of the array API standard, whose rules are the core's; a name it lacks is refused, unless the user has
registered a rule for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ntaylor import dispatch
from ntaylor.array_object import HELD, apply, call_rule
from ntaylor.dispatch import Adapter, serve
from ntaylor.jets import Jet, names
from ntaylor.namespace import MissingRule, did_you_mean
from ntaylor_backends.torch.elementwise import IN_PLACE
from ntaylor_backends.torch.functions import FUNCTIONS
from ntaylor_backends.torch.nodes import full_precision
from ntaylor_backends.torch.refused import REFUSED

__all__ = ["TorchJet", "push"]

# Torch's words for the arguments, where they have several: NumPy's are taken too.
_KEYWORDS = {"input": "a", "self": "a", "tensors": "a", "other": "b", "exponent": "b", "vec2": "b"} | {
    "axis": "dim",
    "keepdims": "keepdim",
    "axes": "dims",
}
_KEYWORDS_OF = {
    **{name: {"A": "a"} for name in ("det", "inv", "linalg_diagonal", "qr", "slogdet")},
    **{name: {"y": "a"} for name in ("cumulative_trapezoid", "trapezoid", "trapz")},
    **{name: {"mat2": "b"} for name in ("bmm", "mm")},
    "dot": {"tensor": "b"},
    "linalg_vander": {"x": "a"},
    "mv": {"vec": "b"},
    "vecdot": {"x": "a", "y": "b"},
    "vector_norm": {"x": "a"},
}


class TorchJet(Jet):
    """A :class:`ntaylor.Jet` with the functions and methods of tensors. Its coefficients are tensors."""

    __slots__ = ()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(name_of(func), args, kwargs or {})

    @classmethod
    def _missing(cls, name: str) -> str:
        if name.endswith("_") and name[:-1] in FUNCTIONS:
            return f"no rule for torch's {name!r} on a jet{_place()}, which writes in place: use {name[:-1]!r}"
        if name in REFUSED:
            return f"no rule for torch's {name!r} on a jet{_place()}: {REFUSED[name].replace('{name!r}', repr(name))}"
        # Torch's compiler cannot follow the search; where it gives up, the call is made again without it.
        near = "" if torch.compiler.is_compiling() else did_you_mean(name, sorted({*FUNCTIONS, *names()}))
        return (
            f"no rule for torch's {name!r} on a jet{_place()}: {near}Write it with operations "
            f"that have one (ntaylor_backends.torch.functions.FUNCTIONS names them), or add one under this name with "
            f"nt.jets.register({name!r}, rule), or for a function of one variable with "
            f"nt.activations.register({name!r}, …)"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):
            return super().__getattr__(name)
        raise MissingRule(self._missing(name))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise MissingRule(self._missing("__setitem__"))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a 0-d jet is no sequence, and torch.tensor and as_tensor take no jets: use it as it is")
        return int(self.shape[0])

    @property
    def data(self) -> Any:
        """The value, detached."""
        return FUNCTIONS["detach"](self)

    @property
    def shape(self) -> Any:
        """A ``torch.Size``."""
        return self._like.shape

    @property
    def requires_grad(self) -> bool:
        """Whether its value depends on what autograd watches."""
        return bool(self._like.requires_grad)

    @property
    def is_cuda(self) -> bool:
        """Whether its coefficients are on a CUDA device."""
        return bool(self._like.is_cuda)

    @property
    def is_cpu(self) -> bool:
        """Whether its coefficients are on the CPU."""
        return bool(self._like.is_cpu)

    @property
    def is_nested(self) -> bool:
        """False: a jet is no nested tensor."""
        return False

    is_mkldnn = is_quantized = is_sparse = is_nested

    @property
    def layout(self) -> Any:
        """That of its coefficients."""
        return self._like.layout

    @property
    def itemsize(self) -> int:
        """Bytes of one number of one coefficient."""
        return int(self._like.itemsize)

    @property
    def mH(self) -> Any:  # noqa: N802 torch's name
        """With the last two axes swapped, conjugated."""
        return FUNCTIONS["adjoint"](self)

    H = mH

    @property
    def T(self) -> Any:  # noqa: N802 torch's name
        """With the axes in reverse order."""
        return FUNCTIONS["permute"](self, tuple(reversed(range(self.ndim))))

    def __iter__(self) -> Iterator[Any]:
        return iter(FUNCTIONS["unbind"](self))


class WatchedJet(TorchJet):
    """A jet of a call that autograd watches. Within ``torch.no_grad`` nothing is made of it.

    There torch differentiates nothing, so derivatives would be of another function than the gradients are of.
    """

    __slots__ = ()

    def __init__(self, coefficients: Any, order: int | None = None, *, level: float = HELD):
        if not torch.is_grad_enabled():
            raise MissingRule(
                f"an operation on a jet where torch.no_grad() holds{_place()}, so torch differentiates nothing: for a "
                "constant write x.detach(); if only values are wanted, call nt.derivatives within torch.no_grad(). A "
                "torch.autograd.Function runs so too, and its backward says nothing of higher derivatives: write its "
                "formula; and so does checkpoint(…, use_reentrant=True): pass use_reentrant=False"
            )
        super().__init__(coefficients, order, level=level)


def call(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """The torch function ``name`` by the core's rules; MissingRule for one that has none."""
    if kwargs:
        words = _KEYWORDS | _KEYWORDS_OF.get(name, {})
        kwargs = {words.get(key, key): value for key, value in kwargs.items() if key != "out" or value is not None}
    check_devices(name, args)
    if name in FUNCTIONS:
        if name in IN_PLACE:
            return _in_place(name, IN_PLACE[name], args, kwargs)
        return call_rule(name, FUNCTIONS[name], (), args, kwargs)
    if Jet._has_rule(name):
        return apply(name, args, kwargs)
    raise MissingRule(TorchJet._missing(name))


def name_of(function: Any) -> str:
    """A torch function's name without its module's: special_erf is erf, linalg_vector_norm is vector_norm."""
    if function is torch.Tensor.matmul:
        return "Tensor.matmul"
    if function is torch.Tensor.unfold:  # windows of an axis, not F.unfold's patches of images
        return "Tensor.unfold"
    if isinstance(function, (torch._C.ScriptMethod, torch._C.ScriptFunction)):
        return "torch.jit"
    name: str = function.__name__
    if name in FUNCTIONS:
        return name
    for prefix in ("special_", "linalg_"):
        name = name.removeprefix(prefix)
    return name


# The compiler does not read names of functions of its own; it takes this answer as it is.
name_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _in_place(name: str, place: int, args: Any, kwargs: dict[str, Any]) -> Any:
    """With ``inplace=True`` the result is the argument's new value, as it is a tensor's."""
    inplace = args[place] if len(args) > place else kwargs.get("inplace", False)
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    result = call_rule(name, FUNCTIONS[name], (), args[:place], kwargs)
    if not inplace:
        return result
    return _become(args[0], result)


def _become(a: Any, result: Any) -> Any:
    """``a`` with the value of ``result``, as after a function that writes in place."""
    if tuple(a.shape) != tuple(result.shape):
        raise ValueError(f"a jet of shape {tuple(a.shape)} cannot become one of shape {tuple(result.shape)} in place")
    a._series, a.order = result._series, result.order
    return a


def check_devices(name: str, args: Any) -> None:
    """Raise ValueError where tensors on different devices meet; a 0-d tensor may meet any, as in torch."""
    seen = None
    for i, a in enumerate(args):
        if not isinstance(a, (torch.Tensor, Jet)) or not a.ndim:
            continue
        if seen is None:
            seen, first = a.device, i
        elif a.device != seen:
            raise ValueError(
                f"arrays on different devices were mixed: in {name}, argument {first} is on {seen}; argument {i} is on "
                f"{a.device}{_place()}. Move all to one device"
            )


def _place() -> str:
    """Where the user, or a module of torch's, called what is refused: in words for a message."""
    if torch.compiler.is_compiling():  # which cannot look at frames; where it gives up, the call is made again
        return ""
    ours = (f"{Path(__file__).parent}{os.sep}", f"{Path(dispatch.__file__).parent}{os.sep}")
    torch_itself = f"{Path(torch.__file__).parent}{os.sep}"
    module = ""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(ours):
            if not name.startswith(torch_itself):
                return f" ({module}called at {name}:{frame.f_lineno})"
            owner = frame.f_locals.get("self")
            if not module and isinstance(owner, torch.nn.Module):
                module = f"in {type(owner).__name__}, "
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


def _method(name: str) -> Callable[..., Any]:
    def method(self: TorchJet, *args: Any, **kwargs: Any) -> Any:
        return call(name, (self, *args), kwargs)

    name = "Tensor.unfold" if name == "unfold" else name
    method.__name__ = name
    method.__doc__ = f"``torch.Tensor.{name}``."
    return method


def _in_place_operator(name: str) -> Callable[..., Any]:
    operation = getattr(TorchJet, f"__{name}__")

    def method(self: TorchJet, other: Any) -> Any:
        result = operation(self, other)
        # Of a jet of an inner call, and what is not to be taken, Python makes a new value.
        return _become(self, result) if isinstance(result, Jet) and result.level == self.level else result

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(TorchJet, f"__i{_name}__", _in_place_operator(_name))
for _name in FUNCTIONS:
    if callable(getattr(torch.Tensor, _name, None)) and _name not in TorchJet.__dict__ and not _name.startswith("_"):
        setattr(TorchJet, _name, _method(_name))


def push(f: Callable[..., Any], *jets: Jet) -> Any:
    """The slot ``push``: f of the jets, as torch's own functions and modules take them."""
    with full_precision(jets[0]):
        kind = WatchedJet if torch.is_grad_enabled() else TorchJet
        return f(*(kind(jet._series, jet.order, level=jet.level) for jet in jets))


class _TorchJetAdapter(Adapter):
    """Jets of jets, where a function calls ``nt.derivatives`` on what it is given."""

    priority = 200
    push = staticmethod(push)
    jet = TorchJet


serve(TorchJet, _TorchJetAdapter())
