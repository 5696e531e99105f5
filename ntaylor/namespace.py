"""The one door to array namespaces, and the checks at the public edge.

Floor 0: the only file that imports array-api-compat. It knows devices, dtypes, shapes and how to
tell a user what is wrong with them, and no mathematics.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import array_api_compat

__all__ = [
    "Library",
    "MissingRule",
    "any_true",
    "array_namespace",
    "as_floating",
    "broadcast_shapes",
    "check_order",
    "check_same_dtype",
    "check_same_kind",
    "chosen_along",
    "describe",
    "device",
    "did_you_mean",
    "hides_values",
    "is_array",
    "is_complex",
    "is_count",
    "is_number",
    "know",
    "near_names",
    "number_like",
    "special",
    "sum_to_shape",
    "take_along_axis",
    "to_device",
    "to_numpy",
]

Array = Any


class MissingRule(AttributeError, NotImplementedError):  # noqa: N818 it reads as what it says
    """An operation that has no rule for jets, or for gradients, was asked for.

    It is an AttributeError because an operation of the array API is an attribute of a namespace:
    ``hasattr(xp, "cumsum")`` then answers as code written for several libraries expects.
    """

    def __str__(self) -> str:
        # Looked up where it is read, in the traceback: a hasattr, and torch.compile, never pay for it.
        text = super().__str__()
        return text if "called at " in text else text + _place(self.__traceback__)


def _place(traceback: TracebackType | None) -> str:
    """Where the user called what failed, in words for a message; installed libraries, and Python's own, are not meant.

    Nothing where no user's code ran: a function that was traced is interpreted by an adapter, which knows its lines.
    """
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    installed = ""
    for name, line in reversed(frames):
        parts = PurePath(name).parts
        if name.startswith(_OURS):
            if parts[-1] == _CALLS_THE_USER:
                break
            continue
        library = {"site-packages", "dist-packages"} & {*parts}
        if not library and not name.startswith((_PYTHON, "<frozen ", "<__array_function__")):
            return f" (called at {name}:{line})"
        installed = installed or f" (called at {name}:{line})"
    return installed


_OURS = tuple(f"{Path(__file__).parent}{end}{os.sep}" for end in ("", "_backends"))
_CALLS_THE_USER = "differentiate.py"
_PYTHON = f"{Path(os.__file__).parent}{os.sep}"


@dataclass(frozen=True)
class Library:
    """What is known of the arrays of one type, once and for all; an adapter may know more than array-api-compat."""

    namespace: Any
    special: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    """Elementwise functions that the namespace lacks, by SciPy's names."""
    device: Callable[[Array], Any] = array_api_compat.device
    stays: Callable[[Array], bool] | None = None
    """Whether an array stays on its device when it meets one of another, which is then refused; all do unless given."""
    hides_values: Callable[[Array], bool] | None = None
    """Whether values cannot be looked at now, as while a compiler follows the code."""


# Of NumPy, CuPy, torch and Dask every array has the one namespace of its type, so it is looked up once. Others
# may be wrappers, as our own objects are, with the namespace of what they wrap.
_LIBRARIES: dict[type, Library] = {}


_NO_ARRAYS = frozenset(
    {bool, bytes, complex, dict, float, int, list, set, slice, str, tuple, type, type(...), type(None)}
)


def know(library: Library, *kinds: type) -> None:
    """Arrays of exactly these types are of ``library``, and need no further look."""
    for kind in kinds:
        _LIBRARIES[kind] = library


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of some library (not a Python number or list, nor an array's type)."""
    if type(value) in _LIBRARIES:
        return True
    if type(value) in _NO_ARRAYS:  # what torch.compile meets here, which cannot follow the general way
        return False
    return not isinstance(value, type) and (
        hasattr(value, "__array_namespace__") or array_api_compat.is_array_api_obj(value)
    )


def array_namespace(*arrays: Array) -> Any:
    """The namespace that all ``arrays`` share. Python numbers and ``None`` are passed over.

    Raises TypeError when they come from different libraries, naming each.
    """
    shared = None
    for a in arrays:
        library = _LIBRARIES.get(type(a))
        if library is not None and shared in (None, library.namespace):
            shared = library.namespace
        elif library is not None or not (a is None or isinstance(a, (int, float, complex))):
            break
    else:
        if shared is not None:
            return shared
    if len(arrays) == 1 and hasattr(arrays[0], "_like"):  # a jet or a variable: torch.compile follows this way only
        return arrays[0].__array_namespace__()
    found = [a for a in arrays if a is not None and is_array(a)]
    if not found:
        kinds = ", ".join(sorted({type(a).__name__ for a in arrays})) or "nothing"
        raise TypeError(f"expected an array, got {kinds}: pass a NumPy, CuPy, torch or JAX array")
    try:
        namespace = array_api_compat.array_namespace(*found, use_compat=None)
    except TypeError as error:
        kinds = ", ".join(sorted({describe(a) for a in found}))
        raise TypeError(f"these arrays are of different libraries: {kinds}; convert all to one") from error
    if namespace.__name__.startswith("array_api_compat."):
        for a in found:
            _LIBRARIES.setdefault(type(a), Library(namespace))
    return namespace


def device(array: Array) -> Any:
    """The device that ``array`` is on, as its library names it."""
    library = _LIBRARIES.get(type(array))
    if library is not None:
        return library.device(array)
    inner = getattr(array, "_like", None)  # of a jet or a variable: what counts is the array inside
    return array_api_compat.device(array) if inner is None else device(inner)


def to_device(array: Array, where: Any) -> Array:
    """``array`` on another device of its library."""
    moved = getattr(array, "to_device", None) if hasattr(array, "_like") else None
    return array_api_compat.to_device(array, where) if moved is None else moved(where)


def is_complex(value: Any) -> bool:
    """Whether ``value`` is an array of a complex dtype."""
    return is_array(value) and bool(array_namespace(value).isdtype(value.dtype, "complex floating"))


def describe(value: Any) -> str:
    """A few words for a message: the library, shape, dtype and device of an array, or a type's name."""
    if not is_array(value):
        return type(value).__name__
    if hasattr(value, "_like"):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    kind = type(value).__module__.split(".")[0]
    text = f"{kind} array of shape {tuple(value.shape)} and dtype {value.dtype}"
    where = device(value)
    return text if where is None or "cpu" in str(where).lower() else f"{text} on {where}"


def to_numpy(array: Any) -> Any:
    """An array of any library and device as NumPy's; a view of it where it can be."""
    import numpy

    if hasattr(array, "get"):  # CuPy's
        array = array.get()
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return numpy.asarray(array)


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python's or NumPy's, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether it is a whole number > 0, of Python's or NumPy's, and no bool."""
    try:
        return not isinstance(value, bool) and operator.index(value) > 0
    except TypeError:
        return False


def check_order(order: Any) -> int:
    """``order`` as an int >= 0; TypeError or ValueError that says what to type otherwise."""
    try:
        if isinstance(order, bool):
            raise TypeError
        value = operator.index(order)
    except TypeError:
        raise TypeError(
            f"order must be an integer >= 0, such as order=4; got {order!r} ({type(order).__name__})"
        ) from None
    if value < 0:
        raise ValueError(f"order must be an integer >= 0, such as order=4; got {value}")
    return value


def as_floating(value: Any, name: str) -> Array:
    """``value`` as an array of a floating dtype.

    Arrays of any library pass as they are, a Python or NumPy float becomes a NumPy array. Integers
    and booleans have no derivative and are refused, with what to type.
    """
    if not is_array(value):
        if isinstance(value, bool) or not isinstance(value, (int, float, complex)):
            raise TypeError(
                f"{name} must be an array (NumPy, CuPy, torch or JAX) or a float; got "
                f"{type(value).__name__}. For a list, pass numpy.asarray({name}, dtype=float)"
            )
        if isinstance(value, int):
            raise TypeError(f"{name} must be floating, got the integer {value}: pass {name}=float({value})")
        import numpy

        return numpy.asarray(value)
    kind = type(value).__name__
    if kind in ("MaskedArray", "matrix"):
        # Their operators are not those of arrays: a mask is lost by stacking, a matrix's * is a product.
        raise TypeError(
            f"{name} is a NumPy {kind}, which has rules of its own: pass numpy.asarray({name}) or .filled(…)"
        )
    xp = array_namespace(value)
    if not xp.isdtype(value.dtype, ("real floating", "complex floating")):
        raise TypeError(
            f"{name} must have a floating dtype, for derivatives need real numbers; got {describe(value)}. "
            f"Pass {name}.astype(float) (or xp.astype({name}, xp.float64))"
        )
    return value


def number_like(value: float, like: Array) -> Array:
    """A Python number as an array () of the library, dtype and device of ``like``."""
    while hasattr(like, "_like"):  # a jet or a variable: what counts is the array inside
        like = like._like
    return array_namespace(like).full((), value, dtype=like.dtype, device=device(like))


def check_same_kind(**named: Array) -> None:
    """Raise TypeError, or ValueError for devices, unless the named arrays share library and device."""
    arrays = {name: a for name, a in named.items() if is_array(a)}
    for name, a in arrays.items():
        while hasattr(a, "_like"):  # a jet or a variable: what counts is the array inside
            a = a._like
        arrays[name] = a
    if len({array_namespace(a).__name__ for a in arrays.values()}) > 1:
        listing = "; ".join(f"{name} is a {describe(a)}" for name, a in arrays.items())
        raise TypeError(f"arrays of different libraries were mixed: {listing}. Convert all to one library")
    devices = {name: str(device(a)) for name, a in arrays.items() if _stays(a) and device(a) is not None}
    if len(set(devices.values())) > 1:
        listing = "; ".join(f"{name} is on {where}" for name, where in devices.items())
        raise ValueError(f"arrays on different devices were mixed: {listing}. Move all to one device")


def _stays(array: Array) -> bool:
    library = _LIBRARIES.get(type(array))
    return library is None or library.stays is None or library.stays(array)


def check_same_dtype(x: Array, **named: Array) -> None:
    """Raise TypeError unless the named arrays have x's dtype, so that a result has it too and none is promoted.

    Beside a complex x they may be real, of its precision.
    """
    for name, a in named.items():
        if a.dtype == x.dtype:
            continue
        xp = array_namespace(x)
        real = xp.isdtype(x.dtype, "complex floating") and xp.isdtype(a.dtype, "real floating")
        if real and xp.finfo(x.dtype).bits == xp.finfo(a.dtype).bits:
            continue
        of_x, of_a = (str(dtype).rpartition(".")[2] for dtype in (x.dtype, a.dtype))
        other = (
            f"or make the network with nt.MLP.create(..., dtype=xp.{of_x})"
            if name.startswith("net.")
            else f"or xp.astype({name}, xp.{of_x})"
        )
        raise TypeError(
            f"dtypes were mixed: x is a {describe(x)}; {name} is a {describe(a)}. Nothing is promoted: "
            f"pass xp.astype(x, xp.{of_a}), {other}"
        )


def hides_values(array: Array) -> bool:
    """Whether the values cannot be looked at now, as while a compiler follows the code."""
    library = _LIBRARIES.get(type(array))
    return library is not None and library.hides_values is not None and library.hides_values(array)


def any_true(condition: Array) -> bool:
    """Whether any entry holds; False where the values are not known yet (Dask, a traced array, a GPU's).

    Used only to refuse bad values: what cannot be looked at without computing, or without making a device
    finish its queue, is let through.
    """
    if hides_values(condition):
        return False
    if array_api_compat.is_dask_array(condition) or "cpu" not in str(device(condition)).lower():
        return False
    xp = array_namespace(condition)
    try:
        return bool(xp.any(condition))
    except (TypeError, RuntimeError):  # a tracer's refusal to become a Python bool: JAX's, and torch's under vmap
        return False


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to; ValueError if they do not."""
    length = max([0, *[len(shape) for shape in shapes]])
    result = []
    for axis in range(-length, 0):
        # Compared, never hashed: a size may be a symbol of torch.compile, which would then compile for that size only.
        size = 1
        for shape in shapes:
            if len(shape) < -axis or shape[axis] == 1:
                continue
            if size != 1 and shape[axis] != size and shape[axis] == shape[axis]:  # Dask's unknown sizes are NaN
                raise ValueError(f"shapes {' and '.join(map(str, map(tuple, shapes)))} do not broadcast")
            size = shape[axis]
        result.append(size)
    return tuple(result)


def take_along_axis(xp: Any, a: Array, indices: Array, *, axis: int = -1) -> Array:
    """The library's own; of one that has none (Dask), a sum over the axis of what is chosen, which stays lazy."""
    own = getattr(xp, "take_along_axis", None)
    if own is not None:
        return own(a, indices, axis=axis)
    rows = xp.moveaxis(a, axis, -1)[..., None, :]
    chosen = xp.where(chosen_along(a.shape[axis], indices, axis), rows, xp.zeros_like(rows))
    return xp.moveaxis(xp.sum(chosen, axis=-1), -1, axis)


def chosen_along(length: int, indices: Array, axis: int) -> Array:
    """(…, i, j): whether the i-th of ``indices`` along ``axis``, moved to the end, is j."""
    xp = array_namespace(indices)
    return (xp.moveaxis(indices, axis, -1) % length)[..., None] == xp.arange(length)


def sum_to_shape(array: Array, shape: Sequence[int]) -> Array:
    """The transpose of broadcasting from ``shape``: sum over the axes that broadcasting made."""
    if tuple(array.shape) == tuple(shape):
        return array
    xp = array_namespace(array)
    extra = array.ndim - len(shape)
    stretched = tuple(
        axis for axis in range(array.ndim) if axis < extra or (shape[axis - extra] == 1 and array.shape[axis] != 1)
    )
    total = xp.sum(array, axis=stretched)
    return total if len(stretched) == extra else xp.reshape(total, tuple(shape))


def special(xp: Any, name: str) -> Callable[[Array], Array]:
    """An elementwise special function that is not in the array API (``erf``, ``ndtr``).

    The namespace's own if it has one, or what the adapter knows; else SciPy's, through NumPy for libraries on the
    CPU that SciPy does not know.
    """
    own = getattr(xp, name, None)
    if own is not None:
        return own  # type: ignore[no-any-return]

    for library in _LIBRARIES.values():
        if library.namespace is xp and name in library.special:
            return library.special[name]
    import numpy
    import scipy.special

    function = getattr(scipy.special, name)

    def through_numpy(x: Array) -> Array:
        if isinstance(x, (numpy.ndarray, numpy.generic)) or array_api_compat.is_dask_array(x):
            return function(x)
        return xp.asarray(numpy.asarray(function(numpy.from_dlpack(x))), device=device(x))

    return through_numpy


def near_names(name: str, known: Sequence[str]) -> str:
    """Words for a message about an unknown name: the nearest known ones, then all of them."""
    return f"{did_you_mean(name, known)}Known: {', '.join(sorted(known))}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The nearest known names as a question with a space after it, or nothing."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""
