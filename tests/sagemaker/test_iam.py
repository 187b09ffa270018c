"""The IAM policies in the docs against the calls the code makes."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import Loader

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "plugins" / "spot_training"
#: boto3 client -> the module that holds the calls, and IAM's prefix.
SERVICES = {
    "sagemaker": PRODUCT / "sagemaker" / "jobs.py",
    "logs": PRODUCT / "sagemaker" / "logs.py",
    "pricing": PRODUCT / "sagemaker" / "prices.py",
    "sqs": PRODUCT / "watching" / "events.py",
    "iam": PRODUCT / "sagemaker" / "roles.py",
    "s3": PRODUCT / "sagemaker" / "checkpoints.py",
}
#: SQS's batches are allowed with the single call.
BATCHES = re.compile(r"^(sqs:\w+)Batch$")
LEDGER = PRODUCT / "ledger" / "s3.py"
UPLOADS = PRODUCT / "sagemaker" / "uploads.py"
#: S3's calls whose permission has another name.
S3_NAMES = {"s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
#: What IAM asks for beside the call itself.
IMPLIED = {"iam:PassRole", "sagemaker:AddTags"}


def _actions(path: Path) -> set[str]:
    statements: list[dict[str, Any]] = json.loads(path.read_text())["Statement"]
    listed = (s["Action"] if isinstance(s["Action"], list) else [s["Action"]] for s in statements)
    return {action for actions in listed for action in actions}


def _operations(service: str) -> dict[str, str]:
    """`describe_training_job` -> `DescribeTrainingJob`."""
    model = Loader().load_service_model(service, "service-2")
    return {xform_name(name): name for name in model["operations"]}


def _calls(service: str, module: Path) -> set[str]:
    source = module.read_text()
    operations = _operations(service)
    methods = set(re.findall(r"\b_?client\.(\w+)\(", source)) - {"get_paginator"}
    methods |= set(re.findall(r"get_paginator\(\"(\w+)\"\)", source))
    assert methods <= set(operations), methods - set(operations)
    return {f"{service}:{operations[method]}" for method in methods}


def test_the_callers_policy_allows_what_the_code_calls_and_nothing_else() -> None:
    calls = {
        BATCHES.sub(r"\1", call) for service, module in SERVICES.items() for call in _calls(service, module)
    }
    made = {S3_NAMES.get(call, call) for call in calls}
    assert _actions(ROOT / "docs" / "iam" / "caller-policy.json") == made | IMPLIED


def test_the_policy_for_a_ledger_on_s3_allows_what_its_files_need_and_nothing_else() -> None:
    made = {S3_NAMES.get(call, call) for call in _calls("s3", LEDGER)}
    assert _actions(ROOT / "docs" / "iam" / "ledger-policy.json") == made


def test_the_policy_for_what_the_sagemaker_sdk_exports_allows_its_uploads_and_nothing_else() -> None:
    assert _actions(ROOT / "docs" / "iam" / "uploads-policy.json") == _calls("s3", UPLOADS)


def test_no_other_module_of_the_product_calls_aws() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        if path not in {*SERVICES.values(), LEDGER, UPLOADS}:
            assert "_client." not in path.read_text().replace("self._client(", ""), path


def test_every_client_that_the_product_makes_is_one_with_a_policy() -> None:
    """`sts:GetCallerIdentity` needs no permission. Scouts are made, watched and stopped as other jobs are."""
    made: set[str] = set()
    for path in (ROOT / "plugins").rglob("*.py"):
        made |= set(re.findall(r"""[._]client\(\s*["'](\w+)["']""", path.read_text()))
    assert made - {"sts"} == set(SERVICES)


def test_no_policy_names_a_partition() -> None:
    for path in (*(ROOT / "docs" / "iam").glob("*.json"), *(ROOT / "deploy").rglob("*policy*.json")):
        assert set(re.findall(r"arn:([^:]+):", path.read_text())) <= {"PARTITION"}, path


def test_no_policy_allows_everything() -> None:
    for path in (ROOT / "docs" / "iam").glob("*.json"):
        assert not any("*" in action for action in _actions(path)), path


def test_passing_the_role_is_limited_to_sagemaker() -> None:
    statements = json.loads((ROOT / "docs" / "iam" / "caller-policy.json").read_text())["Statement"]
    (passing,) = [s for s in statements if s["Action"] == "iam:PassRole"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


ROLE = ROOT / "docs" / "iam" / "execution-role-policy.json"
#: The folders of the example Dags' bucket that a training reads, and those it writes.
READ, WRITTEN, KEPT = ("channels", "code"), ("models",), ("checkpoints",)
_LOGS = "arn:PARTITION:logs:REGION:ACCOUNT:log-group:/aws/sagemaker/TrainingJobs:log-stream:job/algo-1"
_IMAGE = "arn:PARTITION:ecr:REGION:683313688378:repository/sagemaker-xgboost"

#: What SageMaker does in the role's name for a training, by its manual ("How to use SageMaker AI execution
#: roles", CreateTrainingJob), and what managed spot adds: checkpoints restored, written and carried over.
NEEDED = {
    *(("s3:GetObject", f"arn:PARTITION:s3:::BUCKET/{folder}/a/b") for folder in (*READ, *KEPT)),
    *(("s3:PutObject", f"arn:PARTITION:s3:::BUCKET/{folder}/a/b") for folder in (*WRITTEN, *KEPT)),
    *(("s3:DeleteObject", f"arn:PARTITION:s3:::BUCKET/{folder}/a/b") for folder in KEPT),
    ("s3:ListBucket", "arn:PARTITION:s3:::BUCKET"),
    ("ecr:GetAuthorizationToken", "*"),
    ("ecr:BatchCheckLayerAvailability", _IMAGE),
    ("ecr:GetDownloadUrlForLayer", _IMAGE),
    ("ecr:BatchGetImage", _IMAGE),
    ("logs:CreateLogGroup", _LOGS),
    ("logs:CreateLogStream", _LOGS),
    ("logs:DescribeLogStreams", _LOGS),
    ("logs:PutLogEvents", _LOGS),
    ("cloudwatch:PutMetricData", "*"),
}


def _allows(path: Path, action: str, resource: str) -> bool:
    for statement in json.loads(path.read_text())["Statement"]:
        actions, resources = (
            value if isinstance(value, list) else [value]
            for value in (statement["Action"], statement["Resource"])
        )
        if action in actions and any(fnmatchcase(resource, pattern) for pattern in resources):
            return True
    return False


def test_the_execution_role_may_do_what_a_training_needs_and_nothing_else() -> None:
    missing = {need for need in NEEDED if not _allows(ROLE, *need)}
    assert missing == set()
    assert _actions(ROLE) == {action for action, _ in NEEDED}


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", "arn:PARTITION:s3:::BUCKET/models/champion"),
        ("s3:PutObject", "arn:PARTITION:s3:::BUCKET/channels/train"),
        ("s3:DeleteObject", "arn:PARTITION:s3:::BUCKET/models/champion"),
        ("s3:GetObject", "arn:PARTITION:s3:::ANOTHER/channels/train"),
        ("logs:PutLogEvents", "arn:PARTITION:logs:REGION:ACCOUNT:log-group:/another:log-stream:x"),
    ],
)
def test_the_execution_role_reaches_nothing_beside_the_training(action: str, resource: str) -> None:
    assert not _allows(ROLE, action, resource)


def test_the_folders_of_the_execution_role_are_those_of_the_example_dags() -> None:
    for name in ("retrain_flight_delays.py", "retrain_with_approval.py"):
        source = (ROOT / "dags" / name).read_text()
        assert set(re.findall(r"s3://\{BUCKET\}/(\w+)", source)) == {*WRITTEN, *KEPT}, name
        assert set(re.findall(r"prefix=f\"(\w+)/", source)) <= set(READ), name


def test_only_sagemaker_may_take_the_execution_role_and_only_for_its_own_account() -> None:
    (statement,) = json.loads((ROOT / "docs" / "iam" / "execution-role-trust.json").read_text())["Statement"]
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "ACCOUNT"}}


def test_the_docs_list_every_permission_the_caller_needs() -> None:
    text = (ROOT / "docs" / "security.md").read_text().split("| permission of the connection |")[1]
    actions = _actions(ROOT / "docs" / "iam" / "caller-policy.json")
    listed = set(re.findall(r"`((?:sagemaker|logs|pricing|sqs|iam|s3):\w+)`", text.split("\n\n")[0]))
    assert listed == actions


def test_every_policy_is_named_in_the_docs_on_security() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    for path in (ROOT / "docs" / "iam").glob("*.json"):
        assert f"(iam/{path.name})" in text
