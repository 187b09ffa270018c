"""Optional packages: an import that fails says which extra of this package installs what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingPackage

#: The distribution that brings a module, and the extra that brings the distribution.
_BROUGHT_BY = {
    "duckdb": ("duckdb", "ledger"),
    "jinja2": ("jinja2", "page"),
    "matplotlib": ("matplotlib", "advise"),
    "vl_convert": ("vl-convert-python", "report"),
}


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """For imports of optional packages. Raises `MissingPackage` for one that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _BROUGHT_BY:
            raise
        package, extra = _BROUGHT_BY[error.name]
        raise MissingPackage(package, what, extra=extra) from error
