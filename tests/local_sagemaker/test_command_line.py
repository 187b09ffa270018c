"""`local-sagemaker`."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from .support import ROOT, running_server


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local_sagemaker", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)


def test_help_names_every_option_and_the_shipped_scenarios() -> None:
    done = _run("--help")
    assert done.returncode == 0
    for word in (
        "--host",
        "--port",
        "--speed",
        "--market",
        "--price-ratio",
        "--images",
        "--region",
        "first-week",
    ):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "0"], "give a number above 0"),
        (["--speed", "20000"], "at most 10000"),
        (["--speed", "fast"], "fast: give a number above 0"),
        (["--port", "70000"], "70000: give a port from 0 to 65535"),
        (["--port", "-1"], "give a port from 0 to 65535"),
        (["--clock-offset", "1e12"], "3650 days at most"),
        (["--clock-offset", "nan"], "3650 days at most"),
        (["--price-ratio", "2"], "at most 1"),
        (["--market", "nonsense"], "no shipped scenario of that name"),
        (["--images", "nonsense.yaml"], "nonsense.yaml"),
        (["--region", "us-east-1"], "give a region other than us-east-1"),
        (["--region", "Europe"], "Europe: give a region other than"),
    ],
)
def test_a_wrong_option_is_reported_and_nothing_is_served(arguments: list[str], message: str) -> None:
    done = _run("--port", "0", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "ready" not in done.stdout


def test_a_taken_port_is_reported() -> None:
    with running_server() as server:
        port = server.url.rsplit(":", 1)[1]
        done = _run("--port", port)
        assert done.returncode == 2
        assert f"cannot serve on 127.0.0.1:{port}" in done.stderr


def test_a_shipped_scenario_is_played_by_name(tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    with running_server("--market", "no-capacity", "--speed", "10000", errors=errors) as server:
        from .support import request_for

        server.client("sagemaker").create_training_job(**request_for())
        assert server.wait_for_end("job")["SecondaryStatus"] == "MaxWaitTimeExceeded"
    assert "job=job" in errors.read_text()
    assert "secondary=MaxWaitTimeExceeded" in errors.read_text()


def test_its_clock_can_be_off() -> None:
    with running_server("--clock-offset=-86400", "--speed", "1") as server:
        _, clock = server.control("GET", "clock")
        behind = datetime.now(UTC) - datetime.fromisoformat(clock["now"])
        assert timedelta(days=1) <= behind < timedelta(days=1, minutes=1)


#: What takes longer to import than the server needs to be ready. The first call that needs one imports it.
HEAVY = {"boto3", "botocore", "cryptography", "flask", "jinja2", "moto", "requests", "urllib3", "werkzeug"}


@pytest.mark.parametrize("options", [(), ("--market", "first-week"), ("--region", "cn-north-1")])
def test_it_is_ready_before_it_imports_anything_heavy(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "local_sagemaker", "--port", "0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready: ")
        process.terminate()
        _, errors = process.communicate(timeout=30)
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines()}
    assert "local_sagemaker.http.server" in imported
    assert not HEAVY & {name.partition(".")[0] for name in imported}
