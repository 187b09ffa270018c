"""The commands against servers that are Airflow or are not, with the answers of the page's own API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fsspec
import pytest

from spot_training.__main__ import main
from spot_training.dashboard.overview import Filters, Window, overview_of
from spot_training.dashboard.rendering import plain
from spot_training.dashboard.source import Source
from spot_training.domain.budget import Budget
from spot_training.ledger import Ledger, Selection
from tests.cloud import Cloud
from tests.dashboard.rendered import NOW, now_in
from tests.dashboard.trainings import training, under_way
from tests.sweep.support import start_job

JOB = "model-0123456789ab-1"
TASK = "/api/v2/dags/a/dagRuns/run%2Fone/taskInstances/train"


class Airflow:
    """A server whose answers a test chooses, by method and path. It notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "POST /auth/token": (201, {"access_token": "fresh"}),
        }
        self.asked: list[tuple[str, Any]] = []
        self.tokens: set[str | None] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else parse_qs(url.query)
                asked = f"{self.command} {url.path}"
                server.asked.append((asked, body))
                if url.path != "/auth/token":
                    server.tokens.add(self.headers.get("Authorization"))
                status, said = server.answers.get(asked, (404, {"detail": "not found"}))
                content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the base class's names

            def log_message(self, *_arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's API says of one training that runs and one that is over."""
    running = under_way(dag_id="a", run_id="run/one", task_id="train", began_at=NOW - timedelta(hours=3))
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path_factory.mktemp("ledger")))
    for record in (running, training(dag_id="b")):
        ledger.write(record)
    source, everything = Source(lambda: ledger), Selection(dag_ids=("a", "b"))
    now = now_in(source, everything, budget=Budget(usd=7))
    with source.view() as reader:
        found = overview_of(reader, Filters(window=Window.ALL).selection(everything, now=NOW))
    return {
        "GET /spot-training/api/now": plain(now),
        "GET /spot-training/api/overview": plain(replace(found, trainings=(), live=())),
    }


@pytest.fixture
def airflow(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    server = Airflow()
    server.answers |= {asked: (200, deepcopy(answer)) for asked, answer in answers.items()}
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    monkeypatch.setenv("AIRFLOW_API_URL", f"{server.url}/")
    monkeypatch.setenv("AIRFLOW_API_TOKEN", "a-token")
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_jobs_are_a_table_for_people_and_json_for_scripts(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--dag-id", "a"]) == 0
    title, row, *_, total = capsys.readouterr().out.splitlines()
    assert title.startswith("TRAINING JOB")
    assert row.split("  ")[0] == JOB
    assert "spot ml.m5.xlarge" in row
    assert "<= $" in row
    assert total.startswith("1 in all: 1 training. Cost so far <= $")
    assert airflow.asked == [("GET /spot-training/api/now", {"dag_id": ["a"]})]
    assert airflow.tokens == {"Bearer a-token"}
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == airflow.answers["GET /spot-training/api/now"][1]


@pytest.mark.parametrize(
    ("currencies", "total"),
    [
        (("USD",), r"<= \$[\d.]+"),
        (("CNY",), r"<= CNY [\d.]+"),
        (("USD", "CNY"), r"<= \$[\d.]+ and <= CNY [\d.]+"),
        ((None, "CNY"), r"<= [\d.]+ h"),  # a sum that leaves one out would be too low
        ((None, "USD"), r"<= [\d.]+ h"),
    ],
)
def test_the_cost_of_what_runs_is_summed_by_currency_if_every_price_is_known(
    airflow: Airflow,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    currencies: tuple[str | None, ...],
    total: str,
) -> None:
    running = under_way(dag_id="a", began_at=NOW - timedelta(hours=3))
    assert running.current_job
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    for number, code in enumerate(currencies):
        prices = tuple(
            replace(price, currency=None if code == "USD" else code) for price in running.prices if code
        )
        job = replace(running.current_job, job_name=f"job-{number}")
        ledger.write(replace(running, run_id=str(number), prices=prices, current_job=job))
    now = now_in(Source(lambda: ledger), Selection(dag_ids=("a",)))
    airflow.answers["GET /spot-training/api/now"] = (200, plain(now))
    assert main(["jobs"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.search(rf"Cost so far {total}\. Times are UTC\.$", last), last


def test_a_name_and_a_password_get_a_token(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_PASSWORD", "secret")
    assert main(["jobs", "--username", "admin"]) == 0
    assert airflow.asked[0] == ("POST /auth/token", {"username": "admin", "password": "secret"})
    assert airflow.tokens == {"Bearer fresh"}
    assert "secret" not in capsys.readouterr().out


def test_stop_marks_the_task_as_failed(airflow: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    airflow.answers[f"GET {TASK}"] = (200, {"state": "deferred", "try_number": 2})
    airflow.answers[f"PATCH {TASK}"] = (200, {"task_instances": []})
    assert main(["stop", JOB]) == 0
    assert airflow.asked[-1] == (f"PATCH {TASK}", {"new_state": "failed"})
    assert "task train of a / run/one is marked as failed" in capsys.readouterr().out


def test_a_mapped_task_is_stopped_by_its_index(airflow: Airflow) -> None:
    airflow.answers[f"GET {TASK}/3"] = (200, {"state": "running"})
    airflow.answers[f"PATCH {TASK}/3"] = (200, {})
    named = ["--dag-id", "a", "--run-id", "run/one", "--task-id", "train", "--map-index", "3"]
    assert main(["stop", *named]) == 0
    assert airflow.asked[-1][0] == f"PATCH {TASK}/3"


def test_a_task_that_is_over_is_not_stopped(airflow: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    airflow.answers[f"GET {TASK}"] = (200, {"state": "failed"})
    assert main(["stop", JOB]) == 1
    assert "is over already (failed)" in capsys.readouterr().err
    assert not [asked for asked, _ in airflow.asked if asked.startswith("PATCH")]


def test_logs_are_those_of_the_newest_try_in_all_parts(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.answers[f"GET {TASK}"] = (200, {"state": "deferred", "try_number": 2})
    lines = [{"timestamp": "2026-03-02T09:00:00Z", "event": "Attempt 1"}, {"event": "no time"}]
    airflow.answers[f"GET {TASK}/logs/2"] = (200, {"content": lines, "continuation_token": None})
    assert main(["logs", JOB]) == 0
    assert capsys.readouterr().out == "2026-03-02T09:00:00Z Attempt 1\nno time\n"
    assert airflow.asked[-1][1]["map_index"] == ["-1"]


def test_a_report_has_the_month_and_the_history(airflow: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--window", "all"]) == 0
    said = capsys.readouterr().out
    assert "Month from 2026-03-01" in said
    assert "2 (1 completed, 0 failed, 1 running)" in said
    assert "unknown: no sweep yet" in said
    assert "$7.00" in said
    assert main(["report", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["history"]["totals"]["trainings"] == 2
    assert facts["month"]["budget_usd"] == 7
    assert airflow.asked[-1][1] == {"window": ["30d"]}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"detail": "expired"}, "does not accept the login"),
        (403, {"detail": "Forbidden"}, "does not allow this user"),
        (404, {"detail": "Not Found"}, "has this package"),
        (500, "broken", "answers 500"),
        (200, "<html>", "is not JSON"),
    ],
)
def test_a_refusal_says_what_to_do(
    airflow: Airflow, status: int, body: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.answers["GET /spot-training/api/now"] = (status, body)
    assert main(["jobs"]) == 1
    assert said in capsys.readouterr().err


def test_an_airflow_that_is_not_there_or_not_named_is_said(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--airflow-url", "http://127.0.0.1:9"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["jobs", "--airflow-url", "localhost:8080"]) == 1
    assert "give an http or https address" in capsys.readouterr().err
    monkeypatch.delenv("AIRFLOW_API_TOKEN")
    assert main(["jobs"]) == 1
    assert "set AIRFLOW_API_TOKEN" in capsys.readouterr().err
    monkeypatch.delenv("AIRFLOW_API_URL")
    assert main(["jobs"]) == 1
    assert "is not known" in capsys.readouterr().err
    assert airflow.asked == []


def test_a_job_that_nobody_has_and_a_training_without_a_name_are_errors(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", "another-job"]) == 1
    assert "No training that waits or runs has the job 'another-job'" in capsys.readouterr().err
    for arguments in ([], [JOB, "--dag-id", "a"], ["--dag-id", "a", "--run-id", "b"]):
        with pytest.raises(SystemExit) as exit_:
            main(["stop", *arguments])
        assert exit_.value.code == 2
    assert len(airflow.asked) == 1


def test_what_the_last_sweep_left_is_shown_without_aws(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--last"]) == 0
    assert "No sweep has written a report" in capsys.readouterr().out
    now = airflow.answers["GET /spot-training/api/now"][1]
    left = {"job_name": JOB, "stop_failed": True, "reason": "task train of a / run/one: failed"}
    now.update(swept_at="2026-03-03T08:00:00+00:00", orphans=[left])
    assert main(["sweep", "--last"]) == 0
    said = capsys.readouterr().out
    assert f"{JOB}  yes          task train of a / run/one: failed" in said
    assert "Orphans left by the sweep of 2026-03-03 08:00 UTC: 1." in said
    assert main(["sweep", "--last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"swept_at": now["swept_at"], "orphans": [left]}


SWEEPER = "/api/v2/dags/sweep_orphaned_trainings"
RUN = f"{SWEEPER}/dagRuns/manual__1"


@pytest.fixture
def sweeper(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    """An Airflow with the sweeper's Dag. A run of it finishes at once."""
    monkeypatch.setattr("spot_training.commands.sweep.ASK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr("spot_training.commands.sweep.NEWS_SECONDS", 0.1)
    airflow.answers |= {
        f"GET {SWEEPER}": (200, {"is_paused": False}),
        f"POST {SWEEPER}/dagRuns": (200, {"dag_run_id": "manual__1"}),
        f"GET {RUN}": (200, {"state": "success", "start_date": "2026-03-03T07:59:00Z"}),
        f"GET {RUN}/taskInstances/look": (200, {"state": "success"}),
        f"GET {RUN}/taskInstances/settle": (200, {"state": "success"}),
    }
    now = airflow.answers["GET /spot-training/api/now"][1]
    now.update(swept_at="2026-03-03T08:00:00+00:00", orphans=[])
    return airflow


def test_a_sweep_is_a_run_of_the_sweepers_dag(sweeper: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--stop"]) == 0
    said = capsys.readouterr()
    assert "run manual__1 of sweep_orphaned_trainings" in said.err
    assert said.out == "Orphans left by the sweep of 2026-03-03 08:00 UTC: 0.\n"
    assert (f"POST {SWEEPER}/dagRuns", {"logical_date": None, "conf": {"stop": True}}) in sweeper.asked
    assert main(["sweep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["orphans"] == []
    assert (f"POST {SWEEPER}/dagRuns", {"logical_date": None, "conf": {"stop": False}}) in sweeper.asked


@pytest.mark.parametrize(
    ("asked", "answer", "said"),
    [
        (f"GET {RUN}/taskInstances/look", (200, {"state": "failed"}), "of look (failed)"),
        (f"GET {RUN}/taskInstances/settle", (200, {"state": "failed"}), "of settle (failed)"),
        (f"GET {RUN}", (200, {"state": "running"}), "is not over after"),
        (
            f"GET {RUN}",
            (200, {"state": "success", "start_date": "2026-03-03T09:00:00Z"}),
            "look (its report is not in the ledger)",
        ),
        (f"GET {SWEEPER}", (200, {"is_paused": True}), "is paused, so no run begins. Unpause it"),
        (f"GET {SWEEPER}", (404, {"detail": "not found"}), "Copy dags/sweep_orphaned_trainings.py"),
        (f"GET {SWEEPER}", (403, {"detail": "Forbidden"}), "does not allow this user"),
        (f"POST {SWEEPER}/dagRuns", (403, {"detail": "Forbidden"}), "does not allow this user"),
    ],
)
def test_a_sweep_that_cannot_be_done_says_why(
    sweeper: Airflow,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    answer: tuple[int, Any],
    said: str,
) -> None:
    sweeper.answers[asked] = answer
    assert main(["sweep", "--timeout", "1"]) == 1
    assert said in capsys.readouterr().err


def test_a_sweep_from_here_is_asked_for(airflow: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    airflow.answers["GET /api/v2/version"] = (404, {"detail": "no Airflow"})
    assert main(["sweep", "--region", "us-east-1", "--airflow-url", airflow.url]) == 1
    said = capsys.readouterr().err
    assert "--region without --aws is deprecated: add --aws." in said
    assert "The sweep failed" in said
    assert [path for path, _ in airflow.asked if "dagRuns" in path] == []
    with pytest.raises(SystemExit):
        main(["sweep", "--aws", "--last"])


ADVICE = ["advise", "--deadline", "14h", "--own-history", "--instance-type", "ml.m5.xlarge"]
EXPERIENCE = "/spot-training/api/experience"


def test_advice_from_own_history_asks_airflow_once(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = {"mean_seconds": 21600, "high_seconds": 25200, "basis": "learned from 3 past runs of churn"}
    history = {"region": "us-east-1", "instance_type": "ml.m5.xlarge", "attempts": 4, "interrupted": 3}
    seen = {"instance_type": "ml.m5.xlarge", "intervals": [[True, 40000.0], [False, 3000.0]]}
    answer = {
        "learned": {
            "runtime": {**runtime, "checkpoint_every_seconds": 900},
            "launch_seconds": 300,
            "launch_high_seconds": 600,
            "billed_launch_seconds": 200,
        },
        "types": [{**seen, "on_demand_price": 0.23}],
        "types_seen": [history],
    }
    airflow.answers[f"GET {EXPERIENCE}"] = (200, answer)
    assert main([*ADVICE, "--model", "churn"]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 spot attempts in 14 days were interrupted" in said
    assert main([*ADVICE, "--model", "churn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["basis"] == "learned from 3 past runs of churn"
    question = {"region": ["us-east-1"], "instance_type": ["ml.m5.xlarge"], "model": ["churn"]}
    assert airflow.asked == 2 * [(f"GET {EXPERIENCE}", {**question, "instance_count": ["1"]})]

    answer["types"] = [{**seen, "intervals": [], "on_demand_price": None}]
    assert main([*ADVICE, "--work", "6h"]) == 2
    assert (
        "no training on ml.m5.xlarge in us-east-1 has a price in dollars on record" in capsys.readouterr().err
    )
    assert main([*ADVICE, "--work", "6h", "--on-demand-price", "0.2"]) == 2
    assert "the ledger has no recent spot job in us-east-1" in capsys.readouterr().err


def test_advice_for_a_given_market_and_price_asks_nobody(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--work", "6h", "--deadline", "14h", "--scenario", "3h/40m", "--on-demand-price", "0.23"]
    assert main(["advise", *given]) == 0
    assert "deadline" in capsys.readouterr().out
    assert airflow.asked == []


def test_names_cannot_steer_a_terminal(airflow: Airflow, capsys: pytest.CaptureFixture[str]) -> None:
    now = airflow.answers["GET /spot-training/api/now"][1]
    now["rows"][0]["dag_id"] = "a\x1b[31m"
    assert main(["jobs"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_with_aws_the_job_is_stopped_as_a_person_does(
    cloud: Cloud, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.set_capacity(available=False)
    name = start_job(cloud)
    client = cloud.client("sagemaker")
    monkeypatch.setattr("boto3.client", lambda _service, **_options: client)
    assert main(["stop", name, "--aws"]) == 0
    assert f"{name} is being stopped" in capsys.readouterr().out
    assert list(cloud.jobs().live()) == []
    arn = client.describe_training_job(TrainingJobName=name)["TrainingJobArn"]
    assert "spot-training:stopped-for" not in cloud.jobs().tags(arn)
    assert main(["stop", "there-is-none", "--aws"]) == 1
    assert "SageMaker did not stop there-is-none" in capsys.readouterr().err
