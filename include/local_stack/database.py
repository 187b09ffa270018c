"""A migrated SQLite database for a new stack, copied from a template, because a migration takes seconds.

The template belongs to the exact versions of Airflow and SQLAlchemy and to Airflow's migrations.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds to wait for SQLite's one writer, on a machine that trains models at the same time. The API server
#: of Airflow 3.3.2 does not answer for this long when it blocks itself: it writes its audit log from the
#: event loop that the writer needs to commit. `AirflowApi` waits longer, and tries again.
CONNECT_ARGS = {"timeout": 30}


def name_template() -> str:
    core = distribution("apache-airflow-core")
    migrations = sorted(str(path) for path in core.files or () if "migrations/versions" in str(path))
    text = "\n".join([version("sqlalchemy"), *migrations])
    return f"airflow-{core.version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.db"


def copy_template(templates: Path, target: Path) -> bool:
    """Copy a migrated database to `target`. False if there is no template for the installed Airflow."""
    template = templates / name_template()
    if not template.is_file():
        return False
    shutil.copyfile(template, target)
    return True


def keep_as_template(database: Path, templates: Path) -> None:
    """Keep a new database as the template. A folder that cannot be written to is not an error."""
    with contextlib.suppress(OSError):
        templates.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=templates, suffix=".part")
        os.close(handle)
        part = Path(name)
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
        part.replace(templates / name_template())


def make_database(target: Path, templates: Path, migrate: Callable[[], None]) -> str:
    """Create the database of a new stack. Returns how."""
    if target.exists():
        migrate()
        return "migrated"
    if copy_template(templates, target):
        return "copied from the template"
    migrate()
    keep_as_template(target, templates)
    return "created, and kept as the template"
