"""The pytest plugin: a local SageMaker for a test or for all tests, and the spot drill.

The fixture `local_sagemaker` is a running server, and `spot_drill` drills a training script. With
`pytest --local-sagemaker`, tests that know nothing of this use a local server instead of AWS.

pytest finds the plugin by itself once the package is installed, under the name of this module. So
`pytest_plugins = ["spot_drill.pytest_plugin"]` and `-p spot_drill.pytest_plugin` do not register it twice.
"""

from __future__ import annotations

import argparse
import contextlib
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
    forget_account,
    module_command,
    module_environment,
    serve,
)

from .verdict import NOT_SHOWN_STATUS, Verdict, read_verdict

_MARKER = "local_sagemaker"
_ACCEPT = "--spot-drill-accept-not-shown"
_FOR_ALL = "--local-sagemaker"
_SPEED = 600
_URL = pytest.StashKey[str]()


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
    parser.getgroup("local SageMaker").addoption(
        _FOR_ALL,
        action="store_true",
        help="run a local SageMaker for all tests, and let AWS's variables point to it and to nothing else",
    )
    parser.getgroup("spot drill").addoption(
        _ACCEPT,
        action="store_true",
        help="let a spot drill pass that could not answer resume, torn checkpoint or sigkill",
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """A conftest may make clients when it is imported. pytest skips this if a conftest names the plugin."""
    _serve_all_tests(early_config, early_config.known_args_namespace)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(market=..., speed=..., price_ratio=..., images=...): the fixture {_MARKER} starts a "
        "separate server with these options of the command line",
    )
    _serve_all_tests(config, config.option)


def pytest_report_header(config: pytest.Config) -> str | None:
    url = config.stash.get(_URL, None)
    return url and f"local SageMaker: {url} (AWS_ENDPOINT_URL of all tests)"


def _serve_all_tests(config: pytest.Config, options: argparse.Namespace) -> None:
    """Start the server of the session, if the option asks for it and it does not run yet."""
    if not getattr(options, _MARKER, False) or getattr(options, "help", False) or _URL in config.stash:
        return
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    server = stack.enter_context(serve(speed=_SPEED))
    _point_to(server, stack.enter_context(pytest.MonkeyPatch.context()))
    config.stash[_URL] = server.url


@pytest.fixture(scope="session")
def local_sagemaker_session() -> Iterator[ServerHandle]:
    """One server for the whole session, for expensive set-ups. It is not emptied between tests."""
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_local_sagemaker() -> Iterator[ServerHandle]:
    with serve(speed=_SPEED) as server:
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
        with serve(**{"speed": _SPEED, **marker.kwargs}) as server:
            _point_to(server, monkeypatch)
            yield server
        return
    server = request.getfixturevalue("_shared_local_sagemaker")
    server.reset()
    _point_to(server, monkeypatch)
    yield server


def _point_to(server: ServerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what boto3 reads of the environment: profile, keys, endpoints of single services, proxies."""
    environment = dict(os.environ)
    forget_account(environment)
    environment |= {"AWS_ENDPOINT_URL": server.url, **ENVIRONMENT}
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)


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
