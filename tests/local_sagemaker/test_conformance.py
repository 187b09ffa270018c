"""`local-sagemaker conformance`: of this server, of this server as if it were AWS, and of a wrong one."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.conformance import command
from local_sagemaker.conformance.check import Check, Group, Result, answered, expect, skipped, unknown
from local_sagemaker.conformance.checks import CHECKS, GROUP_NAMES
from local_sagemaker.conformance.checks.refusals import REFUSED, Refused
from local_sagemaker.conformance.cleanup import RUN_ID, new_run_id
from local_sagemaker.conformance.cost import highest_cost
from local_sagemaker.conformance.evidence import JobEvidence, Run
from local_sagemaker.conformance.jobs import JOBS, PLANS, JobPlan, job_name, with_predecessors
from local_sagemaker.conformance.report import Line, exit_status
from local_sagemaker.conformance.runner import Runner
from local_sagemaker.conformance.target import Kind, Target, aws_target, local_target

from .support import ROOT, Server, running_server, wait_until

ROLE = "arn:aws:iam::123456789012:role/Training"
#: What cannot be forced on AWS.
SKIPPED_ON_AWS = {
    "a-job-without-capacity",
    "messages-without-capacity",
    "a-job-without-capacity-has-no-start",
    *(check.name for check in CHECKS if check.group == "interruption"),
}


@dataclass(frozen=True)
class Asked:
    """A run of the command, and its server."""

    server: Server
    exit_status: int
    stdout: str
    stderr: str
    content: dict[str, Any]

    def names(self, result: str) -> set[str]:
        return {check["name"] for check in self.content["checks"] if check["result"] == result}

    def check(self, name: str) -> dict[str, Any]:
        (found,) = (check for check in self.content["checks"] if check["name"] == name)
        return dict(found)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local_sagemaker", "conformance", *arguments]


def _ask(server: Server, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Asked:
    report = folder / "report.json"
    done = subprocess.run(
        _command(*arguments, "--parallel=9", "--timeout=1.5", f"--json={report}"),
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
    )
    assert report.exists(), done.stdout + done.stderr
    return Asked(server, done.returncode, done.stdout, done.stderr, json.loads(report.read_text()))


def _what_is_left(server: Server) -> dict[str, Any]:
    logs = server.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    has_log = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    return {
        "jobs": server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"],
        "buckets": [each["Name"] for each in server.client("s3").list_buckets()["Buckets"]],
        "streams": logs.describe_log_streams(logGroupName=group)["logStreams"] if has_log else [],
        "queues": server.client("sqs").list_queues().get("QueueUrls", []),
        "rules": server.client("events").list_rules()["Rules"],
    }


NOTHING: dict[str, Any] = {"jobs": [], "buckets": [], "streams": [], "queues": [], "rules": []}


# --- three runs ---

Change = Callable[[str, bytes, Any], Any]


def _wrong(operation: str, request: bytes, answer: Any) -> Any:
    """A wrong answer for at least one question of each group but two: see `_wrong_server`."""
    if operation == "SageMaker.CreateTrainingJob" and "message" in answer:
        return answer | {"message": answer["message"].replace("It is only supported", "Only supported")}
    if operation == "SageMaker.DescribeTrainingJob" and "message" in answer:
        return answer | {"__type": "ResourceNotFound"}
    if operation == "SageMaker.DescribeTrainingJob":
        return _wrong_description(answer)
    if operation == "AmazonSQS.ReceiveMessage":
        for message in answer.get("Messages", ()):
            message["Body"] = message["Body"].replace('"aws.sagemaker"', '"aws.training"')
            message["MD5OfBody"] = hashlib.md5(message["Body"].encode(), usedforsecurity=False).hexdigest()
    return answer


def _wrong_description(answer: dict[str, Any]) -> dict[str, Any]:
    name = answer["TrainingJobName"]
    if answer["SecondaryStatus"] == "Interrupted":
        return answer | {"TrainingJobStatus": "Stopping"}
    if name.endswith("-Plain") and "BillableTimeInSeconds" in answer:
        return answer | {"BillableTimeInSeconds": answer["BillableTimeInSeconds"] - 1}
    if name.endswith("-Over-Time") and answer["TrainingJobStatus"] == "Stopped":
        return answer | {"FailureReason": "too late"}
    return answer


class _Proxy(ThreadingHTTPServer):
    """Passes every request on, and changes answers in JSON."""

    daemon_threads = True

    def __init__(self, server: Server, change: Change) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.behind = server.url.removeprefix("http://")
        self.change = change
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Proxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.server.behind, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "expect")}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        operation = self.headers.get("X-Amz-Target", "")
        if operation:
            changed = self.server.change(operation, body, json.loads(content or b"{}"))
            content = json.dumps(changed).encode()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a test shows only what fails."""


@contextlib.contextmanager
def _wrong_server(folder: Path, training_python: str) -> Iterator[tuple[Server, str]]:
    """A server whose scripts have no words, with a marker in S3, behind a proxy with wrong answers."""
    images = folder / "images.yaml"
    images.write_text(f"images: [{{image: '*', python: {training_python}, capture_error: false}}]")
    with running_server("--speed", "600", "--images", str(images)) as server:
        s3 = server.client("s3")

        def change(operation: str, request: bytes, answer: Any) -> Any:
            if operation == "SageMaker.CreateTrainingJob" and b"-Complete" in request:
                run_id = json.loads(request)["TrainingJobName"].removesuffix("-Complete")
                key = f"{run_id}/checkpoints/complete/old.sagemaker-uploaded"
                s3.put_object(Bucket=run_id, Key=key, Body=b"")
            return _wrong(operation, request, answer)

        proxy = _Proxy(server, change)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield server, proxy.url
        finally:
            proxy.shutdown()
            proxy.server_close()


@contextlib.contextmanager
def _account() -> Iterator[Server]:
    """A server as an account: calls are throttled, and one answer to CreateTrainingJob is lost."""
    throttled = {"error": "ThrottlingException"}
    with running_server("--speed", "200") as server:
        server.client("s3").create_bucket(Bucket="theirs")
        server.put("s3://theirs/kept", b"x")
        for fault in (
            {"operation": "CreateTrainingJob", "count": 2, **throttled},
            {"operation": "CreateTrainingJob", "error": "LoseResponse"},
            {"operation": "DescribeTrainingJob", "probability": 0.1, "seconds": 60, **throttled},
        ):
            assert server.control("POST", "faults", fault)[0] == 200
        yield server


@pytest.fixture(scope="module")
def asked(training_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with running_server("--speed", "600") as server:
        yield _ask(server, tmp_path_factory.mktemp("asked"), "--endpoint", server.url)


@pytest.fixture(scope="module")
def asked_as_aws(training_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312"
    with _account() as account:
        yield _ask(
            account,
            tmp_path_factory.mktemp("aws"),
            *("--aws", "--yes", f"--role={ROLE}", "--bucket=theirs", f"--image={image}"),
            env={**keys, "AWS_ENDPOINT_URL": account.url},
        )


@pytest.fixture(scope="module")
def asked_of_a_wrong_server(
    training_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("wrong")
    with _wrong_server(folder, training_python) as (server, url):
        yield _ask(server, folder, "--endpoint", url)


# --- this server ---


def _not_shown(asked: Asked) -> set[str]:
    """What fails where the folders below /opt/ml are no mounts, because the system grants none."""
    return set() if len(asked.check("mounts")["seen"]) > 1 else {"folders-are-mounts"}


def test_this_server_answers_as_aws_does(asked: Asked) -> None:
    expected = _not_shown(asked)
    assert asked.names("fail") == expected, asked.stdout
    assert asked.names("unknown") == asked.names("skip") == set(), asked.stdout
    assert asked.exit_status == (1 if expected else 0)
    assert len(asked.names("pass")) > 60
    assert len(asked.names("answered")) > 30


def test_the_table_and_the_json_have_every_question(asked: Asked) -> None:
    content = asked.content
    assert [check["name"] for check in content["checks"]] == [check.name for check in CHECKS]
    for check in content["checks"]:
        assert check["question"].endswith("?")
        assert check["source"]
        assert check["seconds"] >= 0
        assert re.search(rf"^  {check['result'].upper()} +{check['name']} ", asked.stdout, re.MULTILINE)
    assert RUN_ID.fullmatch(content["run_id"])
    assert content["endpoint_kind"] == "local-sagemaker"
    assert content["versions"].keys() == {"python", "local-sagemaker", "boto3", "botocore"}
    assert sum(content["results"].values()) == len(CHECKS)
    assert asked.check("statuses-of-a-completed-job")["expected"][0] == "Starting"


def test_raw_descriptions_are_kept_without_the_account(asked: Asked) -> None:
    described = asked.content["jobs"]["interrupted"]["describes"]
    assert len(described) > 3
    assert isinstance(described[-1]["body"]["CreationTime"], float)
    assert {each["body"]["SecondaryStatus"] for each in described} > {"Interrupted", "Completed"}
    assert ":111122223333:training-job/" in described[-1]["body"]["TrainingJobArn"]
    assert "123456789012" not in json.dumps(asked.content)


def test_nothing_is_left_and_capacity_is_back(asked: Asked) -> None:
    assert _what_is_left(asked.server) == NOTHING
    assert asked.content["left_behind"] == []


def test_the_unknowns_have_answers(asked: Asked) -> None:
    """Each question without a known answer records what this server does."""
    seconds = asked.check("seconds-over-an-interruption")["seen"]
    assert seconds["TrainingTimeInSeconds"] < seconds["TrainingEndTime - TrainingStartTime"]
    assert asked.check("the-start-after-an-interruption")["seen"] == ["start 1 of 2"]
    assert asked.check("what-a-job-that-never-started-has")["seen"]["TrainingEndTime"] == "absent"
    assert asked.check("ignored-files")["seen"] == {"kept.sagemaker-ignore": False, "part.tmp": True}
    assert asked.check("sigterm-to-a-script")["seen"]["SIGTERM"] is False
    assert set(asked.check("capacity-that-a-job-gives-back")["seen"]) == {"complete", "resume"}
    assert isinstance(asked.check("user-of-a-script")["seen"]["plain"]["uid"], int)
    for check in asked.content["checks"]:
        assert check["result"] == "answered" or not check["source"].startswith("none"), check


@pytest.fixture(scope="module")
def refusing(shared_server: Server) -> Iterator[Target]:
    made = local_target(
        shared_server.url, role=None, image=None, instance_type="ml.m5.large", bucket="bucket"
    )
    with contextlib.closing(made) as target:
        yield target


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.name)
def test_what_sagemaker_refuses_is_refused(server: Server, refusing: Target, refused: Refused) -> None:
    answer = refused.ask(Run(id=new_run_id(), target=refusing))
    assert answer.result in (Result.PASS, Result.ANSWERED), answer
    assert (answer.seen == "accepted") is (refused.is_accepted or refused.name == "retries-with-spot")


# --- as if it were AWS ---


def test_an_account_is_asked_the_same_and_what_cannot_be_forced_is_skipped_by_name(
    asked_as_aws: Asked,
) -> None:
    expected = _not_shown(asked_as_aws)
    assert asked_as_aws.names("fail") == expected, asked_as_aws.stdout
    assert asked_as_aws.names("unknown") == set(), asked_as_aws.stdout
    assert asked_as_aws.names("skip") == SKIPPED_ON_AWS
    assert asked_as_aws.content["endpoint_kind"] == "aws"
    assert "cannot be forced on aws" in asked_as_aws.check("a-job-without-capacity")["seen"]


def test_the_cost_comes_first_and_only_what_the_run_made_is_removed(asked_as_aws: Asked) -> None:
    first, cost, *_ = asked_as_aws.stdout.splitlines()
    assert "account 123456789012, region us-east-1, bucket theirs" in first
    assert re.match(r"The highest possible cost is \d\.\d\d USD: 7 jobs on one instance each", cost)
    assert _what_is_left(asked_as_aws.server) == NOTHING | {"buckets": ["theirs"]}
    found = asked_as_aws.server.client("s3").list_objects_v2(Bucket="theirs")
    assert [each["Key"] for each in found["Contents"]] == ["kept"]


# --- a wrong server ---


def test_each_wrong_answer_fails_its_question_and_no_other(
    asked_of_a_wrong_server: Asked,
) -> None:
    expected = {
        "wire": {"describe-an-unknown-job", "errors-have-a-type"},
        "refusals": {"max-wait-without-spot"},
        "lifecycle": {"the-end-of-a-job-over-its-runtime"},
        "interruption": {"an-interrupted-job-is-in-progress"},
        "billing": {"an-on-demand-job-is-billed-in-full"},
        "container": {"the-words-of-a-failure"},
        "checkpoints": {"markers-stay-local"},
        "events": {"envelope"},
    }
    assert expected.keys() == set(GROUP_NAMES)
    expected["container"] |= _not_shown(asked_of_a_wrong_server)
    failed = asked_of_a_wrong_server.names("fail")
    assert failed == set().union(*expected.values()), asked_of_a_wrong_server.stdout
    assert asked_of_a_wrong_server.exit_status == 1
    assert _what_is_left(asked_of_a_wrong_server.server) == NOTHING
    assert 'expected: {"code": "ValidationException"' in asked_of_a_wrong_server.stdout


# --- a run that ends early ---


@pytest.fixture
def empty(server: Server) -> Server:
    server.client("s3").delete_bucket(Bucket="bucket")
    return server


def _start(server: Server) -> tuple[subprocess.Popen[str], str]:
    """A run with one job, which is created."""
    process = subprocess.Popen(
        _command("--endpoint", server.url, "--only", "interruption"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    run_id = process.stdout.readline().split()[1].rstrip(".")
    name = job_name(run_id, "interrupted")
    wait_until(lambda: name in _job_names(server), describe=lambda: f"{name} was not created")
    return process, run_id


def _job_names(server: Server) -> list[str]:
    found = server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    return [each["TrainingJobName"] for each in found]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_removes_everything(
    empty: Server, training_python: str, number: signal.Signals
) -> None:
    process, run_id = _start(empty)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert f"--clean-up {run_id}" in errors
    assert _what_is_left(empty) == NOTHING


def test_what_a_killed_run_left_can_be_removed(
    empty: Server, training_python: str, capsys: pytest.CaptureFixture[str]
) -> None:
    process, run_id = _start(empty)
    process.kill()
    process.communicate()
    assert _what_is_left(empty) != NOTHING
    assert command.main(["--endpoint", empty.url, "--clean-up", run_id]) == 0
    assert capsys.readouterr().out == f"Nothing is left of {run_id}.\n"
    assert _what_is_left(empty) == NOTHING


def test_a_run_that_crashes_removes_everything_and_keeps_what_it_saw(
    empty: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def crash(runner: Runner, *_: object) -> None:
        runner._create(PLANS["never-started"])
        assert _job_names(empty)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(Runner, "_create_due", crash)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    report = tmp_path / "report.json"
    assert command.main(["--endpoint", empty.url, "--only", "events", "--json", str(report)]) == 3
    assert "RuntimeError: in the middle" in capsys.readouterr().err
    assert json.loads(report.read_text())["jobs"]["never-started"]["request"]["RoleArn"]
    assert _what_is_left(empty) == NOTHING


def test_what_cannot_be_removed_is_reported(
    empty: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = {"operation": "ListTrainingJobs", "error": "InternalFailure", "seconds": 60}
    monkeypatch.setattr(
        "local_sagemaker.conformance.target._RETRIES", {"mode": "standard", "total_max_attempts": 1}
    )
    monkeypatch.setattr(
        "local_sagemaker.conformance.target._greet", lambda *_: empty.control("POST", "faults", fault)
    )
    assert command.main(["--endpoint", empty.url, "--clean-up", new_run_id()]) == 3
    assert "LEFT BEHIND: list of jobs: " in capsys.readouterr().out


# --- options, cost, results ---

AWS = ("--aws", "--role", ROLE, "--bucket", "theirs", "--image", "mine:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --endpoint --aws is required"),
        (["--aws"], "--aws needs --role, --bucket, --image."),
        (["--aws", "--clean-up", "conformance-261129-101500-abcd"], "--aws needs --bucket."),
        (["--aws", "--endpoint", "http://x"], "not allowed with argument"),
        (["--endpoint", "http://127.0.0.1:9"], "nothing answers there"),
        (["--endpoint", "http://x", "--clean-up", "mine"], "give the id of a run"),
        (["--endpoint", "http://x", "--json", "/nowhere/x.json"], "there is no folder /nowhere"),
        (["--endpoint", "http://x", "--only", "speed"], "invalid choice: 'speed'"),
        (["--endpoint", "http://x", "--parallel", "0"], "give 1 or more"),
        (["--endpoint", "http://x", "--timeout", "-1"], "give a number above 0"),
        ([*AWS, "--role", "me"], "--role me: give the ARN of a role"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("more", "variables", "message"),
    [
        ([], {}, "confirm with --yes"),
        (["--bucket", "nobodys"], {}, "--bucket nobodys: "),
        ([], {"AWS_DEFAULT_REGION": ""}, "there is no region"),
        ([], {"AWS_DEFAULT_REGION": "eu-west-1"}, "it is in us-east-1. Give a bucket in eu-west-1."),
        (["--instance-type", "ml.r8i.large"], {}, "the price of ml.r8i.large in us-east-1 is not known here"),
        (["--instance-type", "ml.r8i.large", "--usd-per-hour", "0.2"], {}, "confirm with --yes"),
    ],
)
def test_an_account_is_asked_only_after_a_yes(
    server: Server,
    more: list[str],
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.client("s3").create_bucket(Bucket="theirs")
    settings = {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_ENDPOINT_URL": server.url,
    } | variables
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as refused:
        command.main([*AWS, *more])
    assert refused.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert _job_names(server) == []


def test_each_service_of_an_account_has_its_own_address(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": elsewhere,
        "AWS_ENDPOINT_URL_SAGEMAKER": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    made = aws_target(role=ROLE, image="mine:1", instance_type="ml.m5.large", bucket="bucket")
    with contextlib.closing(made) as target:
        assert target.url == server.url
        for service in ("s3", "logs", "sqs", "events", "sts"):
            assert target.client(service).meta.endpoint_url == elsewhere


def test_the_highest_cost_is_each_limit_and_ten_minutes_at_the_price() -> None:
    plans = [PLANS["complete"], PLANS["over-time"]]
    cost = highest_cost(plans, refusals=[60], usd_per_hour=3.6)
    assert cost.seconds == (900 + 600) + (300 + 600) + (60 + 600)
    assert cost.usd == pytest.approx(3.06)
    assert "3.06 USD: 2 jobs on one instance each, and 1 requests that" in str(cost)


def test_every_option_and_group_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "local-sagemaker.md").read_text()
    section = text.split("## Conformance: ")[1].split("\n## ")[0]
    options = {option for action in command._parser()._actions for option in action.option_strings}
    assert [each for each in options - {"-h", "--help"} if f"`{each}" not in section] == []
    assert [each for each in GROUP_NAMES if f"`{each}`" not in section] == []
    assert "**There has been none yet.**" in section


def test_the_script_of_the_jobs_is_for_any_python_from_3_8_on() -> None:
    path = ROOT / "packages" / "local-sagemaker" / "local_sagemaker" / "conformance" / "probe.py"
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names


def test_every_question_has_its_own_name_and_the_jobs_that_it_needs() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert {plan.name for plan in with_predecessors(check.needs)} >= set(check.needs)


def test_every_job_has_a_name_that_the_model_allows() -> None:
    for name in (*PLANS, *(each.name for each in REFUSED), "nobody"):
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", job_name(new_run_id(), name)), name


def _line(result: Result) -> Line:
    check = Check(name="x", group="g", question="?", source="s", ask=lambda _: answered(1))
    return Line(check=check, answer=_answer(result), seconds=0)


def _answer(result: Result) -> Any:
    return {
        Result.PASS: expect(1, 1),
        Result.FAIL: expect(1, 2),
        Result.ANSWERED: answered(1),
        Result.SKIP: skipped("why"),
        Result.UNKNOWN: unknown("why"),
    }[result]


@pytest.mark.parametrize(
    ("results", "left", "expected"),
    [
        ([Result.PASS, Result.ANSWERED, Result.SKIP], [], 0),
        ([Result.PASS, Result.UNKNOWN], [], 3),
        ([Result.PASS], ["a job"], 3),
        ([Result.FAIL, Result.UNKNOWN], ["a job"], 1),
    ],
)
def test_the_exit_status_says_the_worst(results: list[Result], left: list[str], expected: int) -> None:
    assert exit_status([_line(result) for result in results], left) == expected


def _run_with(job: JobEvidence | None) -> Run:
    target = Target(kind=Kind.AWS, endpoint=None, role=ROLE, image="mine:1", instance_type="ml.m5.large")
    return Run(id=new_run_id(), target=target, jobs={} if job is None else {"complete": job})


def _evidence(*statuses: str, missing: str | None = None, plan: JobPlan = JOBS[0]) -> JobEvidence:
    request: dict[str, Any] = {"HyperParameters": {}}
    job = JobEvidence(plan=plan, name="job", request=request, missing=missing)
    described: dict[str, Any] = {
        "SecondaryStatusTransitions": [{"Status": status} for status in statuses],
        "SecondaryStatus": statuses[-1] if statuses else "Starting",
        "TrainingJobStatus": "Completed",
    }
    job.note(0.0, described, {})
    return job


@pytest.mark.parametrize(
    ("job", "result"),
    [
        (None, Result.SKIP),
        (_evidence(missing="no quota"), Result.UNKNOWN),
        (_evidence("Training", "Interrupted"), Result.UNKNOWN),
        (_evidence("Starting", "Downloading", "Failed"), Result.UNKNOWN),
        (_evidence("Starting", "Stopping", "MaxWaitTimeExceeded"), Result.UNKNOWN),
        (_evidence("Training", "Completed"), Result.FAIL),
    ],
)
def test_a_question_is_not_passed_without_its_job(job: JobEvidence | None, result: Result) -> None:
    group = Group("g")

    @group.question("Is it billed?", source="model", needs="complete")
    def is_billed(run: Run) -> Any:
        return expect(1, run.jobs["complete"].described["BillableTimeInSeconds"])

    answer, _ = group.checks[0].answer(_run_with(job))
    assert answer.result is result


def test_an_empty_job_passes_no_question_about_a_script() -> None:
    """As of a server that says Completed and runs nothing."""
    run = _run_with(None)
    for plan in JOBS:
        run.jobs[plan.name] = _evidence("Starting", "Downloading", "Training", "Completed", plan=plan)
    asked = [check for check in CHECKS if check.group in ("checkpoints", "container", "billing", "events")]
    passed = {check.name for check in asked if check.answer(run)[0].result is Result.PASS}
    assert passed == {"a-job-that-never-started-costs-nothing"}


def test_a_question_that_does_not_fit_the_answer_ends_no_run() -> None:
    check = Check(name="x", group="g", question="?", source="s", ask=lambda _: expect(1, len(None)))  # type: ignore[arg-type]
    assert check.answer(_run_with(None))[0].result is Result.UNKNOWN


def test_an_interruption_by_chance_answers_on_aws() -> None:
    statuses = ("Starting", "Downloading", "Training", "Interrupted", "Starting", "Downloading", "Training")
    check = next(check for check in CHECKS if check.name == "statuses-of-an-interrupted-job")
    assert check.answer(_run_with(_evidence(*statuses)))[0].result is Result.PASS
    assert check.answer(_run_with(_evidence("Training")))[0].result is Result.SKIP


def _limit_exceeded(*_: object) -> None:
    error = {"Code": "ResourceLimitExceeded", "Message": "2 Instances"}
    raise ClientError({"Error": error}, "CreateTrainingJob")  # type: ignore[typeddict-item]


def test_a_job_above_the_quota_waits_for_another_one_or_is_unknown(
    server: Server, refusing: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "create", _limit_exceeded)
    run = Run(id=new_run_id(), target=refusing)
    runner = Runner(run, parallel=4, seconds=1, say=lambda _: None)
    runner._running.append(_evidence("Training"))
    assert runner._create_due([PLANS["plain"]]) == [PLANS["plain"]]
    assert (run.jobs, runner._parallel) == ({}, 1)
    runner._running.clear()
    assert runner._create_due([PLANS["plain"]]) == []
    assert "ResourceLimitExceeded" in (run.jobs["plain"].missing or "")
