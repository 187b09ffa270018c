"""How long docs/start/first-training.md takes: each command of the page, pasted into a terminal.

    python benchmarks/first_training.py

It works in a new folder, and needs a Python 3.11 or later and the ports 4566 and 8080, as the page does. The
checkout is a clone of this one's HEAD. pip begins without a cache, so everything is downloaded. The end is a
completed training on the page of that Airflow. Prints the seconds of each step; what a person needs to read
and to paste is not in them. Ends everything that it started. The exit status is 1 if it takes more than ten
minutes, or fails.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/start/first-training.md"
AIRFLOW = "http://127.0.0.1:8080"
MOST_SECONDS = 600
#: Each code block of the page, in its order, and the terminal that it is pasted into. None: a file.
TERMINALS = (
    ("make an Airflow", "first"),
    ("start the local SageMaker", "second"),
    ("let Airflow use it", "first"),
    ("write the Dag", None),
    ("start Airflow", "first"),
    ("train", "third"),
)
#: What blocks its terminal is ready when this port answers.
READY = {"start the local SageMaker": 4566, "start Airflow": 8080}


class Terminal:
    """A shell, as a person opens it in the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._log = folder / f"{name}.log"
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
        with self._log.open("wb") as log:
            self._shell = subprocess.Popen(
                ["bash", "--norc"],
                cwd=folder,
                env={**kept, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        self._pasted = 0

    def paste(self, commands: str) -> None:
        assert self._shell.stdin is not None  # noqa: S101 - it is a pipe
        self._pasted += 1
        self._shell.stdin.write(f"{commands}\necho pasted {self._pasted} are done\n")
        self._shell.stdin.flush()

    def is_done(self) -> bool:
        return f"pasted {self._pasted} are done" in self.said()

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """End the shell with all that it started."""
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._shell.pid, sign)
            except ProcessLookupError:
                break
            try:
                self._shell.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue
        self._shell.wait()


def blocks_of(page: str) -> list[str]:
    """The commands and the Dag, in their order, without what a log says."""
    found: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language != "text"]


def wait_for(what: str, is_there: Callable[[], bool], terminals: dict[str, Terminal]) -> None:
    until = time.monotonic() + 2 * MOST_SECONDS
    while not is_there():
        if time.monotonic() > until:
            said = "\n".join(f"== {name}\n{each.said()[-3000:]}" for name, each in terminals.items())
            raise SystemExit(f"{what}: not after {2 * MOST_SECONDS} s\n{said}")
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def is_completed(folder: Path) -> bool:
    """Whether the page of that Airflow shows a completed training."""
    try:
        (passwords,) = (folder / "home").glob("simple_auth_manager_passwords.json*")
        login = {"username": "admin", "password": json.loads(passwords.read_text())["admin"]}
        token = ask("/auth/token", login)["access_token"]
        return any(row["state"] == "completed" for row in ask("/spot-training/api/trainings", token=token))
    except (OSError, ValueError, urllib.error.URLError):
        return False


def ask(path: str, body: dict[str, str] | None = None, *, token: str = "") -> Any:
    request = urllib.request.Request(  # noqa: S310 - loopback
        AIRFLOW + path,
        data=json.dumps(body).encode() if body else None,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if taken := [port for port in READY.values() if answers(port)]:
        raise SystemExit(f"Port {taken[0]} is in use: the page needs it.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clone = folder / "repository"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        blocks = blocks_of((clone / PAGE).read_text())
        if len(blocks) != len(TERMINALS):
            raise SystemExit(f"{PAGE} has {len(blocks)} blocks, and {len(TERMINALS)} are known here.")
        terminals: dict[str, Terminal] = {}
        began = time.monotonic()
        try:
            for (step, terminal), text in zip(TERMINALS, blocks, strict=True):
                at = time.monotonic()
                if terminal is None:
                    (folder / "home" / "dags" / "retrain.py").write_text(text)
                else:
                    if terminal not in terminals:
                        terminals[terminal] = Terminal(folder, terminal)
                    commands = text.replace("REPOSITORY", str(clone))
                    do(step, commands, terminals[terminal], terminals)
                print(f"{time.monotonic() - at:6.1f} s  {step}", flush=True)
            at = time.monotonic()
            wait_for("a completed training on the page", lambda: is_completed(folder), terminals)
            print(f"{time.monotonic() - at:6.1f} s  until the page shows a completed training")
            seconds = time.monotonic() - began
            print(f"{seconds:6.1f} s  in all, load {os.getloadavg()[0]:.1f}")
        finally:
            for each in terminals.values():
                each.close()
    return int(seconds > MOST_SECONDS)


def do(step: str, commands: str, terminal: Terminal, terminals: dict[str, Terminal]) -> None:
    terminal.paste(commands)
    port = READY.get(step)
    wait_for(step, (lambda: answers(port)) if port else terminal.is_done, terminals)


if __name__ == "__main__":
    sys.exit(main())
