"""What ``import ntaylor`` costs beyond NumPy: medians of interleaved runs in fresh processes.

Usage: python benchmarks/import_time.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TIMED = "import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"


def seconds(name: str) -> float:
    """The time that one import takes in a new process."""
    done = subprocess.run([sys.executable, "-c", TIMED.format(name=name)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    seconds("ntaylor")  # which compiles it to bytecode
    pairs = [(seconds("numpy"), seconds("ntaylor")) for _ in range(repeats)]
    alone, with_it = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import numpy {alone:.3f} s, import ntaylor {with_it:.3f} s: {with_it - alone:.3f} s beyond it")


if __name__ == "__main__":
    main()
