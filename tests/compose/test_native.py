"""docker-compose.yaml runs, as processes with its variables, until a training fell back and completed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from include.local_stack import describe_missing_programs
from include.local_stack.api import AirflowApi

from .native import NativeCompose
from .reading import AIRFLOW_SERVICES, ROOT, make_env, read_env

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(describe_missing_programs()), reason=describe_missing_programs()),
]

DAG, TRAIN = "retrain_flight_delays", "train.train"
#: Simulated seconds per real second: quick, and slow enough for the real script on two busy cores.
SPEED = "300"
#: A first wait that ends before the market has capacity, and as much time to train as that allows.
PARAMS = {"num_round": 20, "first_wait": 4800, "max_run": 4800}
#: Airflow says one of these where a secret is missing or is not that of the others.
COMPLAINTS = re.compile(
    r"using a generated one|Can't decrypt|InvalidToken|Signature verification failed|Invalid auth token|"
    r"could not be decrypted|password authentication failed|NOAUTH|WRONGPASS|"
    r"Failed to log action|NoCredentials",
    re.IGNORECASE,
)


def make_project(folder: Path) -> Path:
    """A checkout of the project, in which someone has run scripts/make-env."""
    folder.mkdir()
    for name in ("dags", "plugins", "include", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    assert make_env(folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeCompose]:
    folder = tmp_path_factory.mktemp("compose")
    project = make_project(folder / "project")
    variables = read_env(project / ".env") | {"LOCAL_SAGEMAKER_SPEED": SPEED}
    with NativeCompose(project, folder, variables) as running:
        yield running


@pytest.fixture(scope="module")
def api(compose: NativeCompose) -> Iterator[AirflowApi]:
    login = compose.variables
    client = AirflowApi(compose.airflow_url, login["AIRFLOW_USER"], login["AIRFLOW_PASSWORD"])
    client.login()
    client.warm_up()
    yield client
    client.close()


def test_the_login_of_the_file_opens_airflow_and_what_it_stores_is_encrypted(
    compose: NativeCompose, api: AirflowApi
) -> None:
    api.wait_for_dag(DAG)
    assert api.list_import_errors() == []
    # The identity that the plugin creates when a component starts.
    stored = compose.postgres.run_sql("SELECT key, is_encrypted FROM variable")
    assert stored == "spot_training_installation|t"


def test_a_training_falls_back_and_completes(compose: NativeCompose, api: AirflowApi) -> None:
    # Encrypted in the database: the api-server writes it, and a task gets it through the api-server.
    api.request("POST", "variables", body={"key": "spot_training_check_interval", "value": "1"})
    run_id = trigger(api)
    api.wait_for_task(DAG, run_id, TRAIN, states={"deferred"})
    # From the volume, and from the log servers of worker and triggerer.
    log = api.task_log(DAG, run_id, TRAIN)
    assert "Attempt 1: first of 3 steps: spot" in log
    assert not COMPLAINTS.search(log), log
    run = api.wait_for_run(DAG, run_id, timeout_seconds=180)
    assert run["state"] == "success", api.task_log(DAG, run_id, TRAIN)
    endings = [attempt["ending"] for attempt in api.xcom(DAG, run_id, TRAIN, "attempts")]
    assert endings[0] == "never got capacity"
    assert endings[-1] == "completed"
    assert list((compose.project / "spot_ledger").rglob("*.json")), "on this machine, where people open it"


def trigger(api: AirflowApi) -> str:
    """Run the example Dag by hand, in place of the run that it is scheduled for."""
    week_end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    week_end -= timedelta(days=(week_end.weekday() + 1) % 7)
    week = (week_end - timedelta(days=7), week_end)
    api.wait_for_dag(DAG)
    run = api.trigger(DAG, PARAMS, logical_date=week[0], data_interval=week)
    api.unpause(DAG)
    return str(run["dag_run_id"])


def test_no_component_misses_a_secret(compose: NativeCompose) -> None:
    for service in AIRFLOW_SERVICES:
        lines = [line for line in compose.log(service).splitlines() if COMPLAINTS.search(line)]
        assert not lines, (service, lines)


def test_a_task_cannot_read_the_metadata_database(compose: NativeCompose) -> None:
    environment = compose.variables_of("worker")
    address = environment["AIRFLOW__CELERY__RESULT_BACKEND"].removeprefix("db+")
    psycopg2.connect(address).close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(address.removesuffix("celery") + "airflow")


def test_preparing_a_second_time_changes_nothing(compose: NativeCompose) -> None:
    compose.run_in("init", "python", "/opt/airflow/compose/prepare.py")
    login = json.loads((compose.home_of("api-server") / "auth" / "passwords.json").read_text())
    assert login == {compose.variables["AIRFLOW_USER"]: compose.variables["AIRFLOW_PASSWORD"]}


def test_every_service_ends_within_its_time(compose: NativeCompose) -> None:
    assert compose.stop() == []
