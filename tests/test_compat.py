"""What differs between versions of Airflow is in `spot_training.compat`, and nowhere else."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import airflow.sdk
import pytest
from asgiref.sync import async_to_sync

from spot_training import compat
from spot_training.process import PerProcess

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "plugins" / "spot_training"
OTHERS = sorted(
    path
    for folder in (PRODUCT, ROOT / "dags", ROOT / "include" / "flight_delays")
    for path in folder.rglob("*.py")
    if path.name != "compat.py"
)
#: Modules of Airflow 3.3 that a version from 3.0.6 on lacks, and names that are elsewhere there.
NOT_IN_ALL = {
    "airflow.sdk.configuration": None,
    "airflow.models.task_state_store": None,
    "airflow.providers.standard.operators.hitl": None,
    "airflow.sdk.execution_time.hitl": None,
    "airflow.sdk.execution_time.context": {"NEVER_EXPIRE", "TaskStateStoreAccessor"},
    "airflow.sdk.exceptions": {
        "AirflowException",
        "AirflowFailException",
        "AirflowRescheduleException",
        "AirflowSensorTimeout",
        "AirflowSkipException",
        "TaskDeferralError",
        "TaskDeferred",
    },
    "airflow.sdk": {
        "AssetOrTimeSchedule",
        "CronDataIntervalTimetable",
        "CronTriggerTimetable",
        "RetryAction",
    },
}
VERSION_CHECK = re.compile(
    r"AIRFLOW_V_3|version_compat|airflow\.__version__|airflow_version|hasattr\(BaseTrigger"
)


def _imports(path: Path) -> set[tuple[str, str]]:
    """What a file imports while it runs: not what only a type checker reads."""
    found: set[tuple[str, str]] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update((node.module, alias.name) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def test_no_other_module_imports_what_some_version_lacks() -> None:
    lacking = [
        f"{path.relative_to(ROOT)} imports {module}.{name}"
        for path in OTHERS
        for module, name in _imports(path)
        if module in NOT_IN_ALL and ((names := NOT_IN_ALL[module]) is None or name in names)
    ]
    assert len(OTHERS) > 100
    assert lacking == []


@pytest.mark.parametrize(("name", "place"), sorted(compat._TIMETABLES.items()))
def test_a_timetable_comes_from_where_the_version_has_it(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(compat, name) is getattr(airflow.sdk, name)
    monkeypatch.setattr(airflow.sdk, "__all__", [])
    assert getattr(compat, name) is getattr(importlib.import_module(place), name)


def test_no_other_module_checks_the_version() -> None:
    assert [path for path in OTHERS if VERSION_CHECK.search(path.read_text())] == []


def test_the_check_sees_an_import_in_a_function(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from airflow.sdk import RetryAction\n")
    assert _imports(path) == {("airflow.sdk", "RetryAction")}


class _OneStream:
    """A triggerer's decoder before 3.2.2: whoever asks reads the answer."""


class _Reader:
    def start_reader(self) -> None: ...


@pytest.mark.parametrize(("decoder", "is_through_loop"), [(_OneStream, True), (_Reader, False)])
def test_a_thread_of_a_triggerer_asks_through_the_event_loop_where_it_must(
    decoder: type, is_through_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggerer = SimpleNamespace(TriggerCommsDecoder=decoder)
    monkeypatch.setitem(sys.modules, "airflow.jobs.triggerer_job_runner", triggerer)
    monkeypatch.setattr(compat, "_loops", PerProcess())

    async def loop_of_question() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def ask() -> tuple[asyncio.AbstractEventLoop, int]:
        # As Airflow's decoder does, and with a second question inside.
        loop = compat.ask_airflow(async_to_sync(loop_of_question))
        return loop, threading.get_ident()

    async def watch() -> tuple[bool, bool]:
        compat.remember_event_loop()
        own: list[int] = []

        def from_thread() -> tuple[asyncio.AbstractEventLoop, int]:
            own.append(threading.get_ident())
            return compat.ask_airflow(ask)

        loop, thread = await asyncio.get_running_loop().run_in_executor(None, from_thread)
        return loop is asyncio.get_running_loop(), thread == own[0]

    assert asyncio.run(watch()) == (is_through_loop, not is_through_loop)


def test_a_process_that_is_no_triggerer_asks_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "airflow.jobs.triggerer_job_runner", raising=False)
    assert compat.ask_airflow(threading.get_ident) == threading.get_ident()


class _Stream:
    """A task's decoder before 3.2: one stream, and whoever reads gets the next answer."""

    def __init__(self) -> None:
        self.all_ask = threading.Barrier(3)

    def send(self, _msg: str) -> bool:
        """Whether all three ask at the same time."""
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_ask.wait(0.2)
            return True
        return False


class _StreamWithLock(_Stream):
    _thread_lock = threading.Lock()


@pytest.mark.parametrize(("decoder", "takes_turns"), [(_Stream, True), (_StreamWithLock, False)])
def test_threads_of_a_task_ask_one_after_the_other_where_airflow_has_no_lock(
    decoder: type[_Stream], takes_turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "send", decoder.send)  # put back at the end
    monkeypatch.setattr("airflow.sdk.execution_time.comms.CommsDecoder", decoder)

    def ask_at_once() -> set[bool]:
        stream = decoder()
        with ThreadPoolExecutor(3) as pool:
            return set(pool.map(stream.send, "abc"))

    assert ask_at_once() == {True}
    compat.ask_one_at_a_time()
    locked = decoder.send
    compat.ask_one_at_a_time()
    assert decoder.send is locked
    assert ask_at_once() == {not takes_turns}


def test_airflow_has_the_lock_that_is_looked_for_since_3_2() -> None:
    from airflow.sdk.execution_time.comms import CommsDecoder

    before = CommsDecoder.send
    compat.ask_one_at_a_time()
    assert CommsDecoder.send is before


def test_a_test_run_is_known_by_its_supervisor_its_name_or_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/airflow/test_installation.py` asks in real ones."""
    from airflow.sdk.execution_time import task_runner

    def context(**facts: str) -> dict[str, SimpleNamespace]:
        return {"dag_run": SimpleNamespace(**{"run_id": "manual__1", **facts})}

    assert not compat.is_test_run(context())
    assert not compat.is_test_run(context(triggering_user_name="admin"))
    assert compat.is_test_run(context(run_id="__airflow_temporary_run_2026-01-01__"))
    assert compat.is_test_run(context(triggering_user_name="dag_test"))
    in_process = type("InProcessSupervisorComms", (), {})()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", in_process, raising=False)
    assert compat.is_test_run(context())


def test_airflow_has_the_names_by_which_a_test_run_is_known() -> None:
    from airflow.cli.commands import task_command
    from airflow.sdk.execution_time import supervisor

    assert supervisor.InProcessSupervisorComms.__name__ == "InProcessSupervisorComms"
    assert task_command._generate_temporary_run_id().startswith("__airflow_temporary_run_")
