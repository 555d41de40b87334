"""Append-only files of JSON lines that a kill at any moment cannot spoil."""

import json
import os
from pathlib import Path


def append(path: Path, entry: dict) -> None:
    """Add one line; on disk when this returns. A line that a kill cut off before it is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8")
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict]:
    """All whole lines; none if there is no file."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n"):  # text would also be split at Unicode's line separators
        try:
            entries.append(json.loads(line))
        except ValueError:  # empty, or cut off by a kill
            continue
    return entries
