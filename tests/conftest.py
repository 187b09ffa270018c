"""For every test: where a run must be complete, a test that was skipped is a failure.

`SPOT_TESTS_REQUIRE_ALL=1` (set by .ci/run) says that this machine has all that the tests use. What may
be absent even there is the shared folder with the recorded spot traces and MWAA's package versions, and the
commits of earlier releases.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from include.local_stack.waiting import patience

if TYPE_CHECKING:
    from spot_training.ledger import Ledger

pytest_plugins = ["tests.cloud", "tests.notifiers"]

MAY_BE_ABSENT = (
    "needs the spot traces",
    "needs the package versions of MWAA's images",
    "needs the commits of releases",
)

#: The fixtures that start servers, browsers and other processes, and the names in a module that does.
SERVERS = frozenset(
    {"running_cloud", "shared_server", "s3_address", "training_python", "browser", "stack", "site", "lab"}
    | {"inbox", "slack", "postgres", "pytester", "built_site"}
)
PROCESSES = frozenset(
    {"subprocess", "multiprocessing", "serving", "running_server", "Postgres"}
    | {"HTTPServer", "ThreadingHTTPServer"}
)
#: What Python announces when a process begins or a server listens.
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "socket.bind"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, with an Airflow home in it."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return tmp_path


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger in a folder."""
    from spot_training.ledger import Ledger

    return Ledger.at(tmp_path / "ledger")


def pytest_configure(config: pytest.Config) -> None:
    """Asked to end, end as on Ctrl-C: what tests started is stopped.

    Tasks that tests run without an Airflow have no metadata database to read the installation from. Stacks
    take no Airflow setting from this process: theirs make their own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.addaudithook(_note_start)
    os.environ.setdefault("AIRFLOW__SPOT_TRAINING__INSTALLATION", "airflow")
    # A machine that is busy with other tests is slow, and nothing is wrong.
    patient = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=patient)
    hypothesis.settings.load_profile("patient")
    config.addinivalue_line("markers", "fast: starts no server and no process (set and checked by this file)")
    config.addinivalue_line("markers", "slow: computes for seconds or starts a process, so it is not fast")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the fast tests, before `-m fast` selects them. All get more time on a busy machine."""
    for item in items:
        if isinstance(item, pytest.Function) and _is_fast(item):
            item.add_marker(pytest.mark.fast)
        limit = item.get_closest_marker("timeout")
        if seconds := limit.args[0] if limit else config.getini("timeout"):
            item.add_marker(pytest.mark.timeout(patience() * float(seconds)), append=False)


def _is_fast(test: pytest.Function) -> bool:
    return not (
        any(test.get_closest_marker(name) for name in ("airflow", "long", "slow"))
        or SERVERS & set(test.fixturenames)
        or PROCESSES & vars(test.module).keys()
    )


#: What Python's own modules (platform, uuid, ctypes) start, once in a process, to ask what machine this is.
QUESTIONS = frozenset({"file", "uname", "ldconfig", "gcc", "cc", "ip", "ifconfig", "arp", "netstat"})
#: What the running test and its fixtures started.
_started: list[str] = []


def _note_start(event: str, arguments: tuple[object, ...]) -> None:
    is_question = event == "subprocess.Popen" and Path(str(arguments[0])).name in QUESTIONS
    if event in STARTS and not is_question:
        _started.append(f"{event}{arguments!r}"[:200])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _started.clear()
    return (yield)


def _find_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What a skipped test or module gave as its reason."""
    told = report.longrepr
    text = str(told[2] if isinstance(told, tuple) else told or "")
    return text.removeprefix("Skipped: ")


def _must_not_be_skipped(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return (
        os.environ.get("SPOT_TESTS_REQUIRE_ALL") == "1"
        and report.skipped
        and not hasattr(report, "wasxfail")
        and not _find_reason(report).startswith(MAY_BE_ABSENT)
    )


def _turn_into_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _must_not_be_skipped(report):
        report.longrepr = f"skipped where every test must run: {_find_reason(report)}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    report = yield
    _turn_into_failure(report)
    if report.when == "teardown" and _started and item.get_closest_marker("fast"):
        report.longrepr = f"marked as fast, but it starts a process or a server: {_started[0]}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():  # type: ignore[no-untyped-def]
    report = yield
    _turn_into_failure(report)
    return report
