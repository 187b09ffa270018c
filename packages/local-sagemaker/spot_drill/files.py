"""The files of a script, a data folder or a checkpoint folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path


def list_files(folder: Path) -> list[Path]:
    """The file itself, or all files below the folder."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cut_in_half(content: bytes) -> bytes:
    """The first half. If there are lines, it ends within one: a log that lacks whole lines is not torn."""
    middle = len(content) // 2
    start = content.rfind(b"\n", 0, middle) + 1
    end = content.find(b"\n", middle)
    return content[: (start + (end if end >= 0 else len(content))) // 2]


def pack_source(source: Path) -> bytes:
    """The archive of a script, or of a folder with scripts, for `sagemaker_submit_directory`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in list_files(source):
            name = Path(path.name) if path == source else path.relative_to(source)
            if not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
                archive.add(path, arcname=name.as_posix())
    return gzip.compress(buffer.getvalue())
