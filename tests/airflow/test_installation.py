"""One identity per metadata database: made once whoever starts, and without a scheduler in `dag.test()`."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.local_stack import LocalStack, best_database
from include.local_stack.environment import airflow_python, airflow_version
from spot_training.installation import Installation, Source

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
#: Waits for the others, does what `on_starting` does in a scheduler, and prints what this process has then.
START = """
import json, sys, time
from pathlib import Path
from airflow.jobs.job import Job
from spot_training import installation

def decide_slowly(session, made=installation._new_value):
    time.sleep(0.5)  # so that all have seen that there is none
    return made(session)

installation._new_value = decide_slowly
line, me = Path(sys.argv[1]), sys.argv[2]
(line / me).touch()
while len(list(line.iterdir())) < int(sys.argv[3]):
    time.sleep(0.001)
Job()
print(json.dumps(installation.installation()))
"""
DAG = """
    import pendulum
    from airflow.sdk import dag, task


    @dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
    def who():
        @task
        def ask():
            from airflow.sdk import get_current_context
            from spot_training.compat import is_test_run
            from spot_training.installation import this_installation

            print("ASKED", this_installation().name)
            print("IS A TEST RUN", is_test_run(get_current_context()))

        ask()


    made = who()
    if __name__ == "__main__":
        made.test()
"""
#: What 0.1.0 leaves in the database: the state of a training, which does not say whose it is.
STATE = """
INSERT INTO task_state_store (dag_run_id, task_id, map_index, key, dag_id, run_id, value, updated_at)
SELECT id, 'train', -1, 'spot_training', dag_id, run_id, '{"version": 1}', start_date FROM dag_run LIMIT 1
"""
EXECUTE = """
import sys
from airflow import settings
from sqlalchemy import text

settings.configure_orm()
with settings.engine.begin() as connection:
    connection.execute(text(sys.argv[1].replace(":", "\\\\:")))
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A metadata database, and no process of Airflow's."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "who.py").write_text(textwrap.dedent(DAG))
    with (
        best_database() as env,
        LocalStack(
            ROOT, tmp_path / "state", components=(), dags_folder=tmp_path / "dags", env=env
        ) as running,
    ):
        running.run_airflow("db", "migrate")
        yield running


def _run(stack: LocalStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [airflow_python(), *arguments],
        env=stack.env,
        cwd=stack.state_dir,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _variable(stack: LocalStack) -> str:
    return stack.run_airflow("variables", "get", "spot_training_installation").splitlines()[-1]


def test_of_several_components_that_start_at_once_one_makes_the_identity(stack: LocalStack) -> None:
    line = stack.state_dir / "line"
    line.mkdir()
    count = 4
    started = [
        subprocess.Popen(
            [airflow_python(), "-c", START, str(line), str(number), str(count)],
            env=stack.env,
            cwd=stack.state_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    names = {json.loads(out.splitlines()[-1]) for out, _ in ended}
    assert names == {_variable(stack)}, ended


def test_dag_test_makes_an_identity_where_no_scheduler_ever_ran_and_the_next_one_has_it(
    stack: LocalStack,
) -> None:
    """Also in an Airflow without the plugin: local development needs no setting."""
    stack.env["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(stack.state_dir / "none")
    unknown = _run(stack, "-m", "spot_training.installation")
    assert unknown.returncode == 1
    assert "restart the scheduler, which creates the Variable" in unknown.stderr
    asked = _run(stack, str(stack.state_dir.parent / "dags" / "who.py"))
    name = _variable(stack)
    assert f"ASKED {name}" in asked.stdout + asked.stderr
    assert "IS A TEST RUN True" in asked.stdout + asked.stderr
    again = stack.run_airflow("tasks", "test", "who", "ask")
    assert f"ASKED {name}" in again
    assert "IS A TEST RUN True" in again
    known = _run(stack, "-m", "spot_training.installation")
    # Airflow 3.2 logs its own start on stdout before.
    assert name in known.stdout.splitlines()
    assert "from the Airflow Variable spot_training_installation in " in known.stdout
    assert "***" not in known.stdout
    assert "@" not in known.stdout, "the database's user and password are not told"


def test_a_database_that_0_1_0_trained_with_keeps_its_first_name_among_the_earlier_ones(
    stack: LocalStack,
) -> None:
    assert _run(stack, str(stack.state_dir.parent / "dags" / "who.py")).returncode == 0
    stack.run_airflow("variables", "delete", "spot_training_installation")
    if airflow_version() < (3, 3):  # 0.1.0 did not run there: no name is an earlier one
        stack.run_airflow("tasks", "test", "who", "ask")
        assert Installation.parse(_variable(stack), Source.VARIABLE).earlier == ()
        return
    done = _run(stack, "-c", EXECUTE, STATE)
    assert done.returncode == 0, done.stderr
    stack.run_airflow("tasks", "test", "who", "ask")
    name, earlier = _variable(stack).split(", ")
    assert name.startswith("airflow-")
    assert earlier.startswith("airflow until 20")
    told = _run(stack, "-m", "spot_training.installation").stdout
    assert f"records of its earlier names count as its own: {earlier}" in told
