"""The variables and files with which Airflow runs from a state folder, separate from those of the machine.

Everything here can be overridden by the `env` of the stack: a Postgres address and CeleryExecutor, say.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import random
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST = "127.0.0.1"
#: The Python of the environment that has Airflow, if it is not this one: another version of Airflow.
AIRFLOW_PYTHON = "LOCAL_STACK_AIRFLOW_PYTHON"
REGION = "us-east-1"
#: The local cloud takes any. Airflow masks it in logs, so it is no word that a log may contain.
ACCESS_KEY = "any-key-will-do"
USER = "admin"
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
SQLITE_ARGS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS"
# Below the range that the kernel hands out to outgoing connections, so that none of them gets in between.
PORTS = range(20_000, 32_000)


def airflow_python() -> str:
    """The Python that runs Airflow's processes."""
    return os.environ.get(AIRFLOW_PYTHON) or sys.executable


@functools.cache
def airflow_version(python: str | None = None) -> tuple[int, ...]:
    """The version of Airflow that the stack runs, or that another Python has, as (3, 0, 6)."""
    code = "import importlib.metadata; print(importlib.metadata.version('apache-airflow-core'))"
    done = subprocess.run(
        [python or airflow_python(), "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return tuple(int(part) for part in done.stdout.strip().split(".")[:3])


def find_free_port() -> int:
    """A port that is free now. It may be taken when a process binds it later."""
    candidates = random.SystemRandom().sample(PORTS, 200)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"none of 200 ports between {PORTS.start} and {PORTS.stop} is free")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The secrets of one state folder's Airflow, created once, in a file that only the user can read."""

    password: str
    jwt: str
    fernet: str
    api: str

    @classmethod
    def load_or_make(cls, path: Path) -> Secrets:
        if path.exists():
            return cls(**json.loads(path.read_text()))
        made = cls(
            password=secrets.token_urlsafe(9),
            jwt=secrets.token_urlsafe(48),
            fernet=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            api=secrets.token_urlsafe(32),
        )
        write_private(path, json.dumps({name: getattr(made, name) for name in cls.__slots__}))
        return made


def write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def keep_from_machine(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without Airflow and AWS settings, so that it uses no real account."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("AIRFLOW", "AWS_", "_AIRFLOW")) and name not in {"PYTHONPATH", "BOTO_CONFIG"}
    }
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), HOST, "localhost"]))
    return kept


def build_aws_env(state_dir: Path, endpoint_url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(state_dir / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(state_dir / "aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


#: What is the same for every stack, by section and name.
_SETTINGS = {
    ("core", "load_examples"): "False",
    ("core", "executor"): "LocalExecutor",
    ("core", "hostname_callable"): "include.local_stack.host.get_loopback_name",
    ("core", "min_serialized_dag_update_interval"): "2",
    ("core", "killed_task_cleanup_time"): "5",
    ("database", "sql_alchemy_connect_args"): "include.local_stack.database.CONNECT_ARGS",
    ("api", "host"): HOST,
    ("api", "workers"): "1",
    ("api_auth", "jwt_issuer"): "local-stack",
    ("scheduler", "scheduler_idle_sleep_time"): "0.5",
    ("scheduler", "scheduler_heartbeat_sec"): "2",
    ("scheduler", "trigger_timeout_check_interval"): "2",
    ("triggerer", "job_heartbeat_sec"): "2",
    ("workers", "execution_api_timeout"): "30",
    # How late a supervisor may notice that its task's process has ended; 5 by default.
    ("workers", "min_heartbeat_interval"): "2",
    ("dag_processor", "parsing_processes"): "1",
    ("dag_processor", "refresh_interval"): "5",
    ("dag_processor", "bundle_refresh_check_interval"): "1",
    # A file that is changed is read at once. The rest is half of what an idle stack computes.
    ("dag_processor", "min_file_process_interval"): "40",
    ("logging", "worker_log_server_port"): "1",
    ("logging", "trigger_log_server_port"): "1",
    ("logging", "colored_console_log"): "False",
}


def build_airflow_env(
    *,
    root: Path,
    home: Path,
    dags_folder: Path,
    plugins_folder: Path,
    airflow_url: str,
    port: int,
    locks: Secrets,
    parallelism: int,
) -> dict[str, str]:
    settings = _SETTINGS | {
        ("core", "dags_folder"): str(dags_folder),
        ("core", "plugins_folder"): str(plugins_folder),
        ("core", "parallelism"): str(parallelism),
        ("core", "fernet_key"): locks.fernet,
        ("core", "execution_api_server_url"): f"{airflow_url}/execution/",
        ("core", "simple_auth_manager_users"): f"{USER}:admin",
        ("core", "simple_auth_manager_passwords_file"): str(home / "passwords.json"),
        ("database", "sql_alchemy_conn"): f"sqlite:///{home / 'airflow.db'}",
        ("api", "port"): str(port),
        ("api", "base_url"): airflow_url,
        ("api", "secret_key"): locks.api,
        ("api_auth", "jwt_secret"): locks.jwt,
        # Every component reads and writes one log folder, so no process serves logs (--skip-serve-logs).
        ("logging", "base_log_folder"): str(home / "logs"),
        ("logging", "dag_processor_child_process_log_directory"): str(home / "logs" / "dag_processor"),
    }
    env = {f"AIRFLOW__{section}__{key}".upper(): value for (section, key), value in settings.items()}
    return env | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(
            {
                "conn_type": "aws",
                "login": ACCESS_KEY,
                "password": ACCESS_KEY,
                "extra": {"region_name": REGION},
            }
        ),
        "PYTHONPATH": os.pathsep.join(
            str(folder) for folder in (root, root / "plugins", root / "packages" / "local-sagemaker")
        ),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


def prepare_home(home: Path, locks: Secrets) -> None:
    """Write the files that Airflow would create itself, and several components at the same time."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "logs").mkdir(exist_ok=True)
    # Empty: the settings are variables. Without the file, Airflow writes one with its own secrets.
    write_private(home / "airflow.cfg", "")
    write_private(home / "passwords.json", json.dumps({USER: locks.password}) + "\n")
