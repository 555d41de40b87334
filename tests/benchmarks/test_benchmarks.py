"""Every benchmark can be started: its imports and its help, after whatever moved."""

import subprocess
import sys

import pytest

from motion_lib.config import REPOSITORY

BENCHMARKS = [path.stem for path in sorted((REPOSITORY / "benchmarks").glob("*.py")) if "argparse" in path.read_text()]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_shows_its_help(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
