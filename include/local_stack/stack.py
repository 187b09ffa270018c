"""The whole project on one machine: the local SageMaker and Airflow as processes, from one state folder.

Decides what runs and in which order. It runs Airflow's commands and does not import Airflow.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from include.local_stack import environment
from include.local_stack.api import AirflowApi
from include.local_stack.components import COMPONENTS, DEFAULT_COMPONENTS, LOCAL_SAGEMAKER, kind_of
from include.local_stack.database import make_database
from include.local_stack.errors import LocalStackError, PortTakenError, StackInUseError
from include.local_stack.freezing import Frozen, pids_of_tasks
from include.local_stack.homes import build_own_env, make_own_home
from include.local_stack.locking import lock_folder
from include.local_stack.process import KeptProcess
from include.local_stack.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

ATTEMPTS_AT_PORTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    username: str
    password: str


class LocalStack:
    """Starts everything on entry, and leaves nothing running on exit, whatever the reason for the exit.

    Args:
        root: the project's folder (`include`, `dags`, `plugins`).
        state_dir: a folder for databases, logs and secrets. One stack at a time uses it.
        speed: simulated seconds per real second on the local SageMaker.
        market: a market file for the local SageMaker (a Path), or the name of a shipped one (a str).
        sagemaker_options: further options of `local-sagemaker`.
        env: variables for every process, which override those of the stack.
        components: what runs, from `COMPONENTS` and "local-sagemaker". "triggerer:2" is a second triggerer.
        dags_folder: instead of `<root>/dags`.
        plugins_folder: instead of `<root>/plugins`.
        has_own_homes: whether each component has its own home, `<state_dir>/homes/<name>`, with copies of
            the Dags and the plugins, as containers that share no disk. Needs a database server.
        airflow_port: instead of a free one.
        airflow_python: the Python that has Airflow, by default as `environment.airflow_python` finds it.
        parallelism: tasks that run at once.
        fresh: start with an empty database and empty logs, otherwise with the content of the folder.
        grace_seconds: how long a process has to end by itself.
        start_timeout_seconds: how long everything has to be up.
        say: called with each line of progress.
    """

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        *,
        speed: float = 60.0,
        market: Path | str | None = None,
        sagemaker_options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        components: Sequence[str] = DEFAULT_COMPONENTS,
        dags_folder: Path | None = None,
        plugins_folder: Path | None = None,
        has_own_homes: bool = False,
        airflow_port: int | None = None,
        airflow_python: str | None = None,
        parallelism: int = 8,
        fresh: bool = True,
        grace_seconds: float = 3.0,
        start_timeout_seconds: float = 120.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        unknown = [name for name in components if kind_of(name) not in {*COMPONENTS, LOCAL_SAGEMAKER}]
        if unknown:
            raise ValueError(f"no such components: {unknown}; known are {[LOCAL_SAGEMAKER, *COMPONENTS]}")
        self.root = root.resolve()
        self.state_dir = state_dir.resolve()
        self.airflow_home = self.state_dir / "airflow"
        self.log_dir = self.state_dir / "logs"
        self.processes: dict[str, KeptProcess] = {}
        self.login = Login(username=environment.USER, password="")
        self.env: dict[str, str] = {}
        self.airflow_url = ""
        self.sagemaker_url = ""
        self.airflow_python = airflow_python or environment.airflow_python()
        self._speed = speed
        self._market = market
        self._sagemaker_options = tuple(sagemaker_options)
        self._overrides = dict(env or {})
        self._components = tuple(components)
        self._dags_folder = dags_folder or self.root / "dags"
        self._plugins_folder = plugins_folder or self.root / "plugins"
        self._has_own_homes = has_own_homes
        self._airflow_port = airflow_port
        self._parallelism = parallelism
        self._fresh = fresh
        self._grace_seconds = grace_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._say = say or (lambda _: None)
        self._sagemaker_port = 0
        self._lock_fd: int | None = None
        self._api: AirflowApi | None = None

    # -- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is up.

        Raises:
            LocalStackError: a process did not start. The message has the end of its log.
            StackInUseError: another stack uses the state folder.
        """
        if self._lock_fd is not None:
            raise StackInUseError(f"this stack runs already, in {self.state_dir}")
        self._lock_fd = lock_folder(self.state_dir, timeout_seconds=self._grace_seconds + 5.0)
        atexit.register(self.stop)
        try:
            if self._fresh:
                for folder in (self.airflow_home, self.log_dir, self.state_dir / "homes"):
                    shutil.rmtree(folder, ignore_errors=True)
            for attempt in range(1, ATTEMPTS_AT_PORTS + 1):
                try:
                    self._start_everything()
                except PortTakenError:
                    self._stop_processes()
                    if attempt == ATTEMPTS_AT_PORTS or self._airflow_port is not None:
                        raise
                    self._say("a port was taken meanwhile; trying others")
                else:
                    return
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything. Does nothing if nothing runs."""
        atexit.unregister(self.stop)
        self._stop_processes()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def restart(self, *names: str) -> None:
        """Redeploy components, or start those that were killed, and wait until all are up.

        They use `env` as it is now.
        """
        for name in names:
            self.processes[name].stop_patiently()
        for name in names:
            self._launch(name)
        self._wait_until_up(names, self._start_timeout_seconds)

    def upgrade(self, airflow_python: str) -> None:
        """Stop all of Airflow, migrate its database, and start it with another version.

        All components get SIGTERM at once, with tasks running. The local SageMaker runs on.
        """
        airflow = [name for name in self._components if name != LOCAL_SAGEMAKER]
        if self._api is not None:
            self._api.close()
            self._api = None
        for name in airflow:
            self.processes[name].ask_to_stop_patiently()
        for name in airflow:
            self.processes[name].stop_patiently()
        self.airflow_python = airflow_python
        self._migrate()
        for name in airflow:
            self._launch(name)
        self._wait_until_up(airflow, self._start_timeout_seconds)

    def kill(self, name: str) -> None:
        """SIGKILL one component with everything below it, as when its machine is lost."""
        self.processes[name].kill()

    def freeze(self, name: str) -> Frozen:
        """SIGSTOP one component with everything below it, as when its machine is paused.

        `tasks` are all that run on workers of LocalExecutor, without the schedulers.
        """
        if name == "tasks":
            schedulers = [each.pid for key, each in self.processes.items() if key.startswith("scheduler")]
            return Frozen.of(*pids_of_tasks(*schedulers))
        return self.processes[name].freeze()

    def _stop_processes(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.stop()
        self.processes.clear()

    # -- use

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API, logged in."""
        if self._api is None:
            self._api = AirflowApi(self.airflow_url, self.login.username, self.login.password)
        return self._api

    def boto3_client(self, service: str) -> Any:
        """A boto3 client of the local cloud, independent of the AWS settings of the machine."""
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=environment.ACCESS_KEY,
            aws_secret_access_key=environment.ACCESS_KEY,
            region_name=environment.REGION,
        )
        make_client: Any = session.client  # its overloads need a literal name of the service
        return make_client(service, endpoint_url=self.sagemaker_url)

    def run_airflow(self, *arguments: str, timeout_seconds: float = 120.0) -> str:
        """Run `airflow <arguments>` in this stack's environment and return what it prints.

        Raises:
            LocalStackError: it failed. The message has the last lines of its output.
        """
        done = subprocess.run(
            [self.airflow_python, "-m", "airflow", *arguments],
            env=self.env,
            cwd=self.state_dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise LocalStackError(f"airflow {' '.join(arguments)} ended with {done.returncode}:\n{last}")
        return done.stdout

    # -- starting

    def _start_everything(self) -> None:
        started = time.monotonic()
        self._prepare_environment()
        if LOCAL_SAGEMAKER in self._components:
            self._launch(LOCAL_SAGEMAKER)
        airflow = [name for name in self._components if name != LOCAL_SAGEMAKER]
        if airflow:
            self._prepare_database()
        for name in airflow:
            self._launch(name)
        left = self._start_timeout_seconds - (time.monotonic() - started)
        self._wait_until_up(self._components, left)
        self._say(f"everything is up after {time.monotonic() - started:.1f} s")

    def _prepare_environment(self) -> None:
        locks_path = self.state_dir / "secrets.json"
        if self._fresh:
            locks_path.unlink(missing_ok=True)
        locks = environment.Secrets.load_or_make(locks_path)
        environment.prepare_home(self.airflow_home, locks)
        port = self._airflow_port or environment.find_free_port()
        self._sagemaker_port = environment.find_free_port()
        self.airflow_url = f"http://{environment.HOST}:{port}"
        self.sagemaker_url = f"http://{environment.HOST}:{self._sagemaker_port}"
        self.login = Login(username=environment.USER, password=locks.password)
        self.env = {
            **environment.keep_from_machine(os.environ),
            **environment.build_airflow_env(
                root=self.root,
                home=self.airflow_home,
                dags_folder=self._dags_folder.resolve(),
                plugins_folder=self._plugins_folder.resolve(),
                airflow_url=self.airflow_url,
                port=port,
                locks=locks,
                parallelism=self._parallelism,
            ),
            **environment.build_aws_env(self.state_dir, self.sagemaker_url),
            **self._overrides,
        }
        if not self.env[environment.DATABASE].startswith("sqlite"):
            del self.env[environment.SQLITE_ARGS]
        elif self._has_own_homes:
            raise LocalStackError("components with homes of their own need a database server, not SQLite")

    def _prepare_database(self) -> None:
        started = time.monotonic()
        database = self.airflow_home / "airflow.db"
        is_own_airflow = self.airflow_python == sys.executable  # the template is of this environment's
        if is_own_airflow and self.env[environment.DATABASE] == f"sqlite:///{database}":
            how = make_database(database, self.root / ".state" / "templates", self._migrate)
        else:
            self._migrate()
            how = "migrated"
        self._say(f"Airflow's database: {how} ({time.monotonic() - started:.1f} s)")

    def _migrate(self) -> None:
        self.run_airflow("db", "migrate", timeout_seconds=self._start_timeout_seconds)

    def home_of(self, name: str) -> Path:
        """The Airflow home of a component."""
        is_own = self._has_own_homes and name != LOCAL_SAGEMAKER
        return self.state_dir / "homes" / name.replace(":", "-") if is_own else self.airflow_home

    def _launch(self, name: str) -> None:
        env, home = self.env, self.home_of(name)
        if home != self.airflow_home:
            locks = environment.Secrets.load_or_make(self.state_dir / "secrets.json")
            make_own_home(env, locks, home)
            env = build_own_env(env, shared_home=self.airflow_home, home=home)
        self.processes[name] = KeptProcess(
            name,
            self._build_command(name),
            env=env,
            cwd=self.state_dir,
            log=self.log_dir / f"{name.replace(':', '-')}.log",
            grace_seconds=self._grace_seconds,
            hold_fd=self._lock_fd,
        )

    def _build_command(self, name: str) -> list[str]:
        if name != LOCAL_SAGEMAKER:
            return [self.airflow_python, "-m", "airflow", *COMPONENTS[kind_of(name)].arguments]
        return [
            *_sagemaker_command(self._sagemaker_port, self._speed, self._market),
            *self._sagemaker_options,
        ]

    def _wait_until_up(self, names: Sequence[str], timeout_seconds: float) -> None:
        readiness = Readiness(self.processes, self.api, self.sagemaker_url)
        readiness.wait_until_up(names, timeout_seconds, self._say)


def _sagemaker_command(port: int, speed: float, market: Path | str | None) -> list[str]:
    command = [sys.executable, "-m", "local_sagemaker"]
    command += ["--host", environment.HOST, "--port", str(port), "--speed", f"{speed:g}"]
    if market is not None:
        command += ["--market", str(market.resolve() if isinstance(market, Path) else market)]
    return command
