"""The page in an Airflow without its optional packages: it names what to install, and fails no request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from spot_training.ledger import Ledger

from .trainings import training

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
#: Serves the app to somebody who may read everything, and prints the answers as JSON.
ASK = """
import json, sys
from fastapi.testclient import TestClient
from airflow.api_fastapi.core_api.security import get_user
from spot_training.dashboard import stored
from spot_training.dashboard.access import MAY_READ_TASK, readable_trainings
from spot_training.dashboard.app import create_app
from spot_training.ledger import Selection

stored._load = lambda task: None  # there is no metadata database
app = create_app()
for route in (get_user, MAY_READ_TASK.dependency):
    app.dependency_overrides[route] = lambda: None
app.dependency_overrides[readable_trainings] = lambda: Selection(dag_ids=("dag",))
task = "dag_id=dag&run_id=run&task_id=task"
paths = ["/", f"/training?{task}", "/api/overview", f"/api/training?{task}"]
with TestClient(app, raise_server_exceptions=False) as client:
    answers = {path.partition("?")[0]: client.get(path) for path in paths}
print(json.dumps({path: [answer.status_code, answer.text] for path, answer in answers.items()}))
"""


def _environment_without(folder: Path, *packages: str) -> Path:
    """A folder of everything that is installed here, but for these packages."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.lower().replace("-", "_")
        if not name.startswith(packages) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def _ask(folder: Path, *packages: str, ledger: Path) -> dict[str, tuple[int, str]]:
    """What the app answers where these packages are not installed."""
    site = folder / "site"
    site.mkdir()
    env: Mapping[str, Any] = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(_environment_without(site, *packages)), str(PLUGINS)]),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__SPOT_TRAINING__LEDGER": f"file://{ledger}",
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "airflow",
    }
    # -S: without the packages of the interpreter itself
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def without_duckdb(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("without-duckdb")
    return _ask(folder, "duckdb", "_duckdb", "vl_convert", ledger=folder / "ledger")


@pytest.mark.parametrize("path", ["/", "/training", "/api/overview", "/api/training"])
def test_without_duckdb_every_page_says_what_to_install(
    without_duckdb: dict[str, tuple[int, str]], path: str
) -> None:
    status, text = without_duckdb[path]
    assert status == 503
    assert "duckdb is not installed" in text
    assert "pip install duckdb" in text


def test_without_the_charts_package_the_page_shows_its_tables_and_says_what_to_install(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "ledger"
    Ledger(fsspec.filesystem("file"), str(ledger)).write(
        training(dag_id="dag", began_at=datetime.now(UTC) - timedelta(days=2))
    )
    status, text = _ask(tmp_path, "vl_convert", ledger=ledger)["/"]
    assert status == 200
    assert "pip install vl-convert-python" in text
    assert 'class="chart"' not in text
    assert "charts.js" not in text
