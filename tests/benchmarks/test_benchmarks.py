"""Every benchmark can be started: its imports and its help, after whatever moved."""

import sys
from importlib import import_module

import pytest

from motion_lib.config import REPOSITORY

BENCHMARKS = [path.stem for path in sorted((REPOSITORY / "benchmarks").glob("*.py")) if "argparse" in path.read_text()]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_shows_its_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        import_module(f"benchmarks.{name}").main()
    assert "usage:" in capsys.readouterr().out
