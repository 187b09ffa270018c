"""Trainings from the XComs of past runs, by way of the running task."""

from __future__ import annotations

from typing import Any

from .records import TrainingRecord


def records_from_xcom(ti: Any, *, dag_id: str, task_id: str) -> list[TrainingRecord]:
    """The trainings of every run of a Dag that has one, oldest first.

    `ti` is the running task's own task instance: it asks Airflow's API server, as tasks must.
    """
    states = ti.get_task_states(dag_id=dag_id, task_ids=[task_id])
    records = []
    for run_id, by_task in states.items():
        attempts = ti.xcom_pull(dag_id=dag_id, run_id=run_id, task_ids=task_id, key="attempts")
        if attempts:
            records.append(
                TrainingRecord.from_xcom(
                    dag_id=dag_id,
                    run_id=run_id,
                    task_id=task_id,
                    state=str(by_task.get(task_id)),
                    attempts=attempts,
                )
            )
    return sorted(records, key=lambda record: str(record.began_at))
