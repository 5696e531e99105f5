"""A network's push and pullback as straight-line code: recorded once for given shapes, then run without a look.

On small networks the time is not the arithmetic's but that of asking, call by call, which array this is and which rule
applies. So the layers are run once on :class:`Recorded` arrays, which compute and note what was called; the notes are
written out as two Python functions of arrays, one for the push and one for the pullback, and from then on these are
called. Nothing is stated anew: what is recorded is what the layers, the rules and the kernels do.

A recording serves networks of one ``structure`` (``layers.Layer``), with inputs of the same shapes and dtypes; which
cotangents a pullback is for is learnt when it is first called with them. What depends on values, as a domain that is
checked, cannot be recorded; it runs as it is.
"""

from __future__ import annotations

import math
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any, NamedTuple

from ntaylor.activations import Activation, Pullback
from ntaylor.array_object import ArrayObject, function_of, unwrapped_namespace
from ntaylor.blocks import Block, arrays_in, opened
from ntaylor.dispatch import Adapter, serve
from ntaylor.fans import Order
from ntaylor.layers import Coefficients, Gradients
from ntaylor.namespace import device, is_array, special
from ntaylor.programs import NotRecordableError

__all__ = ["Entry", "Recorded", "Recorder", "Tape", "entry_for"]

Array = Any
Line = tuple[str | None, str, tuple[str, ...]]
"""(name made, or None where something is changed in place; text; names read)."""

MOST = 512
"""Recordings that are kept, those used last."""

_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@"}


class Recorder:
    """How an array library takes part; subclasses give ``activate``."""

    namespace: Any
    """Where the functions are that the code calls, by the standard's names."""

    def key(self) -> Any:
        """What else the code depends on."""
        return type(self)

    def enter(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """The network's arrays as the code takes them; fixed ones of layers too."""
        return arrays

    def silently(self) -> AbstractContextManager[Any]:
        """Within what the code is run."""
        return nullcontext()

    def leave(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """What the code gives as arrays of the network's library."""
        return arrays

    def written(
        self, tape: Tape, name: str, value: Array, args: Sequence[Any], options: dict[str, Any], texts: Sequence[str]
    ) -> str | None:
        """A better way to write the call that made ``value``, its arguments' ``texts`` given; None for none."""
        return None

    def activate(self, tape: Tape, activation: Activation, u: Coefficients, order: Order, parameters: Any) -> Any:
        """As the slot ``activate``, of recorded arrays; None for the closed form, operation by operation."""
        raise NotImplementedError


class Tape:
    """The code so far, line by line, and the names in it."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self._lines: list[Line] = []
        self.names: dict[str, Any] = {}
        """Functions and constants that the code refers to."""
        self._numbers = count()
        self._functions: dict[str, str] = {}

    def given(self, value: Array) -> Recorded:
        """An argument of the code, with an array of its shape and dtype."""
        return Recorded(self, f"x{next(self._numbers)}", value)

    def note(self, value: Array, text: str, reads: Sequence[str]) -> Recorded:
        """A line that makes ``value``."""
        name = f"t{next(self._numbers)}"
        self._lines.append((name, text, tuple(reads)))
        return Recorded(self, name, value)

    def change(self, array: Recorded, how: str, other: Any) -> None:
        """A line that changes an array in place."""
        reads = [array.name]
        text = self._text(other, reads)
        self._lines.append((None, f"{array.name} {how} {text}", tuple(reads)))

    def cut(self) -> list[Line]:
        """The lines since the last cut."""
        lines, self._lines = self._lines, []
        return lines

    def bound(self, value: Any, kind: str = "c") -> str:
        """A name for a function or a constant."""
        name = f"{kind}{len(self.names)}"
        self.names[name] = value
        return name

    def call(self, name: str, value: Array, args: Sequence[Any], options: dict[str, Any]) -> Recorded:
        """A call of the library's function ``name`` (the standard's)."""
        reads: list[str] = []
        texts = [self._text(a, reads) for a in args]
        if name == "getitem":
            return self.note(value, f"{texts[0]}[{texts[1]}]", reads)
        text = self.recorder.written(self, name, value, args, options, texts)
        if text is not None:
            return self.note(value, text, reads)
        if name in _INFIX and len(texts) == 2 and not options:
            return self.note(value, f"{texts[0]} {_INFIX[name]} {texts[1]}", reads)
        if name == "negative":
            return self.note(value, f"-{texts[0]}", reads)
        texts += [f"{key}={self._text(option, reads)}" for key, option in options.items()]
        if name not in self._functions:
            self._functions[name] = self.bound(_function(self.recorder.namespace, name), f"{name.replace('.', '_')}_")
        return self.note(value, f"{self._functions[name]}({', '.join(texts)})", reads)

    def _text(self, value: Any, reads: list[str]) -> str:
        if isinstance(value, Recorded):
            if value.tape is not self:
                raise NotRecordableError("arrays of two recordings were mixed")
            reads.append(value.name)
            return value.name
        # Exactly these: a subclass, as NumPy's numbers are of float, reads otherwise and means otherwise.
        if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
            return repr(value)
        if isinstance(value, (tuple, list)):
            inner = [self._text(v, reads) for v in value]
            return (
                f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
                if isinstance(value, tuple)
                else f"[{', '.join(inner)}]"
            )
        if value is ...:
            return "..."
        if isinstance(value, (slice, float)):
            return self.bound(value)
        if is_array(value) and not isinstance(value, ArrayObject):
            return self.bound(self.recorder.enter([value])[0])
        raise NotRecordableError(f"a {type(value).__name__} among the arguments")


class Recorded(ArrayObject):
    """An array of which it is noted how it was made."""

    __slots__ = ("name", "tape", "value")
    level = 0

    def __init__(self, tape: Tape, name: str, value: Array):
        self.tape, self.name, self.value = tape, name, value

    @property
    def _like(self) -> Array:
        return self.value

    @classmethod
    def _has_rule(cls, name: str) -> bool:  # noqa: ARG003
        return True

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:  # noqa: ARG003
        tape = _tape_of([*args, *kwargs.values()])
        values = [_values(a) for a in args]
        options = {key: _values(v) for key, v in kwargs.items()}
        if name == "getitem":
            result = operator.getitem(*values)
        else:
            result = _function(unwrapped_namespace([*values, *options.values()]), name)(*values, **options)
        if not is_array(result):
            raise NotRecordableError(f"{name} gives no array")
        return tape.call(name, result, args, kwargs)

    def __iadd__(self, other: Any) -> Recorded:  # type: ignore[misc]
        self.value += _values(other)
        self.tape.change(self, "+=", other)
        return self

    def _in_place(self, other: Any) -> Recorded:
        raise NotRecordableError("it is changed in place")

    __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = __ifloordiv__ = __imod__ = _in_place  # type: ignore[misc]

    def __iter__(self) -> Any:
        return (self[i, ...] for i in range(len(self)))

    def _to_number(self, kind: str) -> Any:
        raise NotRecordableError(f"its course depends on a {kind}")


def _values(value: Any) -> Any:
    if isinstance(value, Recorded):
        return value.value
    return type(value)(map(_values, value)) if isinstance(value, (tuple, list)) else value


def _tape_of(values: Any) -> Tape:
    for value in values:
        if isinstance(value, Recorded):
            return value.tape
        if isinstance(value, (list, tuple)) and any(isinstance(v, Recorded) for v in value):
            return _tape_of(value)
    raise NotRecordableError("no recorded array among the arguments")


def _function(xp: Any, name: str) -> Callable[..., Any]:
    return special(xp, name) if name in ("erf", "ndtr") else function_of(xp, name)  # type: ignore[no-any-return]


class _RecordedAdapter(Adapter):
    priority = 50

    def writes(self, *arrays: Array) -> bool:  # type: ignore[override]
        return True

    def activate(  # type: ignore[override]
        self, activation: Activation, u: Coefficients, order: Order, parameters: Any
    ) -> tuple[Coefficients, Pullback]:
        tape = _tape_of([*arrays_in(u), *parameters.values()])
        found = tape.recorder.activate(tape, activation, u, order, parameters)
        return found or activation.closed_form(u, order, parameters)


serve(Recorded, _RecordedAdapter())


class _Layout(NamedTuple):
    """How coefficients or cotangents come: the shapes of all, None for what is absent; of a block, the array's."""

    shapes: tuple[tuple[int, ...] | None, ...]
    in_block: bool
    per_sample: bool

    @classmethod
    def of(cls, coefficients: Coefficients, per_sample: bool) -> _Layout:
        if isinstance(coefficients, Block):
            return cls((tuple(coefficients.array.shape),), True, per_sample)
        return cls(tuple([None if c is None else tuple(c.shape) for c in coefficients]), False, per_sample)

    def filled(self, array: Callable[[tuple[int, ...]], Array]) -> Coefficients:
        made = [None if shape is None else array(shape) for shape in self.shapes]
        return Block(made[0]) if self.in_block else made


class _Recording:
    """The code of a push, and of pullbacks for cotangents of given layouts with what they read of the push."""

    def __init__(
        self, network: Any, u: Coefficients, order: Order, recorder: Recorder, of_input: bool, wanted: Sequence[_Layout]
    ):
        if not network.is_ours:
            raise NotRecordableError("a layer that is not the core's may do anything, and another thing in every call")
        tape, v, _, arguments = _pushed(network, u, order, recorder)
        bound = tape.names
        outputs, self.closed = opened(v)
        self.count = len(outputs)
        push = tape.cut()
        made = {*arguments, *(name for name, _, _ in push if name is not None)}
        like = outputs[0].value
        xp = unwrapped_namespace([like])
        pieces = []
        for layout in wanted:
            # Pushed anew: what one pullback makes when it is first asked for, another must not find made. The lines of
            # a push are numbered alike every time.
            tape, _, pullback, _ = _pushed(network, u, order, recorder)
            tape.cut()

            def zeros(shape: tuple[int, ...], tape: Tape = tape) -> Recorded:
                return tape.given(xp.zeros(shape, dtype=like.dtype, device=device(like)))

            given = layout.filled(zeros)
            of_u, gradients = pullback(given, per_sample=layout.per_sample)
            of_arrays, of_closed = opened(of_u if of_input else [None] * len(u))
            names = [a.name for a in (*of_arrays, *(gradients[name] for name in network.parameters))]
            lines, read = _live(tape.cut(), names)
            places = of_closed, len(of_arrays)
            pieces.append((layout, [a.name for a in arrays_in(given)], lines, names, tape.names, places, read))
        saved = sorted(made & {name for *_, read in pieces for name in read})
        results = [*(a.name for a in outputs), *saved]
        self.push = _function_of("push", arguments, _live(push, results)[0], results, bound)
        self.pullbacks = {
            layout: (_function_of("pullback", [*saved, *given], lines, names, of_tape), *places)
            for layout, given, lines, names, of_tape, places, _ in pieces
        }


def _pushed(
    network: Any, u: Coefficients, order: Order, recorder: Recorder
) -> tuple[Tape, Coefficients, Callable[..., Any], list[str]]:
    """(tape, v, pullback, names of the arguments) of a push on a tape of its own."""
    tape = Tape(recorder)
    held, closed = opened(u)
    inputs = [tape.given(a) for a in held]
    parameters = {name: tape.given(p) for name, p in zip(network.parameters, network.leaves, strict=True)}
    v, pullback = network.replace(parameters).push(closed(inputs), order)
    return tape, v, pullback, [a.name for a in (*inputs, *parameters.values())]


def _live(lines: Sequence[Line], results: Sequence[str]) -> tuple[list[str], set[str]]:
    """The lines that the results need, each letting go of what it was the last to read; and what they read at first."""
    needed, kept = set(results), []
    for made, text, reads in reversed(lines):
        if made is None or made in needed:
            last = [name for name in dict.fromkeys(reads) if name not in needed]
            needed.update(reads)
            kept.append((text if made is None else f"{made} = {text}") + (f"; del {', '.join(last)}" if last else ""))
    return kept[::-1], needed


def _function_of(
    name: str, arguments: Sequence[str], lines: Sequence[str], results: Sequence[str], names: dict[str, Any]
) -> Callable[..., list[Array]]:
    body = [*lines, f"return [{', '.join(results)}]"]
    text = "\n".join([f"def {name}({', '.join(arguments)}):", *(f"    {line}" for line in body)]) + "\n"
    space = dict(names)
    exec(compile(text, f"<ntaylor {name}>", "exec"), space)  # our own text, of calls that were made here
    return space.pop(name)  # type: ignore[no-any-return]


class Entry:
    """What is known of networks of one structure with inputs of one kind."""

    def __init__(self, order: Order, recorder: Recorder, of_input: bool):
        self._order, self._recorder, self._of_input = order, recorder, of_input
        self._wanted: list[_Layout] = []
        self._recording: _Recording | None = None

    def record(self, network: Any, u: Coefficients) -> None:
        """Make the code by running this network on such inputs."""
        try:
            recording = _Recording(network, u, self._order, self._recorder, self._of_input, self._wanted)
            recording.push(*self._recorder.enter([*arrays_in(u), *network.leaves]))  # it runs
            self._recording = recording
        except Exception:  # what cannot be recorded runs as it is, and says itself what is wrong
            self._recording = None

    def learn(self, network: Any, u: Coefficients, cotangent: Coefficients, per_sample: bool = False) -> None:
        """From the next push on, let pullbacks serve cotangents of this layout."""
        layout = _Layout.of(cotangent, per_sample)
        if layout not in self._wanted:
            self._wanted.append(layout)
            self.record(network, u)

    def push(self, u: Coefficients, network: Any) -> tuple[Coefficients, Callable[..., Any]] | None:
        """(v, pullback), or None where nothing could be recorded; the pullback gives None for unknown layouts."""
        recording, recorder = self._recording, self._recorder
        if recording is None:
            return None
        with recorder.silently():
            found = recording.push(*recorder.enter([*arrays_in(u), *network.leaves]))
        v = recording.closed(recorder.leave(found[: recording.count]))
        saved = found[recording.count :]

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients] | None:
            known = recording.pullbacks.get(_Layout.of(cotangent, per_sample))
            if known is None:
                return None
            run, closed, count = known
            with recorder.silently():
                arrays = recorder.leave(run(*saved, *recorder.enter(arrays_in(cotangent))))
            return closed(arrays[:count]), dict(zip(network.parameters, arrays[count:], strict=True))

        return v, pullback


_entries: OrderedDict[Any, Entry] = OrderedDict()
_lock = threading.RLock()


def _unlocked() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)  # another thread of the parent may have held it


def entry_for(
    network: Any, kinds: tuple[Any, ...], u: Coefficients, order: Order, recorder: Recorder, of_input: bool
) -> Entry:
    """What is known of this network, with leaves of these ``kinds``, and such inputs; recorded if they are the first.

    The kind of an array is its dtype and shape.
    """
    absent = isinstance(u, Block) or tuple([c is None for c in u])
    of_u = tuple([(a.dtype, a.shape) for a in arrays_in(u)])
    key = (network.structure, kinds, absent, of_u, order, recorder.key(), of_input)
    with _lock:
        entry = _entries.get(key)
        if entry is None:
            entry = Entry(order, recorder, of_input)
            entry.record(network, u)
            _entries[key] = entry
            if len(_entries) > MOST:
                _entries.popitem(last=False)
        else:
            _entries.move_to_end(key)
    return entry
