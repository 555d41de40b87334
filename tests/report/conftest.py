"""A configuration whose data and results are in a folder of their own."""

import pytest

from motion_lib.config import RunConfig


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature", bootstrap_resamples=200)
