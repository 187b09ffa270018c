"""Before Airflow 3.2.2, all that a triggerer asks Airflow goes through its event loop.

It has one stream of answers there. A thread with an event loop of its own may read another one's answer, and
that ends the triggerer with all its triggers. Each question below is asked by a real trigger.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseHook
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    ConnectionResult,
    ErrorResponse,
    GetConnection,
    GetTaskStates,
    TaskStatesResult,
)
from airflow.sdk.io import fs as airflow_fs
from asgiref.sync import async_to_sync
from fsspec.implementations.memory import MemoryFileSystem

from include.local_stack import wait_until
from spot_training import compat, triggers
from spot_training.process import PerProcess, _forget_all
from spot_training.triggers import TrainingJobTrigger
from tests.cloud import Cloud

from .support import create_jobs

PRODUCT = Path(triggers.__file__).parent
KEY = "0" * 32
CONNECTION = "aws_of_questions"


class _OneStream:
    """A triggerer's decoder before 3.2.2: whoever asks reads the answer, in an event loop of their own."""

    def __init__(self, cloud: Cloud) -> None:
        self._url = cloud.url
        self.asked: list[tuple[type[Any], asyncio.AbstractEventLoop]] = []

    def send(self, message: Any) -> Any:
        return async_to_sync(self.asend)(message)

    async def asend(self, message: Any) -> Any:
        self.asked.append((type(message), asyncio.get_running_loop()))
        if isinstance(message, GetConnection):
            extra = {"endpoint_url": self._url, "region_name": "us-east-1"}
            known = {"conn_id": message.conn_id, "conn_type": "aws", "login": "test", "password": "test"}
            others = {"host": None, "schema": None, "port": None, "extra": json.dumps(extra)}
            return ConnectionResult.model_validate(known | others)
        if isinstance(message, GetTaskStates):
            return TaskStatesResult(task_states={"run 1": {"train": "failed"}})
        return ErrorResponse(detail={"asked": type(message).__name__})

    def count(self, question: type[Any]) -> int:
        return sum(kind is question for kind, _ in self.asked)


@pytest.fixture
def airflow(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[_OneStream]:
    """A triggerer's process before 3.2.2. The shared watchers and ledgers of other tests are forgotten."""
    stream = _OneStream(cloud)
    decoder = SimpleNamespace(TriggerCommsDecoder=_OneStream)
    monkeypatch.setitem(sys.modules, "airflow.jobs.triggerer_job_runner", decoder)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", stream, raising=False)
    monkeypatch.setattr(compat, "_loops", PerProcess())
    monkeypatch.setattr(triggers, "seconds_to_settle", lambda: 0.0)
    for name in ("AWS_ENDPOINT_URL", "AIRFLOW_CONN_AWS_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    _forget_all()
    yield stream
    _forget_all()


@pytest.fixture
def store_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """As `gs://` and `abfs://` are: a provider makes the file system, from an Airflow connection."""

    def get_fs(conn_id: str | None, _options: Any) -> MemoryFileSystem:
        assert conn_id is not None
        BaseHook.get_connection(conn_id)
        return MemoryFileSystem()

    known = {**airflow_fs._register_filesystems(), "memory": get_fs}
    monkeypatch.setattr(airflow_fs, "_register_filesystems", lambda: known)
    return f"memory://{CONNECTION}{uuid.uuid4().hex}@notes/x"


async def _watch_and_be_killed(cloud: Cloud, queue_url: str, is_noted: Any) -> None:
    """All that a trigger does: it watches a job and its log and events, takes notes, and stops the job."""
    trigger = TrainingJobTrigger(
        training_job_name="job-1",
        check_interval=0.1,
        shows_log=True,
        record_key=KEY,
        events_queue_url=queue_url,
        aws_conn_id=CONNECTION,
    )
    task: Any = SimpleNamespace(dag_id="dag", run_id="run 1", task_id="train", map_index=-1)
    trigger.task_instance = task

    async def run() -> None:
        async for _ in trigger.run():
            pass

    running = asyncio.ensure_future(run())
    await asyncio.to_thread(wait_until, is_noted, "a note of the job", timeout_seconds=30)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    if compat.calls_on_kill_of_triggers():
        await trigger.on_kill()
    described = cloud.client("sagemaker").describe_training_job(TrainingJobName="job-1")
    assert described["TrainingJobStatus"] in {"Stopping", "Stopped"}


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_every_question_of_a_trigger_goes_through_the_event_loop(
    cloud: Cloud,
    airflow: _OneStream,
    queue_url: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    place = (
        request.getfixturevalue("store_of_another_kind") if kind == "memory" else f"s3://{CONNECTION}@notes/x"
    )
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", place)
    if kind == "s3":
        cloud.client("s3").create_bucket(Bucket="notes")
    create_jobs(cloud, "job-1", seconds=100_000)
    # The reason for the stop goes into the ledger: another thread opens it.
    cloud.fail("AddTags", "ThrottlingException", count=1000)

    def is_noted() -> bool:
        if kind == "memory":
            return any(path.endswith(f"/notes/{KEY}.json") for path in MemoryFileSystem.store)
        found = cloud.client("s3").list_objects_v2(Bucket="notes", Prefix="x/notes/")
        return bool(found.get("Contents"))

    async def in_loop() -> asyncio.AbstractEventLoop:
        await _watch_and_be_killed(cloud, queue_url, is_noted)
        return asyncio.get_running_loop()

    loop = asyncio.run(in_loop())
    assert {kind.__name__ for kind, of in airflow.asked if of is not loop} == set()
    assert airflow.count(GetTaskStates) == 2  # the first one only warms up
    # Jobs, queue, ledger, and the stop's own client.
    assert airflow.count(GetConnection) >= 4


def test_a_question_outside_is_noticed(airflow: _OneStream) -> None:
    """The check of this file itself: a thread that asks directly has an event loop of its own."""

    async def ask_in_threads() -> asyncio.AbstractEventLoop:
        compat.remember_event_loop()
        await asyncio.to_thread(BaseHook.get_connection, CONNECTION)
        await asyncio.to_thread(compat.ask_airflow, lambda: BaseHook.get_connection(CONNECTION))
        return asyncio.get_running_loop()

    loop = asyncio.run(ask_in_threads())
    assert [of is loop for kind, of in airflow.asked if kind is GetConnection] == [False, True]


def test_the_event_loops_own_thread_does_not_wait_for_itself(airflow: _OneStream) -> None:
    """Airflow refuses a question there, which fails at once. A wait would be the triggerer's end."""

    async def ask_in_loop() -> None:
        compat.remember_event_loop()
        with pytest.raises(RuntimeError, match="same thread as an async event loop"):
            compat.ask_airflow(lambda: airflow.send(GetConnection(conn_id=CONNECTION)))

    asyncio.run(asyncio.wait_for(ask_in_loop(), 10))


#: Where the product may ask Airflow for something, and who is asked there.
ASKS = {
    "compat.py": {"SUPERVISOR_COMMS"},  # a task, whether its try is the latest
    "connections.py": {"AwsBaseHook"},  # through `ask_airflow`
    "ledger/opening.py": {"ObjectStoragePath"},  # through `ask_airflow`
    "task/task_state.py": {"SUPERVISOR_COMMS"},  # a trigger in its own event loop
    # Never in a trigger:
    "installation.py": {"SUPERVISOR_COMMS", "Variable"},  # tasks and server processes
    "task/tries.py": {"get_task_states"},  # a task that ends, and the sweeper's
    "approval.py": {"xcom_pull"},
    "advise/markets.py": {"ObjectStoragePath"},
    "report/folder.py": {"ObjectStoragePath"},
    "report/sending.py": {"ObjectStoragePath"},
}
_WAYS = frozenset(
    {
        *("SUPERVISOR_COMMS", "AwsBaseHook", "BaseHook", "Connection", "Variable", "XCom"),
        *("get_connection", "get_task_states", "xcom_pull", "ObjectStoragePath"),
    }
)


def _ways_to_ask(path: Path) -> set[str]:
    """The names in a file by which Airflow is asked for something; not those for a type checker only."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        match node:
            case ast.ImportFrom():
                found.update(alias.name for alias in node.names if (node.module or "").startswith("airflow"))
            case ast.Attribute():
                found.add(node.attr)
            case ast.Constant(value="SUPERVISOR_COMMS"):
                found.add("SUPERVISOR_COMMS")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found & _WAYS


@pytest.mark.slow
def test_every_place_that_asks_airflow_is_known() -> None:
    """Whoever adds one decides whether a trigger may get there, and asks through `ask_airflow` then."""
    asks = {
        str(path.relative_to(PRODUCT)): ways
        for path in sorted(PRODUCT.rglob("*.py"))
        if (ways := _ways_to_ask(path))
    }
    assert asks == ASKS
