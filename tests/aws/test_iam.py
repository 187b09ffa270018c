"""The IAM policies in the docs against the calls the code makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader

ROOT = Path(__file__).resolve().parents[2]
AWS = ROOT / "plugins" / "spot_training" / "aws"
#: boto3 client -> the module that holds the calls, and IAM's prefix.
SERVICES = {
    "sagemaker": AWS / "jobs.py",
    "logs": AWS / "logs.py",
    "pricing": AWS / "prices.py",
    "sqs": AWS / "events.py",
}
#: SQS's batches are allowed with the single call.
BATCHES = re.compile(r"^(sqs:\w+)Batch$")
LEDGER = ROOT / "plugins" / "spot_training" / "ledger" / "s3.py"
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
    methods = set(re.findall(r"self\._client\.(\w+)\(", source)) - {"get_paginator"}
    methods |= set(re.findall(r"get_paginator\(\"(\w+)\"\)", source))
    assert methods <= set(operations), methods - set(operations)
    return {f"{service}:{operations[method]}" for method in methods}


def test_the_callers_policy_allows_what_the_code_calls_and_nothing_else() -> None:
    made = {
        BATCHES.sub(r"\1", call) for service, module in SERVICES.items() for call in _calls(service, module)
    }
    assert _actions(ROOT / "docs" / "iam" / "caller-policy.json") == made | IMPLIED


def test_the_policy_for_a_ledger_on_s3_allows_what_its_files_need_and_nothing_else() -> None:
    made = {S3_NAMES.get(call, call) for call in _calls("s3", LEDGER)}
    assert _actions(ROOT / "docs" / "iam" / "ledger-policy.json") == made


def test_no_other_module_of_the_product_calls_aws() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        if path not in {*SERVICES.values(), LEDGER}:
            assert "_client." not in path.read_text().replace("self._client(", ""), path


def test_no_policy_allows_everything() -> None:
    for path in (ROOT / "docs" / "iam").glob("*.json"):
        assert not any("*" in action for action in _actions(path)), path


def test_passing_the_role_is_limited_to_sagemaker() -> None:
    statements = json.loads((ROOT / "docs" / "iam" / "caller-policy.json").read_text())["Statement"]
    (passing,) = [s for s in statements if s["Action"] == "iam:PassRole"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
