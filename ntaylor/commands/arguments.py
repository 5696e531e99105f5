"""What several commands say about their arguments.

Floor 16.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["CHECKPOINT", "REPORT", "RefusedError", "positive", "prepare_folder", "whole"]

CHECKPOINT = "checkpoint.safetensors"
REPORT = "report.json"
"""What a run leaves in its folder: when it is interrupted, and when it ends."""


class RefusedError(Exception):
    """Something the user has to decide; its text says what to type."""


def whole(text: str) -> int:
    """An argument that is a whole number >= 0."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 0")
    return value


def positive(text: str) -> int:
    """An argument that is a whole number >= 1."""
    if whole(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def prepare_folder(folder: Path, option: str, *, resume: bool, overwrite: bool) -> None:
    """Refuse, before any work, to write over what is there unless told to, and where nothing can be written.

    ``option`` is the one that names the folder, for the messages.
    """
    found = {
        name: what
        for name, what in ((REPORT, "a finished run"), (CHECKPOINT, "the checkpoint of an interrupted run"))
        if (folder / name).exists()
    }
    if found and not (overwrite or resume):
        name, what = next(iter(found.items()))
        raise RefusedError(
            f"{folder} holds {what} ({name}): give --resume to go on from it, --overwrite to start anew, "
            f"or another {option}"
        )
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"{option} {folder} is a file: give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise RefusedError(f"{folder} cannot be written to: give another {option}")
    if overwrite:
        for name in found:  # or an interrupted run would leave the old one looking like its result
            (folder / name).unlink()
