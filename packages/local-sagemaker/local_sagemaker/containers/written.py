"""Reads what a job wrote, which may be anything: links that lead elsewhere, pipes, files of any size or name.

The server reads as its own user, who can often read more than the job. So it opens only regular files, and
only where the job's folder has them. `folder` is always a real path, without links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MAX_KEY_BYTES = 1024


class TooLargeError(OSError):
    """What is to be read does not fit into the memory of this machine."""


def walk(folder: Path, *, report: Callable[[OSError], None] = lambda _: None) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, without following links. `report` gets the errors."""
    left = [str(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError as exc:
            report(exc)


@contextlib.contextmanager
def open_file(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """A regular file in a folder. OSError for anything else, also while the job moves things around."""
    # Without waiting, because somebody has to write to a pipe.
    number = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(number, "rb") as file:  # noqa: PTH123  (a file descriptor)
        _check(number, folder, stat.S_ISREG)
        yield file


@contextlib.contextmanager
def open_folder(folder: Path, name: str) -> Iterator[int]:
    """The descriptor of a folder in a folder, or of itself (`.`)."""
    number = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        _check(number, folder, stat.S_ISDIR)
        yield number
    finally:
        os.close(number)


def _check(number: int, folder: Path, is_right: Callable[[int], bool]) -> None:
    """A folder on the way may be a link: what counts is where the way has led."""
    try:
        place = Path(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
    except OSError:  # not Linux: there, the job is the user of the server
        place = folder
    if not is_right(os.fstat(number).st_mode) or not place.is_relative_to(folder):
        raise OSError(errno.ELOOP, f"not a file in {folder}")


def check_memory(size: int) -> None:
    """Objects are kept in memory. A sparse file may be larger than any disk."""
    if size > psutil.virtual_memory().available:
        raise TooLargeError(errno.EFBIG, f"{size} bytes do not fit into the memory of this machine")


def is_key(name: str) -> bool:
    """Whether an object of S3 can have the name of a file, which may be any bytes."""
    try:
        return len(name.encode()) <= _MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False


def make_readable(folders: Iterable[Path]) -> None:
    """Let this user read what the job forbade even its own user to read. Root needs no permission."""
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+rX", *folders], capture_output=True, check=False)


def remove(folder: Path) -> None:
    """Remove a folder, also if it is deeper than Python can go, or has folders without permissions."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        subprocess.run(["chmod", "-R", "u+rwX", folder], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", folder], capture_output=True, check=False)
