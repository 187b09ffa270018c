"""The package on the Airflow of this test: every module can be imported, and Airflow lists what it brings.

`scripts/test-airflow` runs this with earlier versions of Airflow.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from include.local_stack.environment import airflow_python, keep_from_machine

pytestmark = pytest.mark.airflow
ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, spot_training
of_extras = {"spot_training.task.lineage": "openlineage"}
names = [m.name for m in pkgutil.walk_packages(spot_training.__path__, "spot_training.")]
for name in names:
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != of_extras.get(name):
            raise
print("imported", len(names))
"""
#: Four threads ask at the same time, through Airflow's own decoder, what a supervisor answers in order.
ASK_IN_THREADS = """
import faulthandler, socket, threading
from concurrent.futures import ThreadPoolExecutor
import msgspec
from airflow.sdk.execution_time import comms
from spot_training.compat import ask_one_at_a_time

faulthandler.dump_traceback_later(60, exit=True)
mine, supervisor = socket.socketpair()

def answer():
    stream = supervisor.makefile("rb")
    while head := stream.read(4):
        number, asked, *_ = msgspec.msgpack.decode(stream.read(int.from_bytes(head, "big")))
        found = {"type": "VariableResult", "key": asked["key"], "value": asked["key"] * 500}
        supervisor.sendall(comms._ResponseFrame(id=number, body=found).as_bytes())

threading.Thread(target=answer, daemon=True).start()
decoder = comms.CommsDecoder(socket=mine)
ask_one_at_a_time()

def ask(thread):
    keys = [f"{thread}-{number}" for number in range(200)]
    return [decoder.send(comms.GetVariable(key=key)).key for key in keys] == keys

with ThreadPoolExecutor(4) as pool:
    print("own answers:", set(pool.map(ask, "abcd")))
"""


def _run(home: Path, code: str) -> subprocess.CompletedProcess[str]:
    env = {**keep_from_machine(os.environ), "AIRFLOW_HOME": str(home), "PYTHONPATH": str(ROOT / "plugins")}
    return subprocess.run(
        [airflow_python(), "-c", code], env=env, cwd=home, capture_output=True, text=True, timeout=180
    )


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    done = _run(tmp_path, IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert "imported" in done.stdout


def test_each_thread_of_a_task_gets_the_answers_to_its_own_questions(tmp_path: Path) -> None:
    """Before 3.2 Airflow itself mixes them up, or waits for ever."""
    done = _run(tmp_path, ASK_IN_THREADS)
    assert "own answers: {True}" in done.stdout, done.stderr


def test_a_question_to_a_person_says_which_airflow_it_needs(tmp_path: Path) -> None:
    version = _run(tmp_path, "import airflow; print('version', airflow.__version__)").stdout
    done = _run(tmp_path, "from spot_training.compat import hitl_operator; print(hitl_operator().__name__)")
    if "version 3.0." in version:
        assert "ImportError: ask_before_on_demand needs Airflow 3.1 or later" in done.stderr
    else:
        assert "HITLOperator" in done.stdout
