"""The services of docker-compose.yaml as processes of this machine, without Docker.

Each service runs its command of the file with the variables of the file, in a folder of its own, which takes
the place of the container's /opt/airflow and has the file's volumes as links. What differs: names and ports
of services become 127.0.0.1 and free ports, and the programs come from this machine instead of from images.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from types import TracebackType
from typing import Self

from include.local_stack import Postgres
from include.local_stack.environment import find_free_port
from include.local_stack.process import KeptProcess

from .reading import AIRFLOW_SERVICES, LONG_RUNNING, ROOT, SERVICES, fill_in, read_words

HOME = "/opt/airflow"
#: Where a service listens in its container.
PORTS = {"postgres": 5432, "redis": 6379, "local-sagemaker": 4566, "api-server": 8080, "scheduler": 8974}
ADDRESS = re.compile(rf"\b({'|'.join(PORTS)}|localhost|127\.0\.0\.1):(\d+)\b")
#: Ports that are Airflow's defaults in a container. These and `[api] host` are the only settings added.
LISTENING = {
    "AIRFLOW__API__PORT": 8080,
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": 8974,
    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": 8793,
    "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": 8794,
}
#: How long Docker waits after SIGTERM.
GRACE = "10s"


def _seconds(text: str) -> float:
    value, unit = float(text[:-1]), text[-1]
    return value * {"s": 1, "m": 60}[unit]


class NativeCompose:
    """Started on entry, in the order that the file asks for. Everything is gone on exit.

    Args:
        project: the folder of the file, with what `scripts/make-env` made.
        folder: for what containers and volumes hold.
        variables: those of `.env`.
    """

    def __init__(self, project: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self.project = project
        self._folder = folder
        self.variables = variables
        self.ports = {port: find_free_port() for port in (*PORTS.values(), 8793, 8794)}
        self.processes: dict[str, KeptProcess] = {}
        self.postgres = Postgres()
        self._life = ExitStack()
        self._is_met: set[str] = set()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[8080]}"

    def log(self, service: str) -> str:
        return self.processes[service].read_log()

    # -- start and stop

    def _start(self) -> None:
        needs = {name: content.get("depends_on", {}) for name, content in SERVICES.items()}
        for service in TopologicalSorter({name: need.keys() for name, need in needs.items()}).static_order():
            for need, condition in needs[service].items():
                self._wait_for(need, condition["condition"])
            self._launch(service)
        with ThreadPoolExecutor(len(LONG_RUNNING)) as pool:
            list(pool.map(lambda service: self._wait_for(service, "service_healthy"), LONG_RUNNING))

    def _launch(self, service: str) -> None:
        if service == "postgres":
            self._launch_postgres()
            return
        for volume in SERVICES[service].get("volumes", []):
            self._mount(service, volume)
        self.processes[service] = KeptProcess(
            service,
            self._build_command(service),
            env=self.env_of(service),
            cwd=self.home_of(service),
            log=self._folder / "output" / f"{service}.log",
        )

    def _launch_postgres(self) -> None:
        """The image's entrypoint makes a cluster from these variables."""
        env = self.env_of("postgres")
        assert (env["POSTGRES_USER"], env["POSTGRES_DB"]) == ("airflow", "airflow")
        self.postgres.password = env["POSTGRES_PASSWORD"]
        self._life.enter_context(self.postgres)
        self.ports[5432] = self.postgres.port

    def stop(self) -> list[str]:
        """Stop all services as `docker compose down`. Returns those that had to be killed."""
        airflow = [name for name in self.processes if name in AIRFLOW_SERVICES]
        rest = [name for name in self.processes if name not in AIRFLOW_SERVICES]
        killed = [*self._stop(airflow), *self._stop(rest)]
        self.processes.clear()
        self._life.close()
        return killed

    def _stop(self, services: list[str]) -> list[str]:
        asked_at = time.monotonic()
        for service in services:
            pid, is_over = self.processes[service].pid, self.processes[service].exit_code is not None
            # The image's entrypoint, dumb-init, sends the signal to all children unless this is set.
            is_for_all = self.variables_of(service).get("DUMB_INIT_SETSID") != "0"
            if not is_over:
                (os.killpg if is_for_all else os.kill)(pid, signal.SIGTERM)
        killed = []
        for service in services:
            grace = _seconds(SERVICES[service].get("stop_grace_period", GRACE))
            while self.processes[service].exit_code is None and time.monotonic() < asked_at + grace:
                time.sleep(0.1)
            if self.processes[service].exit_code is None:
                killed.append(service)
            self.processes[service].kill()
        return killed

    # -- what a container has

    def home_of(self, service: str) -> Path:
        home = self._folder / "containers" / service
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _mount(self, service: str, volume: str) -> None:
        source, target = volume.split(":")[:2]
        if source.startswith("./"):
            here = self.project / source
        else:
            here = self._folder / "volumes" / source
            here.mkdir(parents=True, exist_ok=True)
        assert here.exists(), f"{service}: {source}"
        (self.home_of(service) / target.removeprefix(f"{HOME}/")).symlink_to(here.resolve())

    def env_of(self, service: str) -> dict[str, str]:
        """The variables of the file and of the image, and nothing else of Airflow's or AWS's."""
        home = self.home_of(service)
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {"PATH": programs, "HOME": str(home), "HOSTNAME": socket.gethostname(), "LANG": "C.UTF-8"}
        if service in AIRFLOW_SERVICES:
            env["AIRFLOW_HOME"] = str(home)  # in the image, /opt/airflow
            env |= {name: str(self.ports[port]) for name, port in LISTENING.items()}
            env["AIRFLOW__API__HOST"] = "127.0.0.1"
        if service == "local-sagemaker":
            env["PYTHONPATH"] = str(ROOT / "packages" / "local-sagemaker")
            env["LOCAL_SAGEMAKER_PYTHON"] = str(ROOT / ".venv-training" / "bin" / "python")
        return env | self.variables_of(service)

    def variables_of(self, service: str) -> dict[str, str]:
        """What the file says of its environment, with the addresses and folders of this machine."""
        given = SERVICES[service].get("environment", {})
        return {name: self._localize(service, str(value)) for name, value in given.items()}

    def _localize(self, service: str, text: str) -> str:
        text = fill_in(text, self.variables).replace("$$", "$").replace(HOME, str(self.home_of(service)))
        text = ADDRESS.sub(lambda match: f"127.0.0.1:{self.ports[int(match[2])]}", text)
        return text.replace("@postgres/", f"@127.0.0.1:{self.ports[5432]}/")

    def _build_command(self, service: str) -> list[str]:
        content = SERVICES[service]
        given = content["command"]
        given = shlex.split(given) if isinstance(given, str) else given
        words = [self._localize(service, word) for word in given]
        if service == "redis":
            return [self._with_port(word) for word in words]
        if service == "local-sagemaker":
            changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=4566": f"--port={self.ports[4566]}"}
            assert changed.keys() <= set(words)
            return [*read_words(service, "ENTRYPOINT"), *(changed.get(word, word) for word in words)]
        return [*content.get("entrypoint", ["airflow"]), *words]  # the entrypoint of Airflow's image: airflow

    def _with_port(self, text: str) -> str:
        port = self.ports[6379]
        text = text.replace("redis-server ", f"redis-server --port {port} --bind 127.0.0.1 ")
        return text.replace("redis-cli ", f"redis-cli -p {port} ")

    # -- conditions

    def _wait_for(self, service: str, condition: str) -> None:
        if service in self._is_met:
            return
        if condition == "service_healthy":
            self._wait_until_healthy(service)
        else:
            assert condition == "service_completed_successfully", condition
            self._wait_until_complete(service)
        self._is_met.add(service)

    def _wait_until_complete(self, service: str) -> None:
        process = self.processes[service]
        while process.exit_code is None:
            time.sleep(0.2)
        assert process.exit_code == 0, process.read_last_lines(60)

    def _wait_until_healthy(self, service: str) -> None:
        """Check as Docker does, but oftener."""
        check = SERVICES[service]["healthcheck"]
        limit = time.monotonic() + _seconds(check.get("start_period", "0s"))
        limit += check["retries"] * _seconds(check["interval"])
        while (found := self.check_health(service)) is not None:
            process = self.processes[service]
            process.check_runs()
            last = process.read_last_lines(60)
            assert time.monotonic() < limit, f"{service} is not healthy: {found}\n{last}"
            time.sleep(2)

    def check_health(self, service: str) -> str | None:
        """Run the service's health check once, in its environment. What it says if it fails."""
        check = SERVICES[service]["healthcheck"]
        kind, *words = (self._with_port(self._localize(service, word)) for word in check["test"])
        env = self.env_of(service)
        if service == "postgres":
            env["PGPORT"] = str(self.ports[5432])
        try:
            done = subprocess.run(
                ["sh", "-c", *words] if kind == "CMD-SHELL" else words,
                env=env,
                cwd=self.home_of(service),
                capture_output=True,
                text=True,
                timeout=_seconds(check["timeout"]),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {check['timeout']}"
        return None if done.returncode == 0 else done.stdout + done.stderr

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in a service's environment, as `docker compose exec` does."""
        done = subprocess.run(
            [self._localize(service, word) for word in command],
            env=self.env_of(service),
            cwd=self.home_of(service),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
