"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the authors' files and the lists; MOTION_SHARED overrides the place beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("MOTION_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set MOTION_SHARED to the folder with the shared data")
    return folder
