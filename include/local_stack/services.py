"""A private Postgres and a private Redis, for Airflow with Celery workers as in docker-compose.yaml.

Both listen on loopback only, on free ports and with generated passwords. Their files are in temporary folders
that are removed with them. Committed data survives the loss of a process, but not of the machine.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from include.local_stack import environment
from include.local_stack.errors import LocalStackError, MissingProgramError, PortTakenError
from include.local_stack.freezing import Frozen
from include.local_stack.process import KeptProcess
from include.local_stack.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

DATABASE = "airflow"
USER = "airflow"
#: Users that may own a cluster if this process is root: Postgres refuses to run as root.
UNPRIVILEGED = ("postgres", "nobody")
#: The components that Airflow needs with `build_celery_env`.
CELERY_COMPONENTS = ("local-sagemaker", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
DEBIAN_CLUSTERS = Path("/usr/lib/postgresql")
START_SECONDS = 60.0
ATTEMPTS_AT_PORTS = 3


def describe_missing_programs() -> str:
    """Which programs of Postgres and Redis are missing, as a reason to skip. Empty if none is."""
    missing = []
    if _find_postgres_bin() is None:
        missing.append("PostgreSQL (Debian: postgresql)")
    if shutil.which("redis-server") is None:
        missing.append("redis-server (Debian: redis-server)")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        missing.append("setpriv (Debian: util-linux)")
    return f"needs {' and '.join(missing)}" if missing else ""


def _find_postgres_bin() -> Path | None:
    """The newest installed version's folder: Debian keeps it off PATH."""
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    versions = [path.parent for path in DEBIAN_CLUSTERS.glob("*/bin/initdb")]
    return max(versions, key=lambda folder: float(folder.parent.name), default=None)


class Service(ABC):
    """A server of the stack: started on entry, gone on exit, with its folder.

    Raises:
        MissingProgramError: on entry, when the machine lacks its programs.
        LocalStackError: on entry, when it does not come up; with the end of its log.
    """

    name: str

    def __init__(self) -> None:
        self.port = 0
        self.password = secrets.token_urlsafe(18)
        self._folder = Path()
        self._process: KeptProcess | None = None

    def __enter__(self) -> Self:
        if missing := describe_missing_programs():
            raise MissingProgramError(f"{self.name} cannot be started: this machine {missing}.")
        self._folder = Path(tempfile.mkdtemp(prefix=f"spot-{self.name}-"))
        try:
            self._prepare()
            self._start_on_a_free_port()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it again, on the same port and with its files, and wait until it answers."""
        process = KeptProcess(
            self.name,
            self._build_command(),
            env=environment.keep_from_machine(os.environ) | {"LC_ALL": "C"},
            cwd=self._folder,
            log=self._folder / "log",
        )
        self._process = process

        def look() -> bool:
            process.check_runs()
            return self._is_up()

        wait_until(
            look,
            f"{self.name} to answer",
            timeout_seconds=START_SECONDS,
            poll_seconds=0.05,
            explain=process.read_last_lines,
        )

    def stop(self) -> None:
        """Stop it without waiting for its clients, which lose their connections."""
        if self._process is None:
            return
        if self._process.exit_code is None:
            # To Postgres SIGTERM would mean: when the last client has gone.
            os.kill(self._process.pid, signal.SIGINT)
        self._process.stop()
        self._process = None

    def kill(self) -> None:
        """SIGKILL it and all its child processes, as if its machine was lost."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def freeze(self) -> Frozen:
        """SIGSTOP it and all its child processes: its clients stay connected, and nothing answers."""
        return Frozen.of() if self._process is None else self._process.freeze()

    def _start_on_a_free_port(self) -> None:
        for attempt in range(1, ATTEMPTS_AT_PORTS + 1):
            self.port = environment.find_free_port()
            try:
                self.start()
            except PortTakenError:
                self.stop()
                if attempt == ATTEMPTS_AT_PORTS:
                    raise
            else:
                return

    @abstractmethod
    def _prepare(self) -> None:
        """Write the files that it needs into its folder."""

    @abstractmethod
    def _build_command(self) -> Sequence[str]:
        """The command that serves on `port` until it gets SIGINT."""

    @abstractmethod
    def _is_up(self) -> bool:
        """Whether it answers."""


class Postgres(Service):
    """A cluster with one superuser and one empty database, both named airflow."""

    name = "postgres"

    def __init__(self, *, max_connections: int = 200) -> None:
        super().__init__()
        self._max_connections = max_connections
        self._bin = _find_postgres_bin() or Path()

    @property
    def address(self) -> str:
        """What follows `postgresql+<driver>` in an SQLAlchemy address."""
        return f"://{USER}:{self.password}@{environment.HOST}:{self.port}/{DATABASE}"

    def run_sql(self, sql: str, database: str = DATABASE) -> str:
        """Run one statement as superuser; returns the rows as psql prints them, columns split by |.

        Raises:
            LocalStackError: Postgres refused it, or does not answer.
        """
        connection = ["--host", environment.HOST, "--port", str(self.port), "--username", USER]
        return self._run(
            "psql", *connection, "-XAtq", "--set=ON_ERROR_STOP=1", f"--command={sql}", f"--dbname={database}"
        )

    def drop_connections(self) -> int:
        """Cut every client off, as a failover does; returns how many there were."""
        return int(
            self.run_sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    def _start_on_a_free_port(self) -> None:
        super()._start_on_a_free_port()
        self.run_sql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def _prepare(self) -> None:
        if owner := _choose_owner():
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        environment.write_private(self._folder / "password", self.password)
        if owner:
            os.chown(self._folder / "password", owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb",
            f"--pgdata={self._folder / 'data'}",
            f"--username={USER}",
            f"--pwfile={self._folder / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )

    def _build_command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": environment.HOST,
            "unix_socket_directories": "",
            "port": self.port,
            "max_connections": self._max_connections,
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_become_owner(), str(self._bin / "postgres"), "-D", str(self._folder / "data"), *options]

    def _is_up(self) -> bool:
        ready = [str(self._bin / "pg_isready"), "-q", "-h", environment.HOST, "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [*_become_owner(), str(self._bin / program), *arguments],
            env=environment.keep_from_machine(os.environ) | {"LC_ALL": "C", "PGPASSWORD": self.password},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalStackError(f"{program} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()


class Redis(Service):
    """A Redis that keeps everything in memory."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{environment.HOST}:{self.port}/0"

    def _prepare(self) -> None:
        environment.write_private(self._folder / "redis.conf", f'requirepass {self.password}\nsave ""\n')

    def _build_command(self) -> Sequence[str]:
        return [
            "redis-server",
            str(self._folder / "redis.conf"),
            "--bind",
            environment.HOST,
            "--port",
            str(self.port),
        ]

    def _is_up(self) -> bool:
        try:
            with socket.create_connection((environment.HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"-NOAUTH")
        except OSError:
            return False


def _choose_owner() -> pwd.struct_passwd | None:
    """The user that the cluster belongs to when this process is root."""
    if os.geteuid() != 0:
        return None
    by_name = {user.pw_name: user for user in pwd.getpwall()}
    return next((by_name[name] for name in UNPRIVILEGED if name in by_name), None)


def _become_owner() -> list[str]:
    """What runs a command as that user, still bound to the life of whoever started it."""
    owner = _choose_owner()
    if owner is None:
        return []
    user = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    return ["setpriv", *user, "--pdeathsig=keep", "--"]


def build_database_env(postgres: Postgres) -> dict[str, str]:
    """Airflow's variables for Postgres instead of SQLite: the `env` of a `LocalStack`."""
    return {environment.DATABASE: f"postgresql+psycopg2{postgres.address}"}


@contextlib.contextmanager
def best_database() -> Iterator[dict[str, str]]:
    """The `env` of a `LocalStack` on a private Postgres where the machine has one; else empty, for SQLite.

    For tests: on SQLite a stack is up sooner, but Airflow's components get in each other's way.
    """
    if describe_missing_programs():
        yield {}
        return
    with Postgres() as postgres:
        yield build_database_env(postgres)


def build_celery_env(postgres: Postgres, redis: Redis, *, concurrency: int = 8) -> dict[str, str]:
    """Airflow's variables for CeleryExecutor over these two: the `env` of a `LocalStack`.

    Args:
        concurrency: tasks that one Celery worker runs at once.
    """
    return {
        **build_database_env(postgres),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": redis.url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql{postgres.address}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(concurrency),
    }
