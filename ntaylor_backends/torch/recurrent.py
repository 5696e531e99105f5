"""``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` and their cells: step after step, in the operations of the array API standard.

Weights of a layer are torch's: (w_ih, w_hh, b_ih, b_hh), the gates of a layer one below the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ntaylor.namespace import MissingRule
from ntaylor_backends.torch.elementwise import op
from ntaylor_backends.torch.products import PRODUCTS

__all__ = ["RECURRENT"]

_linear = PRODUCTS["linear"]
_State = tuple[Any, ...]
_Step = Callable[[Any, _State, Any, Any], _State]


def _simple(activation: str) -> _Step:
    return lambda gates, state, w, b: (op(activation, gates + _product(state[0], w, b)),)


def _product(h: Any, w: Any, b: Any) -> Any:
    # By torch's name: the first state is a plain tensor.
    return torch.nn.functional.linear(h, w, b)


def _gru(gates: Any, state: _State, w: Any, b: Any) -> _State:
    """h ← (1 − z) n + z h with n = tanh(x_n + r h_n) (Cho et al. 2014)."""
    (h,) = state
    of_x, of_h = _parts(gates, 3), _parts(_product(h, w, b), 3)
    r, z = (op("sigmoid", of_x[i] + of_h[i]) for i in range(2))
    n = op("tanh", of_x[2] + r * of_h[2])
    return (n + z * (h - n),)


def _lstm(gates: Any, state: _State, w: Any, b: Any) -> _State:
    """c ← f c + i g, h ← o tanh c (Hochreiter, Schmidhuber 1997; gates in torch's order i, f, g, o)."""
    h, c = state
    i, f, g, o = _parts(gates + _product(h, w, b), 4)
    c = op("sigmoid", f) * c + op("sigmoid", i) * op("tanh", g)
    return op("sigmoid", o) * op("tanh", c), c


def _parts(a: Any, count: int) -> list[Any]:
    width = a.shape[-1] // count
    return [a[..., i * width : (i + 1) * width] for i in range(count)]


def _cell(step: _Step, several: bool = False) -> Callable[..., Any]:
    def cell(a: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
        state = step(_product(a, w_ih, b_ih), tuple(hx) if several else (hx,), w_hh, b_hh)
        return state if several else state[0]

    return cell


def _layers(step: _Step, several: bool = False) -> Callable[..., Any]:
    def layers(
        a: Any, hx: Any, params: Any, has_biases: Any, num_layers: int = 0, dropout: float = 0.0, train: bool = False,
        bidirectional: bool = False, batch_first: bool = False,
    ) -> Any:  # fmt: skip
        if not isinstance(has_biases, bool):
            raise MissingRule("no rule for recurrent layers of a PackedSequence: pass sequences of one length")
        if train and dropout > 0 and num_layers > 1:
            raise MissingRule("no rule for recurrent layers in training with dropout > 0: call model.eval()")
        directions, per = 1 + bidirectional, 4 if has_biases else 2
        if len(params) != num_layers * directions * per:
            raise MissingRule("no rule for LSTM with proj_size: leave it 0 and put an nn.Linear after it")
        a = op("moveaxis", a, 1, 0) if batch_first else a
        last: list[_State] = []
        for layer in range(num_layers):
            ways = []
            for direction in range(directions):
                place = layer * directions + direction
                w_ih, w_hh, *biases = params[place * per : (place + 1) * per]
                b_ih, b_hh = biases or (None, None)
                state = tuple(h[place] for h in hx) if several else (hx[place],)
                steps = op("unstack", _linear(a, w_ih, b_ih), axis=0)
                found = []
                for gates in reversed(steps) if direction else steps:
                    state = step(gates, state, w_hh, b_hh)
                    found.append(state[0])
                ways.append(op("stack", found[::-1] if direction else found, axis=0))
                last.append(state)
            a = ways[0] if directions == 1 else op("concat", ways, axis=-1)
        a = op("moveaxis", a, 0, 1) if batch_first else a
        return (a, *(op("stack", list(parts), axis=0) for parts in zip(*last, strict=True)))

    return layers


RECURRENT: dict[str, Callable[..., Any]] = {
    "gru": _layers(_gru),
    "gru_cell": _cell(_gru),
    "lstm": _layers(_lstm, True),
    "lstm_cell": _cell(_lstm, True),
    **{f"rnn_{name}": _layers(_simple(name)) for name in ("relu", "tanh")},
    **{f"rnn_{name}_cell": _cell(_simple(name)) for name in ("relu", "tanh")},
}
"""Torch's name → function of jets, tensors and numbers."""
