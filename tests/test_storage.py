"""Files are whole or not there."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from ntaylor import storage


def test_arrays_and_metadata_come_back_bit_for_bit(tmp_path):
    arrays = {"a": np.random.default_rng(0).standard_normal((3, 4)), "b": np.asarray([1, 2], dtype=np.int64)}
    about = {"name": "Faà di Bruno", "nested": [1, {"x": None}]}
    storage.save_arrays(tmp_path / "deep" / "file.safetensors", arrays, about)
    found, metadata = storage.load_arrays(tmp_path / "deep" / "file.safetensors")
    assert metadata == about
    assert set(found) == set(arrays)
    for name in arrays:
        assert found[name].tobytes() == arrays[name].tobytes()
        assert found[name].dtype == arrays[name].dtype


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    storage.write_json(path, {"old": True})

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        storage.write_json(path, {"old": False})
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(tmp_path / "report.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04pickle"])
def test_a_foreign_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.safetensors is not a file that ntaylor wrote, or is damaged"):
        storage.load_arrays(path)


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="is not a file that ntaylor wrote"):
        storage.load_arrays(tmp_path / "theirs.safetensors")
