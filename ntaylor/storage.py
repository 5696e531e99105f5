"""Files that are either whole or not there.

Floor 0: arrays as safetensors with metadata, reports as JSON; each written beside its place and moved
there in one step, so that an interruption never leaves half a file. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["load_arrays", "made_with", "save_arrays", "write_atomic", "write_json"]


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by ``content``, or leave it as it was; OSError names the path."""
    try:
        _replace(path, content)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's are for the owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON; a NaN or an infinity is refused, for it would not be JSON."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def save_arrays(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """NumPy arrays by name, and a JSON-like dictionary, into one safetensors file."""
    from safetensors.numpy import save

    write_atomic(path, save(dict(arrays), metadata={"ntaylor": json.dumps(metadata)}))


def load_arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, metadata) of a file that ``save_arrays`` wrote; ValueError for any other."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})["ntaylor"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a file that ntaylor wrote, or is damaged: {error}") from error


def made_with() -> dict[str, str]:
    """The versions and the machine that figures were measured with."""
    return {
        "ntaylor": version("ntaylor"),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
