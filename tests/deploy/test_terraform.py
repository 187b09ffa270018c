"""The Terraform module of the AWS side, in deploy/terraform."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests import terraform

from .support import DEPLOY, ROOT, is_option

FOLDER = DEPLOY / "terraform"
TEXT = terraform.read_text(FOLDER)
IAM = ROOT / "docs" / "iam"
README = (FOLDER / "README.md").read_text()
#: What a module's values are, by the expression that replaces a word.
VALUES = {
    "${local.events}-*": "spot-training-events-*",
    "code": "code",
    "var.ledger_prefix": "ledger",
    "local.execution_role": "spot-training-execution",
    "var.bucket": "my-bucket",
    "local.partition": "aws-cn",
    "local.region": "cn-north-1",
    "local.account": "123456789012",
}


@pytest.fixture(scope="module")
def module() -> dict[str, list[Any]]:
    return terraform.parse(FOLDER)


def _named(blocks: list[Any]) -> dict[str, Any]:
    return {name.strip('"'): body for block in blocks for name, body in block.items()}


def test_the_files_parse_and_refer_to_what_there_is(module: dict[str, list[Any]]) -> None:
    assert {"resource", "variable", "output", "module"} <= module.keys()
    assert terraform.find_undefined(FOLDER) == set()


def test_a_reference_to_nothing_is_found(tmp_path: Any) -> None:
    (tmp_path / "main.tf").write_text(TEXT.replace('variable "bucket"', 'variable "bucked"'))
    assert terraform.find_undefined(tmp_path) == {"variable.bucket"}


def test_no_file_names_a_partition() -> None:
    assert "arn:aws" not in TEXT
    assert 'data "aws_partition" "current"' in TEXT


def _replacements() -> list[tuple[str, str]]:
    """Word -> expression, in the order in which Terraform replaces them."""
    body = TEXT.split("file(", 1)[1].split("caller_policies", 1)[0]
    return re.findall(r'^ +"([\w-]+)", "?([^"\n]+?)"?\),?$', body, re.MULTILINE)


def test_the_policies_are_those_of_the_docs_and_nothing_in_them_is_left_to_replace() -> None:
    (names,) = re.findall(r"for name in \[(.*)\]", TEXT.split("policies = {", 1)[1].split("file(", 1)[0])
    assert {f"{name}.json" for name in json.loads(f"[{names}]")} == {path.name for path in IAM.glob("*.json")}
    assert len(_replacements()) == len(VALUES) == TEXT.count("replace(")
    for path in IAM.glob("*.json"):
        text = path.read_text()
        for word, expression in _replacements():
            text = text.replace(word, VALUES[expression])
        for statement in json.loads(text)["Statement"]:
            rest = {name: value for name, value in statement.items() if name not in {"Sid", "Action"}}
            assert re.findall(r"\b[A-Z]{4,}\b", json.dumps(rest)) == [], path.name
            assert set(re.findall(r"arn:([^:]+):", json.dumps(rest))) <= {"aws-cn"}


def test_every_role_has_the_policies_of_the_docs(module: dict[str, list[Any]]) -> None:
    assert 'policy = local.policies["execution-role-policy"]' in TEXT
    assert 'assume_role_policy = local.policies["execution-role-trust"]' in TEXT
    assert 'setunion(["caller-policy", "ledger-policy"], var.allow_uploads ? ["uploads-policy"] : [])' in TEXT
    roles = [block for block in module["resource"] if '"aws_iam_role"' in block or "aws_iam_role" in block]
    assert len(roles) == 2


def test_only_checkpoints_expire(module: dict[str, list[Any]]) -> None:
    """The ledger has a command of its own, and models and data are the user's."""
    lifecycle = TEXT.split('"aws_s3_bucket_lifecycle_configuration"')[1]
    rules = re.findall(r"  rule \{\n(.*?)^  \}", lifecycle, re.MULTILINE | re.DOTALL)
    expiring = [rule for rule in rules if re.search(r"^    expiration ", rule, re.MULTILINE)]
    assert len(expiring) == 1
    assert 'prefix = "checkpoints/"' in expiring[0]
    assert module["resource"]


def test_every_variable_says_what_it_is_and_is_in_the_readme(module: dict[str, list[Any]]) -> None:
    variables = _named(module["variable"])
    for name, body in variables.items():
        assert body["description"], name
        assert "type" in body, name
        assert f"`{name}`" in README, name
        assert f"var.{name}" in TEXT.replace(f'variable "{name}"', ""), name
    free = {"create_bucket", "allow_uploads", "caller_services", "job_name_prefix"}
    assert {name for name, body in variables.items() if "validation" not in body} == free


def test_the_outputs_are_settings_that_there_are(module: dict[str, list[Any]]) -> None:
    outputs = _named(module["output"])
    assert {"airflow_settings", "queue_urls", "execution_role_arn", "locations"} <= outputs.keys()
    options = re.findall(r"AIRFLOW__SPOT_TRAINING__(\w+)", TEXT)
    assert options
    assert all(is_option("spot_training", name.lower()) for name in options)
