"""The archives of a job's model and output."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def pack(*folders: Path) -> bytes:
    """The content of folders as one tar.gz, with names relative to them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, path in merged(*folders).items():
            archive.add(path, arcname=name, recursive=False)
    return buffer.getvalue()


def merged(*folders: Path) -> dict[str, Path]:
    """All files in the folders by name. Of two with the same name, the one in the first folder counts."""
    found = {p.relative_to(root).as_posix(): p for root in reversed(folders) for p in root.rglob("*")}
    return dict(sorted(found.items()))
