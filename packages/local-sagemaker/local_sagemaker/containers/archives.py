"""The archives of a job: its model and output, which are packed here, and its source, which is checked here.

AWS's toolkit unpacks the source in the container. It would fill this machine's disk, so an archive that is
too large, or that has an entry outside its folder, fails the job before it starts.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import tarfile
import zlib
from pathlib import Path
from typing import Self

MAX_SOURCE_BYTES = 2 * 1024**3
MAX_SOURCE_ENTRIES = 100_000

_CHUNK = 1024 * 1024
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
    """All files in the folders by name. Of two with the same name, the one in the first folder counts."""
    found = {p.relative_to(root).as_posix(): p for root in reversed(folders) for p in root.rglob("*")}
    return dict(sorted(found.items()))


def check_source(
    content: bytes, *, max_bytes: int = MAX_SOURCE_BYTES, max_entries: int = MAX_SOURCE_ENTRIES
) -> frozenset[str]:
    """The names of the entries. Raise `ArchiveError` for a tar.gz that must not be unpacked.

    What is no tar.gz passes: the toolkit reports it, as on AWS.
    """
    names: set[str] = set()
    try:
        with gzip.open(io.BytesIO(content)) as file:
            _check_length(file, max_bytes)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz", tarinfo=_Header) as archive:
            size = 0
            for number, member in enumerate(archive, start=1):
                size += member.size
                if number > max_entries:
                    raise ArchiveError(f"it has more than {max_entries} entries")
                if size > max_bytes:  # a sparse file is longer than what the archive has of it
                    raise ArchiveError(f"it unpacks to more than {max_bytes} bytes")
                tarfile.data_filter(member, "/opt/ml/code")
                names.add(posixpath.normpath(member.name))
    except tarfile.FilterError as exc:
        raise ArchiveError(str(exc)) from exc
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        pass
    return frozenset(names)


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
        if found.type in _EXTENDED and found.size > _MAX_EXTENDED_BYTES:
            raise ArchiveError(f"a name or attribute in it has {found.size} bytes")
        return found
