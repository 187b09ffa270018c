"""The values for the official Helm chart, rendered with the chart. See conftest.py for where this runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import helm_python  # type: ignore[import-not-found, unused-ignore]
import pytest
import yaml

from .helm import CELERY, FOLDER, IRSA, KUBERNETES

FILES = {
    "kubernetes": ["values.yaml"],
    "celery-kubernetes": ["values.yaml", "values-celery-kubernetes.yaml"],
}
BOTH = pytest.mark.parametrize("files", FILES)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As Helm merges one values file after the other."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both else value
    return merged


@cache
def _render(files: str) -> list[dict[str, Any]]:
    values: dict[str, Any] = {}
    for name in FILES[files]:
        values = _merge(values, yaml.safe_load((FOLDER / name).read_text()))
    with helm_python.Chart.load(os.environ["SPOT_HELM_CHART"]) as chart:
        chart.validate_schema(values)
        rendered: dict[str, str] = chart.render(values, name="spot", namespace="airflow")
    texts = [text for name, text in rendered.items() if not name.endswith("NOTES.txt")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def _of_kind(files: str, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in _render(files):
        if each["kind"] in kinds:
            yield each["metadata"]["name"], each


def _pods(files: str) -> dict[str, dict[str, Any]]:
    """The pods of Airflow's components by name, and the one of a task with KubernetesExecutor."""
    pods = {
        name: each["spec"]["template"]["spec"]
        for name, each in _of_kind(files, "Deployment", "StatefulSet")
        if not name.endswith("-statsd")
    }
    config = dict(_of_kind(files, "ConfigMap"))["spot-config"]["data"]
    return {**pods, "task": yaml.safe_load(config["pod_template_file.yaml"])["spec"]}


@BOTH
def test_the_schema_of_the_chart_takes_the_values(files: str) -> None:
    assert _render(files)


@BOTH
def test_every_component_and_every_task_runs_our_image_with_the_ledger(files: str) -> None:
    expected = {"spot-api-server", "spot-scheduler", "spot-dag-processor", "spot-triggerer", "task"}
    assert set(_pods(files)) == expected | ({"spot-worker"} if files == "celery-kubernetes" else set())
    image = f"{KUBERNETES['defaultAirflowRepository']}:{KUBERNETES['defaultAirflowTag']}"
    for name, pod in _pods(files).items():
        main = pod["containers"][0]
        assert main["image"] == image, name
        variables = {entry["name"]: entry.get("value") for entry in main["env"]}
        for entry in KUBERNETES["env"]:
            assert variables[entry["name"]] == entry["value"], name


@BOTH
def test_the_pods_that_talk_to_aws_have_the_roles(files: str) -> None:
    annotations = {
        name: each["metadata"].get("annotations") or {} for name, each in _of_kind(files, "ServiceAccount")
    }
    roles = {name: annotations[pod["serviceAccountName"]].get(IRSA) for name, pod in _pods(files).items()}
    training = KUBERNETES["triggerer"]["serviceAccount"]["annotations"][IRSA]
    assert roles.pop("spot-worker", training) == training
    assert CELERY["workers"]["celery"]["serviceAccount"]["annotations"][IRSA] == training
    assert roles == {
        "spot-triggerer": training,
        "task": training,
        "spot-api-server": KUBERNETES["apiServer"]["serviceAccount"]["annotations"][IRSA],
        "spot-scheduler": None,
        "spot-dag-processor": None,
    }


@BOTH
def test_two_triggerers_of_which_one_may_be_away(files: str) -> None:
    triggerer = dict(_of_kind(files, "StatefulSet"))["spot-triggerer"]
    assert triggerer["spec"]["replicas"] == 2
    budget = dict(_of_kind(files, "PodDisruptionBudget"))["spot-triggerer-pdb"]
    assert budget["spec"]["maxUnavailable"] == 1


@BOTH
def test_the_chart_makes_no_secret_of_airflows_own(files: str) -> None:
    made = {name for name, _ in _of_kind(files, "Secret")}
    assert made <= {"spot-broker-url", "spot-redis-password"}
