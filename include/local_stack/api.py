"""A small client for Airflow's public REST API, as the trigger form and the UI use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from include.local_stack.client import AirflowClient, Json
from include.local_stack.errors import AirflowApiError
from include.local_stack.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

FINISHED_RUN = frozenset({"success", "failed"})
FINISHED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowApi(AirflowClient):
    """Dags, runs, task instances and backfills. Ids are quoted, answers are the JSON of the API."""

    # -- Dags

    def find_dag(self, dag_id: str) -> Json | None:
        try:
            dag: Json = self.request("GET", f"dags/{quote(dag_id)}")
        except AirflowApiError as error:
            if error.status_code == httpx.codes.NOT_FOUND:
                return None
            raise
        return dag

    def wait_for_dag(self, dag_id: str, timeout_seconds: float = 60.0) -> Json:
        """Wait until the dag-processor has parsed a Dag."""
        return wait_until(
            lambda: self.find_dag(dag_id),
            f"Dag {dag_id!r}",
            timeout_seconds=timeout_seconds,
            explain=lambda: f"import errors: {self.list_import_errors()}",
        )

    def list_import_errors(self) -> list[Json]:
        errors: list[Json] = self.request("GET", "importErrors")["import_errors"]
        return errors

    def unpause(self, dag_id: str) -> Json:
        dag: Json = self.request("PATCH", f"dags/{quote(dag_id)}", body={"is_paused": False})
        return dag

    def pause(self, dag_id: str) -> Json:
        dag: Json = self.request("PATCH", f"dags/{quote(dag_id)}", body={"is_paused": True})
        return dag

    # -- runs

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        logical_date: datetime | None = None,
        run_id: str | None = None,
        data_interval: tuple[datetime, datetime] | None = None,
    ) -> Json:
        """Start a run with params, as the trigger form does; returns the run (its id is `dag_run_id`)."""
        body: Json = {
            "conf": dict(conf or {}),
            "logical_date": logical_date.isoformat() if logical_date else None,
        }
        if run_id:
            body["dag_run_id"] = run_id
        if data_interval:
            body["data_interval_start"], body["data_interval_end"] = (at.isoformat() for at in data_interval)
        run: Json = self.request("POST", f"dags/{quote(dag_id)}/dagRuns", body=body)
        return run

    def get_run(self, dag_id: str, run_id: str) -> Json:
        run: Json = self.request("GET", self._run_path(dag_id, run_id))
        return run

    def list_runs(self, dag_id: str, **filters: Any) -> list[Json]:
        """The runs of a Dag, oldest first, at most 100; `filters` as in the API (state, run_type, ...)."""
        params = {"order_by": "run_after", "limit": 100} | filters
        runs: list[Json] = self.request("GET", f"dags/{quote(dag_id)}/dagRuns", params=params)["dag_runs"]
        return runs

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        timeout_seconds: float = 120.0,
        states: Collection[str] = FINISHED_RUN,
    ) -> Json:
        """Wait until a run is in one of `states`; the error at the limit lists the states of its tasks."""

        def look() -> Json | None:
            run = self.get_run(dag_id, run_id)
            return run if run["state"] in states else None

        return wait_until(
            look,
            f"run {run_id!r} of {dag_id!r} to be {' or '.join(sorted(states))}",
            timeout_seconds=timeout_seconds,
            poll_seconds=0.5,
            explain=lambda: str(self._sum_up_tasks(dag_id, run_id)),
        )

    def _sum_up_tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            for task in self.task_instances(dag_id, run_id)
        }

    # -- task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        path = f"{self._run_path(dag_id, run_id)}/taskInstances"
        tasks: list[Json] = self.request("GET", path, params={"limit": 100})["task_instances"]
        return tasks

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Json:
        task: Json = self.request("GET", self._task_path(dag_id, run_id, task_id, map_index))
        return task

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Collection[str] = FINISHED_TASK,
        timeout_seconds: float = 120.0,
        map_index: int = -1,
    ) -> Json:
        """Wait until a task instance is in one of `states` (`deferred`, say)."""

        def look() -> Json | None:
            task = self.task_instance(dag_id, run_id, task_id, map_index)
            return task if task["state"] in states else None

        return wait_until(
            look,
            f"task {task_id!r} of run {run_id!r} to be {' or '.join(sorted(states))}",
            timeout_seconds=timeout_seconds,
            explain=lambda: str(self._sum_up_tasks(dag_id, run_id)),
        )

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """The value of one XCom, as plain JSON."""
        path = f"{self._run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.request("GET", path, params={"map_index": map_index, "stringify": False})["value"]

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None, map_index: int = -1
    ) -> str:
        """The log of one try (by default the last), a line for each message."""
        number = try_number or self.task_instance(dag_id, run_id, task_id, map_index)["try_number"]
        answer = self.request(
            "GET",
            f"{self._run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{number}",
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "application/json"},
        )
        return "\n".join(_text_of(message) for message in answer["content"])

    def set_task_state(
        self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int | None = None
    ) -> Any:
        """Mark a task instance `success`, `failed` or `skipped`, as a person does in the UI."""
        path = self._task_path(dag_id, run_id, task_id, -1 if map_index is None else map_index)
        return self.request("PATCH", path, body={"new_state": state})

    def clear(
        self,
        dag_id: str,
        run_id: str,
        task_ids: Iterable[str] | None = None,
        *,
        only_failed: bool = False,
        include_downstream: bool = True,
    ) -> list[Json]:
        """Clear task instances of a run (all by default); returns those that were cleared."""
        body: Json = {
            "dry_run": False,
            "dag_run_id": run_id,
            "only_failed": only_failed,
            "include_downstream": include_downstream,
            "reset_dag_runs": True,
        }
        if task_ids is not None:
            body["task_ids"] = list(task_ids)
        answer = self.request("POST", f"dags/{quote(dag_id)}/clearTaskInstances", body=body)
        cleared: list[Json] = answer["task_instances"]
        return cleared

    # -- backfills and assets

    def create_backfill(
        self,
        dag_id: str,
        from_date: datetime,
        to_date: datetime,
        *,
        conf: Mapping[str, Any] | None = None,
        max_active_runs: int = 4,
        reprocess_behavior: str = "none",
    ) -> Json:
        """What `airflow backfill create` does; its runs are `list_runs(dag_id, run_type="backfill")`."""
        backfill: Json = self.request(
            "POST",
            "backfills",
            body={
                "dag_id": dag_id,
                "from_date": from_date.isoformat(),
                "to_date": to_date.isoformat(),
                "dag_run_conf": dict(conf or {}),
                "max_active_runs": max_active_runs,
                "reprocess_behavior": reprocess_behavior,
            },
        )
        return backfill

    def get_backfill(self, backfill_id: int) -> Json:
        backfill: Json = self.request("GET", f"backfills/{backfill_id}")
        return backfill

    def wait_for_backfill(self, backfill_id: int, timeout_seconds: float = 300.0) -> list[Json]:
        """Wait until every run of a backfill has finished, and return them, oldest first.

        The runs all exist, queued, from the moment the backfill was made. Airflow itself notes the end of a
        backfill only up to half a minute later.
        """
        backfill = self.get_backfill(backfill_id)
        period = {"logical_date_gte": backfill["from_date"], "logical_date_lte": backfill["to_date"]}

        def list_its_runs() -> list[Json]:
            return self.list_runs(backfill["dag_id"], run_type="backfill", **period)

        def look() -> list[Json] | None:
            runs = list_its_runs()
            return runs if all(run["state"] in FINISHED_RUN for run in runs) else None

        return wait_until(
            look,
            f"backfill {backfill_id} of {backfill['dag_id']!r}",
            timeout_seconds=timeout_seconds,
            poll_seconds=0.5,
            explain=lambda: str({run["dag_run_id"]: run["state"] for run in list_its_runs()}),
        )

    def list_asset_events(self, **filters: Any) -> list[Json]:
        events: list[Json] = self.request("GET", "assets/events", params=filters)["asset_events"]
        return events

    # -- paths

    @staticmethod
    def _run_path(dag_id: str, run_id: str) -> str:
        return f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"

    def _task_path(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
        path = f"{self._run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}"
        return path if map_index < 0 else f"{path}/{map_index}"


def _text_of(message: Any) -> str:
    """One structured log message as text, with its fields and errors."""
    if isinstance(message, str):
        return message
    known = {"event", "timestamp", "level", "logger", "filename", "lineno", "error_detail"}
    fields = "".join(f" {name}={value!r}" for name, value in message.items() if name not in known)
    head = " ".join(filter(None, [message.get("timestamp"), str(message.get("level") or "").upper()]))
    text = f"{head} {message.get('event', '')}{fields}".strip()
    for error in message.get("error_detail") or []:
        text += f"\n{error.get('exc_type')}: {error.get('exc_value')}"
    return text
