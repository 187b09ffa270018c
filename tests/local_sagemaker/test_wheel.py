"""The package as people get it: built, installed without this repository, and used in a project of theirs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, replace
from email.parser import Parser
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

from .support import ROOT

PACKAGE = ROOT / "packages" / "local-sagemaker"
IMPORT_NAMES = ("local_sagemaker", "spot_drill")
TRAINEE = Path(__file__).with_name("trainee.py")
#: What would lead the new environment back to this one.
OURS = ("PYTHON", "AWS_", "LOCAL_SAGEMAKER_", "PYTEST_", "VIRTUAL_ENV")


def _run(
    *command: str | Path, folder: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


# --- what is built ---


@dataclass(frozen=True, slots=True)
class Built:
    wheel: Path
    sdist: Path


def _build(source: Path, folder: Path, *options: str) -> None:
    _run(sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *options, folder=source)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    _build(PACKAGE, folder)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def _list_sources() -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix()
        for name in IMPORT_NAMES
        for path in (PACKAGE / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def _list_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _of_packages(names: set[str]) -> set[str]:
    return {name for name in names if PurePosixPath(name).parts[0] in IMPORT_NAMES}


def test_wheel_and_sdist_hold_every_file_of_the_packages_and_no_other_package(built: Built) -> None:
    sources = _list_sources()
    assert {PurePosixPath(name).suffix for name in sources} >= {".py", ".yaml", ".html", ".typed"}
    in_wheel = _list_in_wheel(built.wheel)
    assert _of_packages(in_wheel) == sources
    tops = {PurePosixPath(name).parts[0] for name in in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(IMPORT_NAMES)
    assert any(name.endswith("/licenses/LICENSE") for name in in_wheel)
    with tarfile.open(built.sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert _of_packages({name for name in in_sdist if name}) == sources
    assert {"README.md", "LICENSE", "pyproject.toml"} <= in_sdist


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    _build(source, tmp_path / "again", "--target", "wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    assert again.name == built.wheel.name
    assert again.read_bytes() == built.wheel.read_bytes()


def _read_requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode())
    return [Requirement(text) for text in message.get_all("Requires-Dist", [])]


def test_it_requires_nothing_of_airflow_and_each_bound_holds_the_version_that_is_tested(built: Built) -> None:
    requirements = _read_requirements(built.wheel)
    names = {requirement.name for requirement in requirements if not requirement.marker}
    assert names == {"aiohttp", "boto3", "botocore", "moto", "psutil", "pyyaml", "regex"}
    for requirement in requirements:
        assert ">=" in str(requirement.specifier), requirement
        assert requirement.specifier.contains(metadata.version(requirement.name)), requirement


def test_a_registry_would_take_both(built: Built) -> None:
    """Where twine is installed, it checks them; their metadata is read in any case."""
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode())
    assert message["Description-Content-Type"] == "text/markdown"
    assert message.get_payload() == (PACKAGE / "README.md").read_text()
    assert message["License-Expression"] == "Apache-2.0"
    if importlib.util.find_spec("twine"):
        _run(sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist, folder=ROOT)


# --- installed ---


@dataclass(frozen=True, slots=True)
class Project:
    """Another project with its own `include` package, and its environment."""

    folder: Path
    bin: Path
    env: dict[str, str]

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


def _pins() -> str:
    """The versions that the tests run with."""
    found = {each.name.lower(): each.version for each in metadata.distributions()}
    return "".join(
        f"{name}=={version}\n"
        for name, version in found.items()
        if name not in {"local-sagemaker", "spot-training"}
    )


@pytest.fixture(scope="module")
def project(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Project:
    if importlib.util.find_spec("ensurepip") is None:
        pytest.skip("needs Python's venv module (Debian: python3-venv)")
    root = tmp_path_factory.mktemp("their project")
    folder = root / "project"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "__init__.py").touch()
    (folder / "include" / "theirs.py").write_text("ANSWER = 42\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    _run(sys.executable, "-m", "venv", root / "venv", folder=root, env=env)
    (root / "constraints.txt").write_text(_pins())
    _run(
        root / "venv" / "bin" / "python",
        *("-m", "pip", "install", "--quiet", "--constraint", root / "constraints.txt"),
        f"local-sagemaker[pytest] @ {built.wheel.as_uri()}",
        folder=root,
        env=env,
    )
    return Project(folder, root / "venv" / "bin", env)


ALONE = """
import importlib.metadata, importlib.util, pathlib, sys
names = {each.name.lower() for each in importlib.metadata.distributions()}
assert "local-sagemaker" in names and not {name for name in names if "airflow" in name}, names
assert importlib.util.find_spec("airflow") is None
assert importlib.util.find_spec("spot_training") is None
sys.path.insert(0, "")
import include.theirs, local_sagemaker, spot_drill
assert pathlib.Path(include.__file__).resolve().parent.parent == pathlib.Path.cwd()
assert importlib.util.find_spec("include.local_sagemaker") is None
for module in (local_sagemaker, spot_drill):
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
"""


def test_it_installs_no_airflow_and_leaves_their_include_alone(project: Project) -> None:
    done = project.run("python", "-I", "-c", ALONE)
    assert done.returncode == 0, done.stderr


def _first_training() -> str:
    """The example of the README."""
    section = (PACKAGE / "README.md").read_text().split("## A first training")[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match
    return match[1]


def test_the_first_training_of_the_readme_completes(project: Project) -> None:
    program = str(project.bin / "local-sagemaker")
    command = [program, "--port", "0", "--speed", "600", "--market", "each-job-twice"]
    with subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("ready: ").strip()
            assert url.startswith("http://127.0.0.1:")
            code = _first_training().replace("http://127.0.0.1:4566", url)
            done = project.run("python", "-c", code)
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0
    assert done.returncode == 0, done.stderr
    status, training_seconds, billable_seconds = done.stdout.split()
    assert status == "Completed"
    assert int(training_seconds) >= 1800
    assert 0 < int(billable_seconds) < int(training_seconds)


@pytest.mark.parametrize(
    ("command", "module", "word"),
    [
        ("local-sagemaker", "local_sagemaker", "--allow-host"),
        ("spot-drill", "spot_drill", "--checkpoint-every"),
    ],
)
def test_each_command_is_also_a_module(project: Project, command: str, module: str, word: str) -> None:
    helped = project.run(command, "--help")
    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith(f"usage: {command} ")
    assert word in helped.stdout
    assert project.run("python", "-m", module, "--help").stdout == helped.stdout


THEIR_TESTS = """
import boto3
from include.theirs import ANSWER

def test_a_server(local_sagemaker):
    assert ANSWER == 42
    assert boto3.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []

def test_a_drill(spot_drill):
    assert callable(spot_drill)
"""


@pytest.mark.parametrize("conftest", ["", 'pytest_plugins = ["spot_drill.pytest_plugin"]\n'])
def test_pytest_finds_the_fixtures_by_itself_and_under_their_name(project: Project, conftest: str) -> None:
    (project.folder / "conftest.py").write_text(conftest)
    (project.folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n"
    )
    (project.folder / "test_theirs.py").write_text(THEIR_TESTS)
    done = project.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


THEIR_CONFTEST = """
import boto3
MADE_EARLY = boto3.client("s3")
"""
UNAWARE_TESTS = """
import os
import boto3
import pytest
from botocore.exceptions import ProfileNotFound
from conftest import MADE_EARLY

def test_a_client_that_a_conftest_made_finds_it():
    assert MADE_EARLY.meta.endpoint_url == os.environ["AWS_ENDPOINT_URL"]
    MADE_EARLY.create_bucket(Bucket="theirs")

def test_what_a_test_made_stays_for_the_session():
    assert [each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]] == ["theirs"]
    assert boto3.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []

def test_no_credentials_of_theirs_are_left():
    assert boto3.Session().get_credentials().access_key == "local"
    with pytest.raises(ProfileNotFound):
        boto3.Session(profile_name="production").client("s3")

def test_the_fixture_is_still_an_empty_server(local_sagemaker):
    assert boto3.client("s3").list_buckets()["Buckets"] == []
"""
#: Each of these would lead a client to AWS, or to something else.
THEIR_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "AKIATHEIRS",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_PROFILE": "production",
    "AWS_CONFIG_FILE": "config",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("options", [(), ("--import-mode=importlib",)])
@pytest.mark.parametrize("conftest", ["", 'pytest_plugins = ["spot_drill.pytest_plugin"]\n'])
def test_an_option_leads_tests_to_it_that_do_not_know_it(
    project: Project, conftest: str, options: tuple[str, ...]
) -> None:
    folder = project.folder / f"unaware{len(options)}{bool(conftest)}"
    folder.mkdir()
    (folder / "config").write_text("[profile production]\nregion = eu-west-1\n")
    (folder / "conftest.py").write_text(conftest + THEIR_CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-config\npythonpath = .\n")
    (folder / "test_unaware.py").write_text(UNAWARE_TESTS)
    theirs = replace(project, folder=folder, env=project.env | THEIR_ACCOUNT)
    done = theirs.run("python", "-m", "pytest", "-p", "no:cacheprovider", "--local-sagemaker", *options)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^local SageMaker: http://127\.0\.0\.1:\d+ ", done.stdout, re.MULTILINE)


def test_without_a_training_environment_the_drill_says_what_to_install_and_how_to_name_it(
    project: Project,
) -> None:
    done = project.run("spot-drill", TRAINEE)
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert f"{project.folder / '.venv-training' / 'bin' / 'python'} does not exist" in message
    for word in ("pip install sagemaker-training", "--python", "LOCAL_SAGEMAKER_PYTHON"):
        assert word in message


def test_the_training_environment_in_the_current_folder_runs_the_drill(
    project: Project, training_python: str
) -> None:
    (project.folder / ".venv-training").symlink_to(Path(training_python).absolute().parents[1])
    try:
        done = project.run(
            "spot-drill", TRAINEE, "--interrupt-at=70%", "--hyperparameter=steps=15", "--quiet"
        )
    finally:
        (project.folder / ".venv-training").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Spot drill of trainee.py: PASS")
