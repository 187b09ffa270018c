"""Starts a local SageMaker in its own process, for tests. It shares no state with this process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .account import make_client

MODULE = "local_sagemaker"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


class ServerStartError(RuntimeError):
    """The server ended before it was ready. The text is its error message."""


class ControlError(ValueError):
    """The server refused a `/_local/` call. The text is the reason."""


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A running local SageMaker."""

    url: str
    pid: int

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client for it. The environment's AWS settings do not apply."""
        return make_client(service, self.url, **options)

    def control(self, method: str, path: str, **fields: object) -> dict[str, Any]:
        """A call of `/_local/`, such as `control("PUT", "capacity", instance_type=..., available=False)`."""
        request = urllib.request.Request(  # noqa: S310  (the URL is our own)
            f"{self.url}/_local/{path}", method=method, data=json.dumps(fields).encode() if fields else None
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                content: dict[str, Any] = json.load(answer)
                return content
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(json.load(error).get("error", "")) from None

    def interrupt(self, training_job_name: str, **fields: int) -> None:
        """Interrupt a running spot job; `notice_seconds=0` is a SIGKILL without a warning."""
        self.control("POST", "interrupt", training_job_name=training_job_name, **fields)

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        """Set whether the type has spot capacity, from now on."""
        self.control("PUT", "capacity", instance_type=instance_type, available=available)

    def stall_uploads(self, **fields: object) -> None:
        """No checkpoint reaches S3 from now on.

        Fields limit this to `job_names` (a pattern), to an `instance_type`, to simulated `seconds`.
        """
        self.control("POST", "stalls", **(fields or {"job_names": "*"}))

    def resume_uploads(self) -> None:
        """End what `stall_uploads` began."""
        self.control("DELETE", "stalls")

    def reset(self) -> None:
        """Delete every job, bucket and queue."""
        self.control("POST", "reset")


@contextlib.contextmanager
def serve(**options: object) -> Iterator[ServerHandle]:
    """Run a server on a free port. The options are those of the command line (`speed`, `market`, ...)."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with (
        tempfile.TemporaryFile(mode="w+", encoding="utf-8") as errors,
        subprocess.Popen(
            module_command("--port", "0", *arguments),
            env=module_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("ready: "):
                process.wait(timeout=10)
                errors.seek(0)
                raise ServerStartError(f"The local SageMaker did not start: {complaint_in(errors.read())}")
            yield ServerHandle(url=line.removeprefix("ready: ").strip(), pid=process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def module_command(*arguments: str, module: str = MODULE) -> list[str]:
    """The command line that runs a module in this interpreter. Use it with `module_environment`.

    With -P, a file in the current folder cannot replace the module.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def complaint_in(output: str) -> str:
    """The error message of a command, without its usage; the whole output if there is no message."""
    _, error, complaint = output.partition(": error: ")
    return (complaint if error else output).strip()


def module_environment() -> dict[str, str]:
    """An environment in which a child process finds the same modules, this package included."""
    paths = [path for path in sys.path if path]
    # If it is there already, it stays where it is: site-packages must not come before the standard library.
    root = str(Path(__file__).resolve().parents[1])
    if root not in paths:
        paths.insert(0, root)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
