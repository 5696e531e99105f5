"""Recorded networks: the same numbers as the layers' own push and pullback, whatever comes in what order."""

# ruff: noqa: ARG005 functions given to others share one signature

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import OPTIONS

import ntaylor as nt
from ntaylor.blocks import Block, arrays_in
from ntaylor.layers import Activate, Dense, Layer
from ntaylor_backends import numpy as of_numpy
from ntaylor_backends import recordings, shares
from ntaylor_backends.numpy.recorder import NumpyRecorder

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _nothing_known():
    recordings._entries.clear()
    yield
    recordings._entries.clear()


@pytest.fixture(params=["kernels", "no kernels"])
def _activations(request, monkeypatch):
    if request.param == "kernels":
        pytest.importorskip("numba")
    monkeypatch.setattr(of_numpy, "SMALLEST", 0 if request.param == "kernels" else 10**9)


def plain_push(net, u, order):
    """By the layers, without recordings."""
    return super(nt.MLP, net).push(u, order)


def close(got, expected, tolerance=1e-12):
    if expected is None:
        assert got is None
        return
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert np.max(np.abs(got - expected), initial=0.0) <= tolerance * max(np.max(np.abs(expected), initial=0.0), 1e-3)


def compare(net, u, order, threads=1, per_sample=False):
    """Values, and three times the pullback of the same cotangents; the first makes the code."""
    expected, expected_back = plain_push(net, u, order)
    lead = (2,) if per_sample else ()
    cotangent = [None if c is None else RNG.standard_normal((*lead, *c.shape)) for c in expected]
    expected_bar, expected_gradients = expected_back(cotangent, per_sample)
    for _ in range(3):
        v, pullback = shares.push(net, u, order, NumpyRecorder(), threads, super(nt.MLP, net).push)
        assert len(v) == len(expected)
        for c, e in zip(v, expected, strict=True):
            close(c, e)
        given = Block(np.stack(cotangent)) if isinstance(v, Block) and not per_sample else cotangent
        bar, gradients = pullback(given, per_sample)
        for c, e in zip(bar, expected_bar, strict=True):
            close(c, e)
        assert set(gradients) == set(expected_gradients)
        for name, g in gradients.items():
            close(g, expected_gradients[name])


@pytest.mark.usefixtures("_activations")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recorded_code_gives_what_the_layers_give(options):
    net = nt.MLP.create([2, 7, 7, 2], seed=1, **options)
    x = RNG.uniform(-1, 1, (6, 2))
    for order, u in [(0, [x]), (1, [x, np.ones((1, 2))]), (4, [x, np.ones((1, 2)), None, RNG.standard_normal((6, 2))])]:
        compare(net, u, order)
    (*_, last) = recordings._entries.values()
    assert last._recording is not None
    assert last._recording.pullbacks


@pytest.mark.usefixtures("_activations")
def test_directions_that_share_the_primal_and_pullbacks_per_sample():
    net = nt.MLP.create([2, 7, 7, 1], seed=1)
    x = RNG.uniform(-1, 1, (6, 2))
    compare(net, [x, RNG.standard_normal((3, 1, 2))], 3)
    compare(net, [x, np.ones((1, 2))], 2, per_sample=True)


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_batch_shared_out_among_threads_gives_the_same(monkeypatch, per_sample):
    """Odd numbers of points too, directions, and pullbacks whose results do not add up."""
    monkeypatch.setattr(shares, "SHARE", 1)
    monkeypatch.setattr(shares, "FEWEST", 2)
    net = nt.MLP.create([2, 9, 9, 1], seed=2)
    x = RNG.uniform(-1, 1, (37, 2))
    for threads in (2, 3):
        compare(net, [x, np.ones((1, 2))], 3, threads, per_sample)
        compare(net, [x, RNG.standard_normal((37, 2)), None, RNG.standard_normal((37, 2))], 4, threads, per_sample)
    compare(net, [x, RNG.standard_normal((4, 1, 2))], 2, 2, per_sample)
    if not per_sample:
        linear = nt.MLP.create([2, 3])  # whose v_1 all points share
        compare(linear, [x, np.ones((1, 2))], 1, 2)


def test_products_have_their_threads_again(monkeypatch):
    """After a push, and after one that failed."""
    before = [get() for get, _ in shares._blas()]
    seen = []

    def looks():
        seen.append([get() for get, _ in shares._blas()])

    def fails():
        raise RuntimeError("in a thread")

    shares._at_once([looks, looks], True)
    assert seen == [[1] * len(before)] * 2
    with pytest.raises(RuntimeError, match="in a thread"):
        shares._at_once([looks, fails], True)
    assert [get() for get, _ in shares._blas()] == before


def test_threads_of_libraries_that_are_no_openblas():
    """Are set by threadpoolctl's own functions."""

    class Library:
        internal_api = "mkl"
        get_num_threads, set_num_threads = (lambda: 3), str

    assert shares._functions(Library) == (Library.get_num_threads, Library.set_num_threads)
    Library.internal_api, Library.threading_layer = "openblas", "pthreads"
    assert shares._functions(Library) == (Library.get_num_threads, Library.set_num_threads)
    Library._get_symbol = staticmethod(lambda name: None)
    assert shares._functions(Library) == (Library.get_num_threads, Library.set_num_threads)


def test_two_networks_of_one_kind_do_not_mix():
    """Both pushed before either is pulled back, as in a loss of two fields."""
    nets = [nt.MLP.create([1, 8, 1], seed=s) for s in (1, 2)]
    u = [RNG.uniform(-1, 1, (5, 1)), np.ones((1, 1))]
    for _ in range(2):
        pushed = [shares.push(net, u, 2, NumpyRecorder(), 1, super(nt.MLP, net).push) for net in nets]
        for net, (v, pullback) in zip(nets, pushed, strict=True):
            expected, expected_back = plain_push(net, u, 2)
            ones = [np.ones_like(c) for c in expected]
            close(arrays_in(v)[0], arrays_in(expected)[0])
            for name, g in pullback(ones)[1].items():
                close(g, expected_back(ones)[1][name])
    assert len(recordings._entries) == 1


def test_parameters_changed_in_place_are_seen():
    net = nt.MLP.create([1, 8, 1], seed=0)
    x = np.linspace(-1, 1, 9)
    first = nt.derivatives(net, x, 2)
    net.parameters["0.weight"][...] *= 2.0
    second = nt.derivatives(net, x, 2)
    assert not np.allclose(first, second)
    coefficients, _ = plain_push(net, [x[:, None], np.ones((1, 1))], 2)
    close(second, np.stack([c[:, 0] * factor for c, factor in zip(coefficients, (1, 1, 2), strict=True)]))


def test_what_depends_on_values_is_not_recorded():
    """A domain is looked at in every call."""
    net = nt.MLP.create([1, 4, 1], "log", seed=0)
    net = net.replace({name: np.abs(p) + 0.1 for name, p in net.parameters.items()})
    x = np.asarray([0.5, 1.0])
    assert nt.derivatives(net, x, 2).shape == (3, 2)
    assert [entry._recording for entry in recordings._entries.values()] == [None]
    with pytest.raises(ValueError, match="log is not differentiable"):
        nt.derivatives(net, -10 * x, 2)


def test_no_more_recordings_are_kept_than_said(monkeypatch):
    monkeypatch.setattr(recordings, "MOST", 3)
    net = nt.MLP.create([1, 4, 1])
    for batch in range(2, 8):
        nt.derivatives(net, np.linspace(0, 1, batch), 1)
    assert len(recordings._entries) == 3


def test_what_code_has_no_use_for_is_let_go(monkeypatch):
    """An intermediate array is freed by the last line that reads it; what is returned is not."""
    seen = []
    function_of = recordings._function_of
    monkeypatch.setattr(recordings, "_function_of", lambda *args: (seen.append(args), function_of(*args))[1])
    nt.derivatives(nt.MLP.create([1, 64, 64, 1]), np.linspace(-1, 1, 64), 3)
    ((name, _, lines, results, _),) = seen
    assert name == "push"
    made = {line.split(" = ")[0] for line in lines if " = " in line}
    freed = [name for line in lines if "; del " in line for name in line.split("; del ")[1].split(", ")]
    assert len(freed) == len(set(freed))
    assert made - set(freed) == made & set(results)
    assert not set(freed) & set(results)


def test_cotangents_of_several_kinds():
    """What one pullback makes when it is first asked for, another finds not made: each has code of its own."""
    net = nt.MLP.create([1, 5, 1], seed=0)
    u = [RNG.uniform(-1, 1, (6, 1)), np.ones((1, 1))]
    expected, expected_back = plain_push(net, u, 3)
    ones = [np.ones_like(c) for c in expected]
    kinds = [(ones, False), ([None, ones[1], None, None], False), ([*ones[:2], None, ones[3]], False), (ones, True)]
    for cotangent, per_sample in kinds * 2:
        _, pullback = shares.push(net, u, 3, NumpyRecorder(), 1, super(nt.MLP, net).push)
        bar, gradients = pullback(cotangent, per_sample)
        wanted_bar, wanted = expected_back(cotangent, per_sample)
        for c, e in zip(bar, wanted_bar, strict=True):
            close(c, e)
        for name, g in gradients.items():
            close(g, wanted[name])


class Shift(Layer):
    """A user's layer that does not say what it is."""

    def __init__(self, shift):
        self.shift = shift

    def push(self, u, order):
        return [u[0] + self.shift, *u[1:]], lambda cotangent, per_sample=False: (list(cotangent), {})


class Twice(nt.MLP):
    """A user's network with a push of its own."""

    def push(self, u, order):
        v, pullback = super().push(u, order)
        return [None if c is None else 2 * c for c in v], pullback


def test_what_others_write_runs_as_it_is():
    dense = Dense(np.ones((1, 1)), np.zeros(1))
    x = np.ones((1, 1))
    assert [float(nt.MLP([dense, Shift(c)])(x)[0, 0]) for c in (1.0, 2.0, 1.0)] == [2.0, 3.0, 2.0]
    assert Shift(1.0).structure != Shift(1.0).structure
    assert float(Twice([dense])(x)[0, 0]) == 2.0
    assert [entry._recording for entry in recordings._entries.values()] == [None] * len(recordings._entries)


def test_numbers_of_numpy_in_a_rule(request):
    """They are floats, and written otherwise."""
    root = np.sqrt(2.0)
    nt.activations.register("scaled by numpy", pair=lambda u, xp: (u * root, u * 0 + root))
    request.addfinalizer(lambda: nt.activations._TABLE.pop("scaled by numpy"))
    net = nt.MLP([Dense(np.ones((1, 1)), np.ones(1)), Activate("scaled by numpy")])
    close(nt.derivatives(net, np.asarray([1.0]), 1), root * np.asarray([[2.0], [1.0]]))


def test_one_direction_for_all_points_of_a_shared_out_batch(monkeypatch):
    monkeypatch.setattr(shares, "SHARE", 1)
    net = nt.MLP.create([2, 8, 1], seed=0)
    compare(net, [RNG.uniform(-1, 1, (100, 2)), np.asarray([1.0, 0.5])], 2, 2)


def test_floating_point_errors_are_those_of_the_caller(monkeypatch):
    """In every thread."""
    monkeypatch.setattr(shares, "SHARE", 1)
    monkeypatch.setattr(of_numpy, "threads", lambda: 2)
    net = nt.MLP.create([1, 4, 1], "exp", seed=0)
    x = np.zeros((64, 1))
    nt.derivatives(net, x, 1)
    x[-1] = 1e5
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        nt.derivatives(net, x, 1)
    with np.errstate(all="ignore"):
        nt.derivatives(net, x, 1)
