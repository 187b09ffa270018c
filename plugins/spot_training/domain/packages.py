"""Optional packages: a failed import says which extra of this package installs the missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingPackage

#: The distribution of a module, and the extra that installs the distribution.
_INSTALLED_BY = {
    "duckdb": ("duckdb", "ledger"),
    "jinja2": ("jinja2", "page"),
    "matplotlib": ("matplotlib", "advise"),
    "vl_convert": ("vl-convert-python", "report"),
}


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Use around imports of optional packages. Raises `MissingPackage` for one that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _INSTALLED_BY:
            raise
        package, extra = _INSTALLED_BY[error.name]
        raise MissingPackage(package, what, extra=extra) from error
