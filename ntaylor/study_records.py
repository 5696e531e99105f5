"""The record of a study in cells: JSON, a line a cell, written whole after each, and continued only as it was begun.

Floor 1: knows files and settings, not what was studied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ntaylor.storage import write_atomic

__all__ = ["load_record", "rounded", "save_record"]


def rounded(value: Any) -> Any:
    """Numbers to six digits, at any depth: what is known of none of them is more."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def load_record(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an earlier call; an empty one where there is none. ValueError for another study's, or no record."""
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        return {"settings": wanted, "made_with": {}, "cells": {}}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, _ = content["settings"], content["cells"].items()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no record of this study, or is damaged: {error}") from error
    other = [name for name in {**wanted, **known} if wanted.get(name) != known.get(name)]
    if other:
        raise ValueError(
            f"{path} is of a study with other {', '.join(sorted(other))}: give another place, or start anew"
        )
    return content


def save_record(path: Path, content: dict[str, Any]) -> None:
    """A line a cell; the file is whole or as it was."""
    cells_ = ",\n".join(
        f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in content["cells"].items()
    )
    head = {name: value for name, value in content.items() if name != "cells"}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    write_atomic(path, f'{text},\n "cells": {{\n{cells_}\n}}}}\n'.encode())
