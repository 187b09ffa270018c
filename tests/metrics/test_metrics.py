"""What operators see in Airflow's metrics, on the socket of a StatsD server."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
import timeit
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from spot_training import metrics
from tests.cloud import ROOT

from .conftest import StatsD, environment

ALL = {metric.full_name: metric for metric in metrics.METRICS}
KINDS = {"c": metrics.Counter, "g": metrics.Gauge, "ms": metrics.Timer}


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    """What a test makes of this process's backend ends with it."""
    found = metrics._found
    yield
    metrics._found = found


def test_a_fallback_is_seen(seen: StatsD) -> None:
    task = {"dag_id": "falls.back", "task_id": "train"}
    assert seen.total("airflow.spot_training.fallbacks", **task) == 1
    attempts = seen.of("airflow.spot_training.attempts", **task)
    assert [(a.tags["purchase"], a.tags["ending"]) for a in attempts] == [
        ("spot", "never_got_capacity"),
        ("on-demand", "completed"),
    ]
    first, *_, last = seen.of("airflow.spot_training.fallbacks", **task)
    assert (first.value, last.value) == (0, 1)  # Prometheus sees an increase only after a first value
    waited, _ = seen.of("airflow.spot_training.wait_duration", **task)
    assert waited.value >= 3_600_000
    (trained,) = seen.of("airflow.spot_training.training_duration", **task)
    assert trained.value >= 600_000
    assert seen.total("airflow.spot_training.billed_seconds", purchase="on-demand", **task) >= 600
    assert seen.total("airflow.spot_training.billed_usd", **task) > 0
    assert seen.total("airflow.spot_training.trainings", state="completed", **task) == 1


def test_an_orphan_is_seen(seen: StatsD) -> None:
    assert seen.total("airflow.spot_training.orphans", outcome="left") == 1
    assert seen.total("airflow.spot_training.orphans", outcome="stopped") == 1


def test_a_failed_stop_is_seen(seen: StatsD) -> None:
    failed = [received.tags for received in seen.of("airflow.spot_training.failed_stops") if received.value]
    assert failed == [{"reason": "task-ended"}]


def test_a_stalled_checkpoint_is_seen(seen: StatsD) -> None:
    task = {"dag_id": "stalls", "task_id": "train"}
    assert seen.total("airflow.spot_training.uploads_stalled", **task) == 1
    ages = [received.value for received in seen.of("airflow.spot_training.checkpoint_age", **task)]
    assert max(ages) > 0
    assert ages[-1] == 0


def test_the_triggerer_says_what_it_waits_for(seen: StatsD) -> None:
    watched = [received.value for received in seen.of("airflow.spot_training.watched_jobs")]
    assert watched[0] == 1
    assert watched[-1] == 0
    assert len(seen.of("airflow.spot_training.waiting_jobs")) == len(watched)
    assert len(seen.of("airflow.spot_training.watcher_lag")) == len(watched)


def test_calls_and_throttles_are_counted(seen: StatsD) -> None:
    call = {"service": "sagemaker", "operation": "DescribeTrainingJob"}
    assert seen.total("airflow.spot_training.aws_throttles", **call) == 1
    assert seen.total("airflow.spot_training.aws_calls", **call) > 1
    assert seen.of("airflow.spot_training.aws_calls", service="s3")


def test_what_is_received_is_in_the_table(seen: StatsD) -> None:
    ours = [r for r in seen.received if r.name.startswith("airflow.spot_training.")]
    for received in ours:
        metric = ALL[received.name.removeprefix("airflow.")]
        assert isinstance(metric, KINDS[received.kind])
        assert tuple(received.tags) == metric.tags


def test_every_metric_of_the_table_is_sent_somewhere() -> None:
    names = {name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    assert len(names) == len(metrics.METRICS) == len(ALL)
    used = {
        node.attr
        for path in (ROOT / "plugins" / "spot_training").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "metrics"
    }
    assert names - used == set()


_ONE = (
    "import airflow.sdk, spot_training.metrics as m\n"
    "m.ATTEMPTS.add(dag_id='a.b', task_id='group.train', purchase='spot', ending='max wait')\n"
    "m.WATCHED_JOBS.set(3, hostname='here')\n"
    "m.WAIT_DURATION.took(1.5, dag_id='a', task_id='b', purchase='spot')\n"
    "m.WAIT_DURATION.took(None, dag_id='a', task_id='b', purchase='spot')\n"
)


def _run(code: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_without_tags_their_values_are_in_a_second_name_as_airflow_has_it(tmp_path: Path) -> None:
    statsd = StatsD()
    try:
        _run(_ONE, environment(statsd, tmp_path))
    finally:
        statsd.close()
    assert [line for line in statsd.lines if "spot_training" in line] == [
        "airflow.spot_training.attempts:1|c",
        "airflow.spot_training.attempts.a__b.group__train.spot.max_wait:1|c",
        "airflow.spot_training.watched_jobs:3|g",
        "airflow.spot_training.watched_jobs.here:3|g",
        "airflow.spot_training.wait_duration:1500.000000|ms",
        "airflow.spot_training.wait_duration.a.b.spot:1500.000000|ms",
    ]


class _Collector(BaseHTTPRequestHandler):
    """Takes what OpenTelemetry's exporter sends, as protobuf."""

    def do_POST(self) -> None:
        request = ExportMetricsServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.got += [
            m for r in request.resource_metrics for scope in r.scope_metrics for m in scope.metrics
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_opentelemetry_gets_names_and_tags(tmp_path: Path) -> None:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    server.got = []
    threading.Thread(target=server.serve_forever).start()
    env = {
        "AIRFLOW__METRICS__STATSD_ON": "False",
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__METRICS__OTEL_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__OTEL_PORT": str(server.server_port),
    }
    try:
        _run(_ONE, {**os.environ, **env, "AIRFLOW_HOME": str(tmp_path)})
    finally:
        server.shutdown()
        server.server_close()
    got = {metric.name: metric for metric in server.got if "spot_training" in metric.name}
    assert set(got) == {f"airflow.spot_training.{n}" for n in ("attempts", "watched_jobs", "wait_duration")}
    (point,) = got["airflow.spot_training.attempts"].sum.data_points
    assert {tag.key: tag.value.string_value for tag in point.attributes} == {
        "dag_id": "a.b",
        "task_id": "group.train",
        "purchase": "spot",
        "ending": "max_wait",
    }
    assert point.as_int == 1


def test_a_metric_costs_next_to_nothing_if_metrics_are_off() -> None:
    """0.3 microseconds on the machine where this was written."""
    metrics.keep(None)
    seconds = timeit.repeat(lambda: metrics.FALLBACKS.add(dag_id="a", task_id="b"), number=10_000, repeat=5)
    assert min(seconds) / 10_000 < 10e-6


class _Broken:
    """What may be wrong with a backend."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no metrics today")


def test_a_metric_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    metrics.keep(metrics.Backend(stats=_Broken()))
    metrics.FALLBACKS.add(dag_id="a", task_id="b")
    metrics.FALLBACKS.add(no_such_tag="a")
    metrics.WATCHED_JOBS.set(1, hostname="here")


def test_a_server_that_is_not_found_delays_a_process_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = [], threading.Event()

    def find() -> None:
        asked.append(1)
        go_on.wait(10)

    monkeypatch.setattr("spot_training.compat.metrics_backend", find)
    monkeypatch.setattr(metrics, "FIRST_SECONDS", 0.1)
    metrics._found = None
    began = time.monotonic()
    for _ in range(3):
        metrics.FALLBACKS.add(dag_id="a", task_id="b")
    assert time.monotonic() - began < 2
    assert asked == [1]
    go_on.set()
