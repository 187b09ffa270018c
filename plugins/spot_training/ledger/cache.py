"""Copies of merged files from object storage, in a folder only this user can read.

Merged files never change and their names are used once, so a copy is good for as long as it is there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import Ledger

#: Copies nobody has read for so long are removed.
UNREAD_FOR_SECONDS = 7 * 86400


def cached_copy(ledger: Ledger, path: str) -> Path:
    """The copy of a file below the ledger's root; fetched when it is not here yet."""
    folder = _folder(ledger.root)
    copy = folder / path.replace("/", "-")
    if copy.exists():
        # When it was last read; when it was written tells whether it was checked.
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
        return copy
    _remove_unread(folder)
    unfinished = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        ledger.fs.get_file(ledger.path(path), str(unfinished))
        unfinished.replace(copy)
    finally:
        unfinished.unlink(missing_ok=True)
    return copy


def drop_copy(ledger: Ledger, path: str) -> None:
    """Have the file fetched again: its copy here is not what was written."""
    (_folder(ledger.root) / path.replace("/", "-")).unlink(missing_ok=True)


def _folder(root: str) -> Path:
    name = f"spot-ledger-{os.getuid()}"
    folder = Path(tempfile.gettempdir()) / name / hashlib.sha256(root.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for owned in (folder.parent, folder):
        if owned.is_symlink() or owned.stat().st_uid != os.getuid():
            raise PermissionError(f"{owned} belongs to somebody else. Remove it, or set TMPDIR.")
    folder.parent.chmod(0o700)
    return folder


def _remove_unread(folder: Path) -> None:
    limit = time.time() - UNREAD_FOR_SECONDS
    for copy in folder.iterdir():
        if copy.stat().st_atime < limit:
            copy.unlink(missing_ok=True)
