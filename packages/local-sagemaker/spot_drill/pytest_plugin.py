"""The pytest plugin: fixtures with a local SageMaker and the spot drill.

`local_sagemaker` is a running server, and `spot_drill` drills a training script.

pytest finds the plugin by itself once the package is installed, under the name of this module. So
`pytest_plugins = ["spot_drill.pytest_plugin"]` and `-p spot_drill.pytest_plugin` do not register it twice.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from local_sagemaker import (
    ENVIRONMENT,
    ServerHandle,
    complaint_in,
    module_command,
    module_environment,
    serve,
)

from .verdict import NOT_SHOWN_STATUS, Verdict, read_verdict

_MARKER = "local_sagemaker"
_ACCEPT = "--spot-drill-accept-not-shown"
_CLEARED = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


class DrillNotRunError(ValueError):
    """The drill cannot run. The text says why."""


class DrillNotShownError(AssertionError):
    """The drill found no failure, but could not answer a core question. The text is the verdict.

    `verdict` has the answers.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(
            f"{verdict}\n\nIn pytest, spot_drill(..., accept_not_shown=True) accepts it for one drill, and "
            f"the option {_ACCEPT} for all drills."
        )
        self.verdict = verdict


class SpotDrill(Protocol):
    def __call__(
        self,
        script: str | os.PathLike[str],
        *,
        entry_point: str | None = None,
        data: str | os.PathLike[str] | None = None,
        hyperparameters: Mapping[str, object] | None = None,
        interrupt_at: Sequence[str] = (),
        checkpoint_every: str | None = None,
        grace: str | None = None,
        python: str | os.PathLike[str] | None = None,
        image: str | None = None,
        compare: str | None = None,
        timeout: str | None = None,
        accept_not_shown: bool = False,
    ) -> Verdict:
        """Drill a script. The arguments are the options of the command line.

        Raises `DrillNotShownError` if there is no failure, but a core question has no answer, unless
        `accept_not_shown` or pytest's option accepts that.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("spot drill").addoption(
        _ACCEPT,
        action="store_true",
        help="let a spot drill pass that could not answer resume, torn checkpoint or sigkill",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(market=..., speed=..., price_ratio=..., images=...): the fixture {_MARKER} starts a "
        "separate server with these options of the command line",
    )


@pytest.fixture(scope="session")
def local_sagemaker_session() -> Iterator[ServerHandle]:
    """One server for the whole session, for expensive set-ups. It is not emptied between tests."""
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_local_sagemaker() -> Iterator[ServerHandle]:
    with serve(speed=600) as server:
        yield server


@pytest.fixture
def local_sagemaker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServerHandle]:
    """An empty local SageMaker, with AWS_ENDPOINT_URL, credentials and region set to it.

    It runs ten simulated minutes per second. It is shared between tests and emptied before each. With the
    marker `local_sagemaker(market=..., speed=...)` a test gets its own server.
    """
    marker = request.node.get_closest_marker(_MARKER)
    if marker and marker.kwargs:
        with serve(**{"speed": 600, **marker.kwargs}) as server:
            _point_to(server, monkeypatch)
            yield server
        return
    server = request.getfixturevalue("_shared_local_sagemaker")
    server.reset()
    _point_to(server, monkeypatch)
    yield server


def _point_to(server: ServerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": server.url, **ENVIRONMENT}.items():
        monkeypatch.setenv(name, value)
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def spot_drill(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SpotDrill:
    """`assert spot_drill("train.py", data="data", interrupt_at=["50%"]).resumed`."""

    def drill(
        script: str | os.PathLike[str],
        *,
        hyperparameters: Mapping[str, object] | None = None,
        interrupt_at: Sequence[str] = (),
        accept_not_shown: bool = False,
        **options: str | os.PathLike[str] | None,
    ) -> Verdict:
        report = tmp_path_factory.mktemp("drill") / "verdict.json"
        arguments = [os.fspath(script), "--json", str(report)]
        arguments += [f"--hyperparameter={name}={value}" for name, value in (hyperparameters or {}).items()]
        arguments += [f"--interrupt-at={when}" for when in interrupt_at]
        arguments += [
            f"--{name.replace('_', '-')}={os.fspath(value)}"
            for name, value in options.items()
            if value is not None
        ]
        # The option does not exist if the plugin was loaded too late to add it.
        if accept_not_shown or request.config.getoption(_ACCEPT, default=False):
            arguments.append("--accept-not-shown")
        verdict = _run_drill(arguments, report)
        print(verdict)  # pytest shortens the text of an assertion, but shows this output with a failed test
        if verdict.exit_status() == NOT_SHOWN_STATUS:
            raise DrillNotShownError(verdict)
        return verdict

    return drill


def _run_drill(arguments: list[str], report: Path) -> Verdict:
    process = subprocess.Popen(
        module_command(*arguments, module="spot_drill"),
        env=module_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            _, errors = process.communicate()
        except BaseException:
            process.terminate()  # unlike a kill, this cleans up
            process.wait(timeout=30)
            raise
    if not report.exists():
        raise DrillNotRunError(f"The drill cannot run: {complaint_in(errors)}")
    return read_verdict(json.loads(report.read_text(encoding="utf-8")))
