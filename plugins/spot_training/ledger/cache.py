"""Copies of merged files from object storage, in a folder that only this user can read.

Merged files never change and no name is used twice, so a copy stays valid.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

#: Copies that nobody has read for this long are removed.
UNREAD_FOR_SECONDS = 7 * 86400


def cached_copy(fs: Any, root: str, path: str) -> Path:
    """The copy of a file below the ledger's root. It is fetched if it is not here yet."""
    folder = _folder(root)
    copy = folder / path.replace("/", "-")
    if copy.exists():
        # Set when it was last read. When it was written tells whether it was checked.
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
        return copy
    _remove_unread(folder)
    unfinished = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        fs.get_file(f"{root}/{path}", str(unfinished))
        unfinished.replace(copy)
    finally:
        unfinished.unlink(missing_ok=True)
    return copy


def drop_copy(root: str, path: str) -> None:
    """Remove the copy, so that the file is fetched again: the copy is not what was written."""
    (_folder(root) / path.replace("/", "-")).unlink(missing_ok=True)


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
