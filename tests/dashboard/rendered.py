"""The pages as HTML, without an Airflow: from a ledger in a folder, or from one record."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec

from spot_training.dashboard import rendering
from spot_training.dashboard.overview import PAGE_ROWS, Filters, Order, Window, choices, overview_of
from spot_training.dashboard.source import Source
from spot_training.dashboard.timeline import NO_CONSOLE, timeline_of
from spot_training.ledger import Ledger, Selection
from spot_training.sagemaker.console import Console

from .trainings import BEGAN

NOW = BEGAN + timedelta(days=1)


def overview_page(folder: Path, *records: Any, filters: Filters) -> str:
    """The overview of these records, which are written into a ledger in the folder."""
    ledger = Ledger(fsspec.filesystem("file"), str(folder))
    for record in records:
        ledger.write(record)
    dags = Selection(dag_ids=tuple({record.dag_id for record in records}))
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, filters.selection(dags, now=NOW))
        offered = choices(reader, dags)
    return rendering.render(
        "overview.html.j2",
        overview=overview,
        choices=offered,
        filters=filters,
        windows=Window,
        orders=Order,
        order=Order.COST,
        page=1,
        page_rows=PAGE_ROWS,
    )


def training_page(record: Any, *, is_within_task: bool = False, console: Console = NO_CONSOLE) -> str:
    """The timeline of this record."""
    task = {name: getattr(record, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    timeline = timeline_of(record, now=NOW, console=console)
    return rendering.render(
        "training.html.j2", timeline=timeline, left_out=(), task=task, is_within_task=is_within_task
    )
