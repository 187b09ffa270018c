"""The keys of records in the ledger, without the records: Dag files load this."""

from __future__ import annotations

import hashlib
import json
import re

#: The installation of every Airflow without a name, until each got its own: several may have it.
SHARED_NAME = "airflow"
KEY_LENGTH = 32
_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")


def record_key(*, installation: str, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """The key of a task's record: 32 hexadecimal digits, always the same for the same task.

    A retry, a clear and a re-run backfill of the same task have the same key.
    """
    parts = json.dumps([installation, dag_id, run_id, task_id, map_index])
    return hashlib.sha256(parts.encode()).hexdigest()[:KEY_LENGTH]


def is_record_key(text: str) -> bool:
    """Whether the text has the form of a key. It is safe as the name of a file then."""
    return _KEY.fullmatch(text) is not None
