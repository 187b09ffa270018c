"""The values for the official Helm chart, in deploy/helm, without the chart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .helm import CELERY, FOLDER, IRSA, KUBERNETES
from .support import EXTRAS, WHEEL, brought_by, installed_extras, is_option

#: The chart's keys that the values use, and what they hold, by values.schema.json of Apache Airflow's chart
#: 1.22.0. `*`: below are keys that people choose.
CHART_1_22_0: dict[str, type] = {
    "airflowVersion": str,
    "apiSecretKeySecretName": str,
    "apiServer.serviceAccount.annotations.*": str,
    "apiServer.serviceAccount.create": bool,
    "config.*": str,
    "data.brokerUrlSecretName": str,
    "data.metadataSecretName": str,
    "defaultAirflowRepository": str,
    "defaultAirflowTag": str,
    "env": list,
    "executor": str,
    "fernetKeySecretName": str,
    "jwtSecretName": str,
    "postgresql.enabled": bool,
    "redis.enabled": bool,
    "triggerer.persistence.size": str,
    "triggerer.podDisruptionBudget.config.maxUnavailable": int,
    "triggerer.podDisruptionBudget.enabled": bool,
    "triggerer.replicas": int,
    "triggerer.serviceAccount.annotations.*": str,
    "triggerer.serviceAccount.create": bool,
    "workers.celery.replicas": int,
    "workers.celery.serviceAccount.annotations.*": str,
    "workers.celery.serviceAccount.create": bool,
    "workers.kubernetes.serviceAccount.annotations.*": str,
    "workers.kubernetes.serviceAccount.create": bool,
}


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{above}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _chart_key(path: str) -> str | None:
    return next(
        (key for key in CHART_1_22_0 if path == key or (key.endswith("*") and path.startswith(key[:-1]))),
        None,
    )


@pytest.mark.parametrize("values", [KUBERNETES, CELERY], ids=["values", "values-celery-kubernetes"])
def test_every_value_is_one_that_the_chart_takes(values: dict[str, Any]) -> None:
    for path, value in _leaves(values):
        key = _chart_key(path)
        assert key is not None, f"the chart has no {path}"
        assert type(value) is CHART_1_22_0[key], path


def test_every_key_in_the_list_is_used() -> None:
    used = {_chart_key(path) for values in (KUBERNETES, CELERY) for path, _ in _leaves(values)}
    assert used == set(CHART_1_22_0)


def test_every_variable_is_an_option_or_the_connection() -> None:
    names = [entry["name"] for entry in KUBERNETES["env"]]
    assert "AIRFLOW__SPOT_TRAINING__LEDGER" in names
    for name in names:
        if name == "AIRFLOW_CONN_AWS_DEFAULT":
            continue
        section, option = re.fullmatch(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+)", name).groups()  # type: ignore[union-attr]
        assert is_option(section.lower(), option.lower()), name


def test_every_entry_of_airflows_config_is_an_option() -> None:
    for section, options in KUBERNETES["config"].items():
        for option in options:
            assert is_option(section, option), (section, option)


def test_every_container_has_the_ledger_on_s3_and_a_connection_without_keys() -> None:
    env = {entry["name"]: entry["value"] for entry in KUBERNETES["env"]}
    assert env["AIRFLOW__SPOT_TRAINING__LEDGER"].startswith("s3://")
    connection = json.loads(env["AIRFLOW_CONN_AWS_DEFAULT"])
    assert connection == {"conn_type": "aws", "extra": {"region_name": "REGION"}}


@pytest.mark.parametrize(
    "account",
    [
        KUBERNETES["workers"]["kubernetes"]["serviceAccount"],
        KUBERNETES["triggerer"]["serviceAccount"],
        KUBERNETES["apiServer"]["serviceAccount"],
        CELERY["workers"]["celery"]["serviceAccount"],
    ],
)
def test_whoever_talks_to_aws_has_a_service_account_with_a_role(account: dict[str, Any]) -> None:
    assert account["create"] is True
    assert re.fullmatch(r"arn:aws:iam::ACCOUNT:role/[\w-]+", account["annotations"][IRSA])


def test_the_page_has_another_role_than_those_who_train() -> None:
    roles = {
        part: KUBERNETES[part]["serviceAccount"]["annotations"][IRSA] for part in ("apiServer", "triggerer")
    }
    assert roles["apiServer"] != roles["triggerer"]


def test_two_triggerers_wait_for_trainings() -> None:
    assert KUBERNETES["triggerer"]["replicas"] == 2


def test_the_executors_are_those_of_the_files_names() -> None:
    assert KUBERNETES["executor"] == "KubernetesExecutor"
    assert CELERY["executor"] == "CeleryExecutor,KubernetesExecutor"


def test_secrets_are_named_and_never_written() -> None:
    for values in (KUBERNETES, CELERY):
        for path, _ in _leaves(values):
            key = path.rpartition(".")[2].lower()
            assert not re.search(r"password|secret|fernetkey|token", key) or key.endswith("secretname"), path


def test_the_image_is_airflows_own_of_the_same_version_with_our_wheel() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (version,) = re.findall(r"^FROM apache/airflow:([\d.]+)$", dockerfile, re.MULTILINE)
    assert KUBERNETES["airflowVersion"] == KUBERNETES["defaultAirflowTag"] == version
    assert f"COPY {WHEEL}*.whl " in dockerfile
    assert '"apache-airflow==${AIRFLOW_VERSION}"' in dockerfile
    assert installed_extras(dockerfile) <= set(EXTRAS)
    assert {"duckdb", "vl-convert-python"} <= brought_by(installed_extras(dockerfile))
