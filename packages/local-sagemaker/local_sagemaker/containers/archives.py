"""The archives of a job: its model and output, which are packed here, and its source, which is checked here.

AWS's toolkit unpacks the source in the container. It would fill this machine's disk, so an archive that is
too large, or that has an entry outside its folder, fails the job before it starts.
"""

from __future__ import annotations

import gzip
import io
import itertools
import posixpath
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NoReturn, Self

from .written import check_memory, walk

MAX_SOURCE_BYTES = 2 * 1024**3
MAX_SOURCE_ENTRIES = 100_000

_CHUNK = 1024 * 1024
#: Not pipes, sockets and devices, which no client unpacks.
_PACKED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
#: Names and attributes that do not fit into a header. tarfile reads them into memory.
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
_MAX_EXTENDED_BYTES = 64 * 1024


class ArchiveError(ValueError):
    """An archive that is not unpacked. The text says why."""


def pack(*folders: Path) -> bytes:
    """The content of folders as one tar.gz, with names relative to them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, path in merged(*folders).items():
            archive.add(path, arcname=name, recursive=False)
    return buffer.getvalue()


def merged(*folders: Path) -> dict[str, Path]:
    """All files, folders and links in the folders by name. Of two with the same name, the one in the first
    folder counts. Raises OSError for what cannot be read, and if the files are too large.
    """
    found: dict[str, Path] = {}
    for root in reversed(folders):
        if root.is_dir() and root.resolve() == root:  # not a link in its place
            entries = (Path(entry.path) for entry in walk(root, report=_fail))
            found |= {path.relative_to(root).as_posix(): path for path in entries}
    states = {name: path.lstat() for name, path in sorted(found.items())}
    check_memory(sum(state.st_size for state in states.values() if stat.S_ISREG(state.st_mode)))
    return {name: found[name] for name, state in states.items() if stat.S_IFMT(state.st_mode) in _PACKED}


def _fail(error: OSError) -> NoReturn:
    raise error


def check_source(
    content: bytes, *, max_bytes: int = MAX_SOURCE_BYTES, max_entries: int = MAX_SOURCE_ENTRIES
) -> frozenset[str]:
    """The names of the entries. Raise `ArchiveError` for a tar.gz that must not be unpacked.

    What is no tar.gz passes: the toolkit reports it, as on AWS.
    """
    names: set[str] = set()
    links: set[str] = set()
    try:
        with gzip.open(io.BytesIO(content)) as file:
            _check_length(file, max_bytes)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz", tarinfo=_Header) as archive:
            size = 0
            for number, member in enumerate(archive, start=1):
                size += member.size
                if number > max_entries:
                    raise ArchiveError(f"it has more than {max_entries} entries")
                if size > max_bytes or member.size < 0:
                    raise ArchiveError(f"it unpacks to more than {max_bytes} bytes")
                tarfile.data_filter(member, "/opt/ml/code")
                _check_ways(member, links)
                (links if member.issym() else names).add(posixpath.normpath(member.name))
    except tarfile.FilterError as exc:
        raise ArchiveError(str(exc)) from exc
    except RecursionError:
        raise ArchiveError("its headers are nested too deeply") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        pass
    return frozenset(names | links)


def _check_ways(member: tarfile.TarInfo, links: set[str]) -> None:
    """`data_filter` looks at each entry by itself. Links that are harmless alone can lead out together."""
    if "\0" in member.name + member.linkname or member.name.startswith("/"):
        raise ArchiveError(f"{member.name!r} is not a name in a folder")
    for path in (member.name, member.linkname):
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in itertools.dropwhile("..".__eq__, parts):
            raise ArchiveError(f"{path!r} leads down and up again")
    ways = [posixpath.dirname(member.name), *([member.linkname] if member.islnk() else [])]
    for way in ways:
        if any(str(step) in links for step in (PurePosixPath(way), *PurePosixPath(way).parents)):
            raise ArchiveError(f"{member.name!r} leads through a link")


def _check_length(file: gzip.GzipFile, max_bytes: int) -> None:
    length = 0
    while chunk := file.read(_CHUNK):
        length += len(chunk)
        if length > max_bytes:
            raise ArchiveError(f"it unpacks to more than {max_bytes} bytes")


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type == tarfile.GNUTYPE_SPARSE:
            cls._refuse_sparse()
        if found.size < 0:
            raise ArchiveError("an entry in it has less than 0 bytes")
        if found.type in _EXTENDED and found.size > _MAX_EXTENDED_BYTES:
            raise ArchiveError(f"a name or attribute in it has {found.size} bytes")
        return found

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        self._refuse_sparse()

    @staticmethod
    def _refuse_sparse() -> NoReturn:
        """tarfile reads the map of a sparse file into memory, and it may have any length."""
        raise ArchiveError("it has a sparse file")
