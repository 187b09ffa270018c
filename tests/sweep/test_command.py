"""`python -m spot_training.sweep` against the local SageMaker, and servers that are Airflow or are not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from spot_training.sweep.command import main
from tests.cloud import Cloud

from .support import start_job

Answer = tuple[int, Any]
_VERSION = "/api/v2/version"
_WHO = "/spot-training/api/installation"
_PROD = {"installation": "prod", "earlier": [], "sweeper_stops": True}


def _gone(path: str) -> Answer:
    """What Airflow 3.3.2 says of a task instance it does not have."""
    if "/taskInstances/" not in path:
        return 404, {"error": "API route not found"}
    detail = "The Task Instance with dag_id: `retrain`, run_id: `run 1` and task_id: `train` was not found"
    return 404, {"detail": detail}


class Server:
    """A server whose answers a test chooses, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {_VERSION: (200, {"version": "3.3.2"})}
        self.otherwise: Callable[[str], Answer] = _gone
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                status, body = server.answers.get(self.path) or server.otherwise(self.path)
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def job(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """A live job of the installation `prod`; the command reaches the cloud as boto3 does."""
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AIRFLOW_API_TOKEN": "token",
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "prod",
    }.items():
        monkeypatch.setenv(name, value)
    cloud.set_capacity(available=False)
    return start_job(cloud)


def _stop(server: Server, *more: str) -> int:
    return main(["--airflow-url", server.url, "--stop", *more])


def test_the_job_of_a_task_that_is_gone_is_stopped(cloud: Cloud, server: Server, job: str) -> None:
    server.answers[_WHO] = (200, _PROD)
    assert _stop(server) == 0
    assert job not in list(cloud.jobs().live())


@pytest.mark.parametrize("allowed", [{"sweeper_stops": False}, {}, {"sweeper_stops": "yes"}])
def test_an_airflow_that_does_not_allow_it_has_its_orphans_reported_only(
    cloud: Cloud, server: Server, job: str, allowed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[_WHO] = (200, {"installation": "prod", **allowed})
    assert _stop(server) == 1
    assert list(cloud.jobs().live()) == [job]
    said = capsys.readouterr()
    assert f"{job} (Starting): orphan" in said.out
    assert f"aws sagemaker stop-training-job --training-job-name {job}" in said.out
    assert "AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS=True" in said.err


def test_without_stop_orphans_are_reported_and_the_command_succeeds(
    cloud: Cloud, server: Server, job: str
) -> None:
    server.answers[_WHO] = (200, _PROD)
    assert main(["--airflow-url", server.url]) == 0
    assert list(cloud.jobs().live()) == [job]


def test_the_airflow_at_the_address_says_whose_jobs_are_swept(
    cloud: Cloud, server: Server, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name has to be given only to be sure that it is the Airflow one means."""
    monkeypatch.delenv("AIRFLOW__SPOT_TRAINING__INSTALLATION")
    theirs = start_job(cloud, installation="staging")
    server.answers[_WHO] = (200, _PROD)
    assert _stop(server) == 0
    assert list(cloud.jobs().live()) == [theirs]


def test_names_that_the_airflow_had_before_are_its_own(
    cloud: Cloud, server: Server, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "new, prod")
    server.answers[_WHO] = (200, {**_PROD, "installation": "new", "earlier": ["prod"]})
    assert _stop(server) == 0
    assert list(cloud.jobs().live()) == []


def test_the_job_of_a_task_that_runs_is_left_alone(cloud: Cloud, server: Server, job: str) -> None:
    server.answers[_WHO] = (200, _PROD)
    server.otherwise = lambda _path: (200, {"state": "deferred"})
    assert _stop(server) == 0
    assert list(cloud.jobs().live()) == [job]


@pytest.mark.parametrize(
    "version",
    [(404, {"detail": "Not Found"}), (200, "<html>a page</html>"), (200, []), (503, "down")],
)
def test_an_address_that_is_not_airflows_stops_nothing(
    cloud: Cloud, server: Server, job: str, version: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    """There every task is a 404, and every healthy job would be an orphan."""
    server.answers[_VERSION] = version
    server.answers[_WHO] = (200, _PROD)
    assert _stop(server) == 1
    assert list(cloud.jobs().live()) == [job]
    assert "--airflow-url" in capsys.readouterr().err
    assert server.asked == [_VERSION]


@pytest.mark.parametrize("who", [(200, {"installation": "staging"}), (404, {}), (401, {"detail": "log in"})])
def test_another_airflow_stops_nothing(
    cloud: Cloud, server: Server, job: str, who: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has none of our runs: every task is gone, as far as it can tell."""
    server.answers[_WHO] = who
    assert _stop(server) == 1
    assert list(cloud.jobs().live()) == [job]
    assert "Nothing was looked at or stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        (404, {"error": "API route not found"}),
        (404, {"detail": "Not Found"}),
        (404, {"detail": "Task instance is mapped, add the map_index value to the URL"}),
        (404, "<html>no such page</html>"),
        (403, {"detail": "Forbidden"}),
        (500, "oops"),
    ],
)
def test_only_airflows_own_word_says_that_a_task_is_gone(
    cloud: Cloud, server: Server, job: str, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[_WHO] = (200, _PROD)
    server.otherwise = lambda _path: answer
    assert _stop(server) == 1
    assert list(cloud.jobs().live()) == [job]
    assert f"{job} could not be judged" in capsys.readouterr().err


def test_each_region_is_swept_also_when_one_does_not_answer(
    cloud: Cloud, server: Server, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[_WHO] = (200, _PROD)
    assert _stop(server, "--region", "not a region", "--region", "us-east-1") == 1
    assert "not a region" in capsys.readouterr().err
    assert job not in list(cloud.jobs().live())
