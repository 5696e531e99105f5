"""Memory that is used again: never while somebody reads it, and no more than is said."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import ntaylor as nt
from ntaylor_backends.numpy import buffers

LARGE = buffers.SMALLEST // 8


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def none_kept(monkeypatch):
    free = buffers._Free()
    monkeypatch.setattr(buffers, "_free", free)
    monkeypatch.setattr(buffers._Lease.__del__, "__defaults__", (free.give,))
    return free


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2 * LARGE,), (4, LARGE), (2, 0, LARGE)])
def test_arrays_are_those_of_numpy(shape, dtype):
    found, expected = buffers.empty(shape, dtype), np.empty(shape, dtype)
    assert (found.shape, found.strides, found.dtype) == (expected.shape, expected.strides, expected.dtype)
    assert type(found) is np.ndarray
    assert found.flags.writeable
    assert found.flags.c_contiguous
    found[...] = 1
    assert found.sum() == found.size


def test_memory_is_used_again_when_nobody_reads_it():
    a = buffers.empty((LARGE,), np.float64)
    at = address(a)
    del a
    assert address(buffers.empty((2, LARGE // 2), np.float64)) == at


def test_a_view_keeps_its_memory():
    a = buffers.empty((2, LARGE), np.float64)
    at, row = address(a), a[1, ::2]
    row[...] = 7
    del a
    b = buffers.empty((2, LARGE), np.float64)
    assert address(b) != at
    b[...] = 0
    assert (row == 7).all()
    del row
    assert address(buffers.empty((2, LARGE), np.float64)) == at


def test_a_tensor_keeps_its_memory():
    torch = pytest.importorskip("torch")
    a = buffers.empty((LARGE,), np.float64)
    a[...] = 3
    at, tensor = address(a), torch.from_numpy(a)[10:]
    del a
    b = buffers.empty((LARGE,), np.float64)
    assert address(b) != at
    b[...] = 0
    assert (tensor == 3).all()


def test_no_more_is_kept_than_is_said(none_kept, monkeypatch):
    monkeypatch.setattr(buffers, "MOST", 24 * LARGE)
    arrays = [buffers.empty((LARGE,), np.float64) for _ in range(5)] + [buffers.empty((2 * LARGE,), np.float64)]
    while arrays:
        del arrays[0]
    held = sum(memory.size for kept in none_kept._kept.values() for memory, _ in kept)
    assert held == none_kept._bytes <= 24 * LARGE
    last = buffers.empty((2 * LARGE,), np.float64)  # of the size that came back last
    assert none_kept._bytes == held - last.nbytes


@pytest.fixture
def collected(none_kept):
    gc.callbacks.append(none_kept.collected)
    yield none_kept
    gc.callbacks.remove(none_kept.collected)


def test_a_whole_collection_gives_it_back(collected):
    buffers.empty((LARGE,), np.float64)
    gc.collect(1)
    assert collected._bytes == buffers.SMALLEST
    gc.collect()
    assert collected._bytes == 0
    held = buffers.empty((LARGE,), np.float64)
    held[...] = 1
    gc.collect()
    assert (held == 1).all()


def test_the_collector_knows():
    found = [f for f in gc.callbacks if isinstance(getattr(f, "__self__", None), buffers._Free)]
    assert len(found) == 1


def test_threads_never_share_memory():
    failed = []

    def work(number):
        for turn in range(200):
            a = buffers.empty((LARGE,), np.float64)
            a[...] = number
            b = buffers.empty((LARGE,), np.float64)
            b[...] = -number
            if not (a == number).all() or address(a) == address(b):
                failed.append((number, turn))

    threads = [threading.Thread(target=work, args=(k + 1,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_networks_return_stays_as_it_is():
    rng = np.random.default_rng(0)
    net = nt.MLP.create([2, 128, 128, 1])
    points = [rng.normal(size=(2048, 2)) for _ in range(3)]
    loss = nt.value_and_grad(lambda p, x: (nt.derivatives(p, x, 3, np.asarray([1.0, 0.5])) ** 2).sum())
    first = [(nt.jet(net, x, 3, np.asarray([1.0, 0.5])).coefficients, loss(net, x)[1]) for x in points]
    copies = [(np.array(v), {name: np.array(p) for name, p in g.parameters.items()}) for v, g in first]
    gc.collect()
    for x in points:  # in the memory of what was let go of
        loss(net, x)
    for (v, g), (v_before, g_before) in zip(first, copies, strict=True):
        np.testing.assert_array_equal(v, v_before)
        for name, p in g.parameters.items():
            np.testing.assert_array_equal(p, g_before[name])
