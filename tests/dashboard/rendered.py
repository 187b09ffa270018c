"""The pages as HTML, without an Airflow: from a ledger in a folder, or from one record."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from spot_training.dashboard import rendering
from spot_training.dashboard.month import month_at
from spot_training.dashboard.now import NOW_ROWS, Now, now_of
from spot_training.dashboard.overview import PAGE_ROWS, Filters, Order, Window, choices, overview_of
from spot_training.dashboard.source import Source
from spot_training.dashboard.timeline import NO_CONSOLE, timeline_of
from spot_training.domain.budget import Budget
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.sweeps import SweepReport, keep_sweep
from spot_training.sagemaker.console import Console

from .trainings import BEGAN

NOW = BEGAN + timedelta(days=1)


def now_in(
    source: Source,
    readable: Selection,
    *,
    now: datetime = NOW,
    budget: Budget | None = None,
    installations: tuple[str, ...] = ("airflow",),
) -> Now:
    """What the app makes of a ledger, but for Airflow's task states."""
    running = source.running(installations)
    with source.view() as reader:
        month = month_at(reader, readable, now=now)
    return now_of(running.records, readable, month=month, now=now, sweep=running.sweep, budget=budget)


def overview_page(
    folder: Path,
    *records: Any,
    filters: Filters,
    budget: Budget | None = None,
    sweep: SweepReport | None = None,
    page: int = 1,
) -> str:
    """The overview of these records, which are written into a ledger in the folder."""
    ledger = Ledger(fsspec.filesystem("file"), str(folder))
    for record in records:
        ledger.write(record)
    dags = Selection(dag_ids=tuple({record.dag_id for record in records}))
    if sweep:
        keep_sweep(ledger, "airflow", sweep)
    source = Source(lambda: ledger)
    now = now_in(source, dags, budget=budget).on_page(page)
    with source.view() as reader:
        overview = overview_of(reader, filters.selection(dags, now=NOW))
        offered = choices(reader, dags)
    return rendering.render(
        "overview.html.j2",
        now=now,
        now_page=page,
        now_rows=NOW_ROWS,
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
