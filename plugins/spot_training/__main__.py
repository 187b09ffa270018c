"""The command `spot-training`, also as `python -m spot_training`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from .provider_info import PACKAGE

#: The module of each command, and what the command does. The module is imported only when it is used.
COMMANDS = {
    "advise": ("spot_training.commands.advise", "compare policies and waits for a training by cost and time"),
    "check": ("spot_training.check.command", "find out what the Dags with the Amazon provider risk"),
    "installation": (
        "spot_training.installation",
        "print the identity of this Airflow, and where it comes from",
    ),
    "jobs": ("spot_training.commands.jobs", "list the trainings that wait or run"),
    "ledger": ("spot_training.ledger.command", "remove old records of the ledger"),
    "logs": ("spot_training.commands.logs", "show the log of one training"),
    "report": ("spot_training.commands.report", "show what spot cost and saved"),
    "stop": ("spot_training.commands.stop", "end one training"),
    "sweep": ("spot_training.commands.sweep", "find training jobs that no task uses any longer"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, or 2 if there is no such command."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in {"-h", "--help"}:
        print(_describe())
        return 0
    if name == "--version":
        print(f"spot-training {_version()}")
        return 0
    if name not in COMMANDS:
        print(f"spot-training: there is no command {name!r}.\n\n{_describe()}", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[name][0]).main(rest)
    return status


def _describe() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    return f"usage: spot-training COMMAND [--help] ...\n\ncommands:\n{listed}\n\n  --version"


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # copied into a plugins folder
        return "(not installed as a package)"


if __name__ == "__main__":
    sys.exit(main())
