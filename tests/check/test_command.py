"""The command: what it prints, its exit status, and the files that it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spot_training.__main__ import main

from .support import DAG


@pytest.fixture
def dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one Dag, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dags").mkdir()
    path = Path("dags/dag.py")
    path.write_text(DAG)
    return path


def test_findings_are_a_table_with_what_they_mean(dag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "dags"]) == 1
    text = capsys.readouterr().out
    assert "dags/dag.py\n  line  task   code     what it is exposed to\n     6  train  SPOT003  " in text
    assert "SPOT003  A retry after a crash" in text
    assert "Seen in: operators/sagemaker.py:184, Amazon provider" in text
    assert text.endswith("1 file, 1 training; 3 findings, 0 not checked; --fix can change 1.\n")


def test_json_has_the_same_and_the_reason_why_a_task_is_not_changed(
    dag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dag.write_text(
        DAG.replace('config={"TrainingJobName": "job", "EnableManagedSpotTraining": False}', "config=x()")
    )
    assert main(["check", "--json", "dags"]) == 1
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    finding = next(finding for finding in data["findings"] if finding["code"] == "SPOT003")
    assert (finding["file"], finding["line"], finding["dag_id"], finding["task_id"]) == (
        "dags/dag.py",
        6,
        "x",
        "train",
    )
    assert {"message", "meaning", "source", "way_out"} <= finding.keys()
    (task,) = data["tasks"]
    assert not task["can_be_changed"]
    assert "config is not known" in task["not_changed_because"]
    assert data["diff"] == ""


def test_fix_prints_a_diff_that_patch_takes_and_changes_nothing(
    dag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--fix", "dags"]) == 1
    printed = capsys.readouterr()
    assert dag.read_text() == DAG
    assert printed.out.startswith("--- a/dags/dag.py\n+++ b/dags/dag.py\n@@")
    assert "fall back to on-demand" in printed.err
    done = subprocess.run(["git", "apply", "-"], input=printed.out, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "SpotTrainingOperator(" in dag.read_text()
    assert main(["check", "dags"]) == 0


def test_write_changes_the_file_once(dag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--write", "dags"]) == 0
    assert "dags/dag.py: 1 task changed." in capsys.readouterr().out
    changed = dag.read_text()
    assert changed == DAG.replace(
        "from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator",
        "from spot_training.operators import SpotTrainingOperator",
    ).replace("SageMakerTrainingOperator", "SpotTrainingOperator").replace("        max_attempts=5,\n", "")
    assert main(["check", "--write", "dags"]) == 0
    assert dag.read_text() == changed


def test_spot_changes_also_what_says_nothing_about_spot(dag: Path) -> None:
    dag.write_text(DAG.replace(', "EnableManagedSpotTraining": False', ""))
    before = dag.read_text()
    assert main(["check", "--write", "--spot", "dags"]) == 1  # there are no checkpoints
    assert 'policy="on_demand"' not in dag.read_text()
    dag.write_text(before)
    assert main(["check", "--write", "dags"]) == 0
    assert 'policy="on_demand",\n        config=' in dag.read_text()


def test_codes_can_be_left_out(dag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--ignore", "SPOT003,spot004", "dags"]) == 1
    assert main(["check", "--ignore", "SPOT003,spot004", "--ignore", "SPOT013", "dags"]) == 0
    assert main(["check", "--ignore", "SPOT003,SPOT004,SPOT013", "dags"]) == 0
    assert "no finding" in capsys.readouterr().out


def test_the_default_of_deferrable_is_a_setting(
    dag: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "dags"])
    assert "SPOT006" not in capsys.readouterr().out
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    main(["check", "dags"])
    assert "gives up after 150 s (5 checks)" in capsys.readouterr().out


def test_nothing_found_is_0_and_a_file_that_cannot_be_parsed_is_2(
    dag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dag.write_text("from airflow.sdk import DAG\n")
    assert main(["check", "dags"]) == 0
    dag.write_text("import sagemaker (\n")
    assert main(["check", "dags"]) == 2
    assert "Not parsed:\n  dags/dag.py:1  syntax error" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["absent.py"], ["dags/dag.ipynb"], ["--ignore", "SPOT000", "dags"], ["--strange", "dags"]],
)
def test_wrong_arguments_are_2(dag: Path, arguments: list[str]) -> None:
    dag.with_suffix(".ipynb").write_text("{}")
    with pytest.raises(SystemExit) as raised:
        main(["check", *arguments])
    assert raised.value.code == 2


def test_it_starts_without_airflow(dag: Path) -> None:
    """Airflow takes seconds to import, and may not be configured where the check runs."""
    probe = (
        "import sys; from spot_training.__main__ import main; main(['check', 'dags']);"
        "heavy = {m.partition('.')[0] for m in sys.modules} & {'airflow', 'boto3', 'botocore', 'yaml'};"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "SPOT003" in done.stdout
