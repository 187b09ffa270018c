"""docker-compose.yaml and the Dockerfile agree with each other and with the project.

What the file starts is tested in test_native.py, and who gets which secret in test_secrets.py.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from spot_training.provider_info import OPTIONS

from .native import LISTENING
from .reading import (
    AIRFLOW_SERVICES,
    COMPOSE,
    COMPOSE_TEXT,
    DOCKERFILE,
    LONG_RUNNING,
    ROOT,
    SERVICES,
    SUBSTITUTION,
    fill_in,
    find_instruction,
    read_words,
)

SETTING = re.compile(r"AIRFLOW__(?P<section>[A-Z0-9_]+?)__(?P<key>[A-Z0-9_]+)")


def _read_requirement(name: str) -> str:
    match = re.search(rf"^{re.escape(name)}==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert match, name
    return match[1]


def _list_stages() -> dict[str, list[list[str]]]:
    """Each stage of the Dockerfile with its instructions, split into words."""
    stages: dict[str, list[list[str]]] = {}
    for line in DOCKERFILE.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split() if line.startswith(("RUN", "ENV")) else shlex.split(line)
        if words[0] == "FROM":
            stages[words[3]] = []
        list(stages.values())[-1].append(words)
    return stages


def _list_airflow_settings() -> dict[str, set[str]]:
    """The settings of the installed Airflow and of its installed providers, by section."""
    spec = find_spec("airflow")
    assert spec is not None
    folder = Path(str(spec.origin)).parent
    config = yaml.safe_load((folder / "config_templates" / "config.yml").read_text())
    known = {section: set(content["options"]) for section, content in config.items()}
    known["spot_training"] = set(OPTIONS)
    for info in (folder / "providers").rglob("get_provider_info.py"):
        returned = next(
            node for node in ast.walk(ast.parse(info.read_text())) if isinstance(node, ast.Return)
        )
        assert returned.value is not None
        for section, content in ast.literal_eval(returned.value).get("config", {}).items():
            known.setdefault(section, set()).update(content["options"])
    return known


def _list_local_variables() -> set[str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def _list_environments() -> Iterator[tuple[str, str, str]]:
    for service, content in SERVICES.items():
        for name, value in content.get("environment", {}).items():
            yield service, name, str(value)


def test_the_airflow_image_is_of_the_version_that_is_required() -> None:
    base = next(words[1] for words in _list_stages()["airflow"] if words[0] == "FROM")
    version = _read_requirement("apache-airflow")
    assert base.startswith(f"apache/airflow:slim-{version}-python3.")
    assert SERVICES["scheduler"]["image"].endswith(f":{version}")


def test_the_images_run_a_python_that_the_locks_are_made_for() -> None:
    for instructions in _list_stages().values():
        base = next(words[1] for words in instructions if words[0] == "FROM")
        match = re.search(r"python:?(3\.\d+)", base)
        assert match, base
        assert match[1] == "3.11"


def test_every_airflow_component_runs_the_one_image_that_init_builds() -> None:
    assert {SERVICES[name]["image"] for name in AIRFLOW_SERVICES} == {SERVICES["init"]["image"]}
    assert SERVICES["init"]["build"]["target"] == "airflow"
    for name in AIRFLOW_SERVICES[1:]:
        assert "build" not in SERVICES[name]
        assert SERVICES[name]["pull_policy"] == "never", "no registry has it"


def test_every_build_target_is_a_stage_of_the_dockerfile() -> None:
    targets = {content["build"]["target"] for content in SERVICES.values() if "build" in content}
    assert targets == _list_stages().keys()


def test_every_image_from_a_registry_has_a_version() -> None:
    for service, content in SERVICES.items():
        if content.get("pull_policy") not in {"never", "build"} and "build" not in content:
            assert re.search(r":\d+", content["image"]), service


def test_everything_the_dockerfile_copies_exists_and_is_sent_to_the_engine() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for instructions in _list_stages().values():
        for words in instructions:
            if words[0] == "COPY":
                for source in [word for word in words[1:-1] if not word.startswith("--")]:
                    assert (ROOT / source).exists(), source
                    assert any(fnmatch(source, pattern) for pattern in sent), source


def test_everything_pip_installs_from_is_copied_before() -> None:
    for name, instructions in _list_stages().items():
        copied: set[str] = set()
        for words in instructions:
            if words[0] == "COPY":
                copied |= {f"{words[-1]}{Path(source).name}" for source in words[1:-1]}
            for option in ("--requirement", "--constraint"):
                files = {words[at + 1] for at, word in enumerate(words) if word == option}
                assert files <= copied, name


def test_pip_installs_files_with_hashes_and_the_project_and_nothing_else() -> None:
    found = re.findall(r"pip install (.*?)(?: && |$)", DOCKERFILE, re.MULTILINE)
    installs = [words.split() for words in found]
    assert all("--no-deps" in words for words in installs)
    locks = [words[-1] for words in installs if {"--require-hashes", "--requirement"} <= set(words)]
    assert [Path(lock).name for lock in locks] == ["requirements.lock", "training.lock", "local.lock"]
    assert [words[-1] for words in installs if words[-1] not in locks] == [
        "/opt/spot/packages/local-sagemaker"
    ]


def test_the_database_is_migrated_once_before_anything_else_of_airflow_starts() -> None:
    assert SERVICES["init"]["command"][0].endswith("exec airflow db migrate")
    assert SERVICES["init"]["restart"] == "no"
    for service in AIRFLOW_SERVICES[1:]:
        assert SERVICES[service]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


def test_every_airflow_setting_is_one_that_this_airflow_knows() -> None:
    known = _list_airflow_settings()
    for service, name, _ in _list_environments():
        if name.startswith("AIRFLOW__"):
            match = SETTING.fullmatch(name)
            assert match, name
            assert match["key"].lower() in known[match["section"].lower()], f"{service}: {name}"


@pytest.mark.parametrize("service", AIRFLOW_SERVICES)
def test_include_and_spot_training_import_in_every_component(service: str) -> None:
    path = SERVICES[service]["environment"]["PYTHONPATH"]
    mounts = {volume.split(":")[0]: volume.split(":")[1] for volume in SERVICES[service]["volumes"]}
    assert path.split(":") == [str(Path(mounts["./include"]).parent), mounts["./plugins"]]
    assert f"PYTHONPATH={path}" in find_instruction("airflow", "ENV")


def test_every_variable_of_the_file_is_explained_in_the_example_and_no_other() -> None:
    used = {match["name"] for match in SUBSTITUTION.finditer(COMPOSE_TEXT)}
    assert used == _list_local_variables()


def test_the_command_line_of_the_local_sagemaker_parses() -> None:
    from local_sagemaker.__main__ import _parser

    given = [fill_in(word) for word in SERVICES["local-sagemaker"]["command"]]
    for words in (given, read_words("local-sagemaker", "CMD")):
        arguments = _parser().parse_args(words)
        assert (arguments.host, arguments.port) == ("0.0.0.0", 4566)  # noqa: S104


def test_the_image_of_the_local_sagemaker_installs_its_package_and_starts_its_command() -> None:
    instructions = _list_stages()["local-sagemaker"]
    assert ["COPY", "packages", "/opt/spot/packages"] in instructions
    assert any("/opt/spot/packages/local-sagemaker" in words for words in instructions if words[0] == "RUN")
    (command,) = read_words("local-sagemaker", "ENTRYPOINT")
    project = tomllib.loads((ROOT / "packages" / "local-sagemaker" / "pyproject.toml").read_text())["project"]
    assert project["scripts"][command] == "local_sagemaker.__main__:main"


def test_every_port_of_the_local_sagemaker_is_the_one_that_airflow_calls() -> None:
    endpoint = SERVICES["worker"]["environment"]["AWS_ENDPOINT_URL"]
    host, _, port = endpoint.removeprefix("http://").partition(":")
    content = SERVICES[host]
    assert f"--port={port}" in content["command"]
    assert content["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/_local/health" in content["healthcheck"]["test"][-1]
    assert find_instruction("local-sagemaker", "EXPOSE") == port


def test_the_local_sagemaker_answers_to_the_name_by_which_airflow_calls_it() -> None:
    from local_sagemaker.__main__ import _parser
    from local_sagemaker.http.access import Access

    words = [fill_in(word) for word in SERVICES["local-sagemaker"]["command"]]
    access = Access(_parser().parse_args(words).allow_host)
    for service in ("triggerer", "worker"):
        host = SERVICES[service]["environment"]["AWS_ENDPOINT_URL"].removeprefix("http://")
        assert access.find_refusal("POST", "/", {"host": host}) is None
    assert access.find_refusal("POST", "/", {"host": "evil.example:4566"})


def test_tasks_reach_the_execution_api_at_the_port_of_the_api_server() -> None:
    url = SERVICES["worker"]["environment"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert url == "http://api-server:8080/execution/"
    (port,) = SERVICES["api-server"]["ports"]
    assert fill_in(port) == "127.0.0.1:8080:8080"
    assert "http://localhost:8080/" in SERVICES["api-server"]["healthcheck"]["test"][-1]


def test_every_port_that_a_container_listens_on_is_its_default() -> None:
    from airflow.configuration import conf

    for name, port in LISTENING.items():
        match = SETTING.fullmatch(name)
        assert match
        assert conf.getint(match["section"].lower(), match["key"].lower()) == port, name
    assert SERVICES["scheduler"]["environment"]["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "True"
    assert ":8974/" in SERVICES["scheduler"]["healthcheck"]["test"][-1]


def test_databases_and_broker_are_the_services_of_the_file() -> None:
    environment = SERVICES["scheduler"]["environment"]
    for name, user in (("DATABASE__SQL_ALCHEMY_CONN", "airflow"), ("CELERY__RESULT_BACKEND", "celery")):
        assert fill_in(environment[f"AIRFLOW__{name}"]).endswith(f"://{user}:given@postgres/{user}")
    assert fill_in(environment["AIRFLOW__CELERY__BROKER_URL"]) == "redis://:given@redis:6379/0"


def test_the_connection_that_the_operators_use_by_default_is_there() -> None:
    connection = json.loads(SERVICES["worker"]["environment"]["AIRFLOW_CONN_AWS_DEFAULT"])
    assert connection["conn_type"] == "aws"
    assert connection["extra"]["region_name"] == SERVICES["worker"]["environment"]["AWS_DEFAULT_REGION"]


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_every_service_that_keeps_running_has_a_healthcheck(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()


def test_no_container_runs_as_root() -> None:
    for service, content in SERVICES.items():
        if service == "local-sagemaker":
            users = [words[1] for words in _list_stages()[service] if words[0] == "USER"]
            assert users, service
            assert users[-1] not in {"root", "0"}, service
        else:
            assert fill_in(content["user"]).partition(":")[0] not in {"", "root", "0"}, service


def test_a_training_script_in_a_container_is_not_root_and_can_install_its_requirements() -> None:
    content = SERVICES["local-sagemaker"]
    assert (content["cap_drop"], content["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    lines = [" ".join(words) for words in _list_stages()["local-sagemaker"]]
    (user,) = (line.removeprefix("USER ") for line in lines if line.startswith("USER "))
    (python,) = re.findall(r"LOCAL_SAGEMAKER_PYTHON=(\S+)", "\n".join(lines))
    made, given = (
        next(number for number, line in enumerate(lines) if re.search(pattern, line))
        for pattern in (f"useradd .* {user}$", f"chown -R {user} {Path(python).parents[1]} ")
    )
    assert made < given < lines.index(f"USER {user}")


def test_the_buttons_of_a_task_lead_to_an_address_that_this_machine_can_open() -> None:
    (port,) = SERVICES["local-sagemaker"]["ports"]
    # The task writes its buttons, and the API server the links of the page.
    for service in ("worker", "triggerer", "api-server"):
        address = SERVICES[service]["environment"]["AIRFLOW__SPOT_TRAINING__LOCAL_SAGEMAKER_URL"]
        assert address == f"http://localhost:{port.split(':')[1]}"


def test_the_market_shows_a_fallback() -> None:
    from local_sagemaker.__main__ import _parser
    from local_sagemaker.market.reader import load_market

    words = [fill_in(word) for word in SERVICES["local-sagemaker"]["command"]]
    market = load_market(_parser().parse_args(words).market)
    rule = market.by_type["ml.m5.xlarge"]  # the example Dag's
    assert rule.spot_changes is not None, "capacity comes late"
    assert rule.interruptions


def test_every_service_has_time_to_end_and_a_worker_to_end_its_tasks() -> None:
    grace = {service: SERVICES[service].get("stop_grace_period") for service in AIRFLOW_SERVICES}
    assert grace.pop("worker") == "2m"
    assert set(grace.values()) == {"1m"}


def test_reports_and_ledger_are_folders_of_this_machine_that_git_ignores() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for service in AIRFLOW_SERVICES:
        mounts = dict(volume.split(":")[:2] for volume in SERVICES[service]["volumes"])
        for name in ("reports", "spot_ledger") if service != "init" else ():
            assert mounts[f"./{name}"] == f"/opt/airflow/{name}"
            assert f"/{name}/" in ignored


class _Reset:
    """`!reset null`: Compose leaves the key out."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda _loader, _node: _Reset())


def _merge(base: Any, over: Any) -> Any:
    """As Compose merges mappings of a second file into those of the first."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in merged.items() if not isinstance(value, _Reset)}


def test_on_aws_no_service_needs_the_local_sagemaker() -> None:
    text = (ROOT / "compose.aws.yaml").read_text()
    over = yaml.load(text, _Loader)["services"]  # noqa: S506 - a SafeLoader
    assert over.keys() <= SERVICES.keys()
    merged = _merge(SERVICES, over)
    assert merged["local-sagemaker"]["profiles"] == ["local"], "it does not start by itself"
    for service in AIRFLOW_SERVICES:
        content = merged[service]
        assert "local-sagemaker" not in content["depends_on"], service
        assert content["depends_on"], service
        environment = content["environment"]
        assert not [value for value in environment.values() if "4566" in str(value)], service
        if "AWS_ACCESS_KEY_ID" in environment:
            connection = json.loads(fill_in(environment["AIRFLOW_CONN_AWS_DEFAULT"]))
            assert connection == {"conn_type": "aws", "extra": {"region_name": "given"}}
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
                assert environment[name].startswith(f"${{{name}:?"), name


def test_nothing_is_published_beyond_this_machine() -> None:
    for service, content in SERVICES.items():
        for port in content.get("ports", []):
            assert port.startswith("127.0.0.1:"), service


def test_every_named_volume_is_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for content in SERVICES.values()
        for volume in content.get("volumes", [])
        if not volume.startswith(".")
    }
    assert used == COMPOSE["volumes"].keys()


def test_every_dependency_is_a_service_that_can_meet_its_condition() -> None:
    for service, content in SERVICES.items():
        for name, need in content.get("depends_on", {}).items():
            if need["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name], f"{service} -> {name}"
