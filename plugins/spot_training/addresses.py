"""Addresses of a training in Airflow's UI and on the page, below Airflow's own address."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def dag_page(dag_id: str) -> str:
    """A Dag."""
    return f"dags/{_quoted(dag_id)}"


def run_page(dag_id: str, run_id: str) -> str:
    """A Dag run."""
    return f"{dag_page(dag_id)}/runs/{_quoted(run_id)}"


def task_page(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """A task instance: its log."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{run_page(dag_id, run_id)}/tasks/{_quoted(task_id)}{mapped}"


def training_page(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """The timeline of a training, below the address of the page."""
    task = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    return f"training?{urlencode(task)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")
