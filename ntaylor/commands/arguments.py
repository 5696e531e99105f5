"""What several commands say about their arguments.

Floor 15.
"""

from __future__ import annotations

import argparse

__all__ = ["RefusedError", "positive", "whole"]


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
