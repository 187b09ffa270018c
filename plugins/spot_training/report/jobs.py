"""The training jobs as CSV, to compare with AWS's cost and usage report (CUR): one line for each job.

The ARN joins them with the CUR's `line_item_resource_id`. `usage_type` is the end of AWS's name for on-demand
training, which begins with a code of the region (`USE1-Train:ml.m5.xlarge`). No source names the one of spot,
so it is empty there. `docs/reports.md` says what is known and what is not.
"""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.savings import PurchaseOption
from spot_training.sagemaker.identity import (
    TAG_ATTEMPT,
    TAG_DAG,
    TAG_INSTALLATION,
    TAG_KEY,
    TAG_MAP_INDEX,
    TAG_RUN,
    TAG_SCOUT,
    TAG_TASK,
    RunIdentity,
    is_scout_name,
)

from .table import PAGE_TRAININGS, as_lines, safe_cell

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: The tags of a job that lead back to its task. The nonce of its intent is not on record.
_TAGS = (TAG_KEY, TAG_DAG, TAG_RUN, TAG_TASK, TAG_MAP_INDEX, TAG_ATTEMPT, TAG_SCOUT, TAG_INSTALLATION)
_FACTS = (
    "job_name",
    "job_arn",
    "region",
    "purchase",
    "instance_type",
    "instance_count",
    "created_at",
    "started_at",
    "ended_at",
    "ending",
    "billable_seconds",
    "instance_hours",
    "usage_type",
    "billed_usd",
    "is_test",
    "local_cloud",
)
#: Those that an attempt in the ledger has, but for the name of its job, which the query uses.
_OF_ATTEMPT = tuple(
    name
    for name in _FACTS
    if name not in {"job_name", "region", "instance_hours", "usage_type", "is_test", "local_cloud"}
)
#: `tags` are those of the request, as JSON.
JOB_COLUMNS = (*_FACTS, *_TAGS, "tags")

#: A job that a sensor watched is on two records: the one that created it counts.
_JOBS = """
WITH attempts_made AS (
    SELECT key, dag_id, run_id, task_id, map_index, generation, installation, region, tags, watches, is_test,
           local_cloud, unnest(list_concat(attempts, scouts)) AS a
    FROM trainings WHERE {where}
)
SELECT * EXCLUDE (a), a.number AS attempt, a.job_name AS job_name, {columns},
       coalesce(a.created_at, TIMESTAMPTZ '1970-01-01 00:00:00+00') AS ordered_at
FROM attempts_made WHERE a.job_name <> ''
QUALIFY row_number() OVER (PARTITION BY a.job_name, region ORDER BY watches = a.job_name NULLS FIRST, key) = 1
"""


def to_jobs_csv(reader: LedgerReader, selection: Selection) -> Iterator[str]:
    """The CSV in pieces: a header, then a line for each job that is over, oldest first."""
    yield as_lines([JOB_COLUMNS])
    where, parameters = selection.where()
    jobs = _JOBS.format(where=where, columns=", ".join(f"a.{name} AS {name}" for name in _OF_ATTEMPT))
    after = (datetime.min.replace(tzinfo=UTC), "")
    while rows := reader.query(
        f"SELECT * FROM ({jobs}) WHERE (ordered_at, job_name) > (?::TIMESTAMPTZ, ?) "
        f"ORDER BY ordered_at, job_name LIMIT {PAGE_TRAININGS}",
        [*parameters, *after],
    ):
        after = (rows[-1]["ordered_at"], rows[-1]["job_name"])
        yield as_lines([_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> list[Any]:
    seconds, kind = row["billable_seconds"], row["instance_type"]
    is_on_demand = row["purchase"] == PurchaseOption.ON_DEMAND
    known = {
        **row,
        "instance_hours": None if seconds is None else round(seconds * row["instance_count"] / 3600, 6),
        "usage_type": f"Train:{kind}" if is_on_demand and kind else "",
        **_tags(row),
        "tags": json.dumps(dict(row["tags"] or {}), sort_keys=True),
    }
    return [safe_cell(known[column]) for column in JOB_COLUMNS]


def _tags(row: Mapping[str, Any]) -> dict[str, Any]:
    """The tags with which the job was created. Empty for a job that this task did not create."""
    names = ("dag_id", "run_id", "task_id", "map_index", "generation", "installation")
    identity = RunIdentity(**{name: row[name] for name in names})
    if not identity.is_name(row["job_name"]):
        return dict.fromkeys(_TAGS, "")
    is_scout = is_scout_name(row["job_name"])
    tags = {tag["Key"]: tag["Value"] for tag in identity.tags(row["attempt"], is_scout=is_scout)}
    known: dict[str, Any] = {name: tags.get(name, "") for name in _TAGS}
    return {**known, TAG_MAP_INDEX: row["map_index"]}  # a number: as text, -1 would be marked as a formula
