"""The templates that make the queue of events; CloudFormation's is made on the local cloud."""

from __future__ import annotations

import json
from typing import Any

import hcl2
import pytest
import yaml

from spot_training.watching.events import DETAIL_TYPE, SOURCE
from tests.cloud import Cloud
from tests.terraform import find_undefined

from .support import INFRA


class _Template(yaml.SafeLoader):
    """Reads `!Ref Queue` as the text "Ref Queue"."""


def _read_function(loader: _Template, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"{name} {node.value}"
    assert isinstance(node, yaml.SequenceNode)
    return [name, *loader.construct_sequence(node, deep=True)]


_Template.add_multi_constructor("!", _read_function)


def test_cloudformation_makes_a_rule_for_state_changes_of_training_jobs(cloud: Cloud, queue_url: str) -> None:
    events = cloud.client("events")
    (rule,) = events.list_rules()["Rules"]
    assert json.loads(rule["EventPattern"]) == {"source": [SOURCE], "detail-type": [DETAIL_TYPE]}
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    assert target["Arn"] == attributes["Attributes"]["QueueArn"]


def test_only_the_rule_may_send_to_the_queue() -> None:
    # moto makes no queue policies
    template = yaml.load((INFRA / "events.cloudformation.yaml").read_text(), _Template)  # noqa: S506
    policy = template["Resources"]["QueuePolicy"]["Properties"]
    assert policy["Queues"] == ["Ref Queue"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Resource"] == "GetAtt Queue.Arn"
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": "GetAtt Rule.Arn"}}


def test_cloudformation_can_narrow_the_rule_to_a_prefix(cloud: Cloud) -> None:
    cloud.client("cloudformation").create_stack(
        StackName="narrow",
        TemplateBody=(INFRA / "events.cloudformation.yaml").read_text(),
        Parameters=[{"ParameterKey": "JobNamePrefix", "ParameterValue": "retrain-"}],
    )
    (rule,) = cloud.client("events").list_rules()["Rules"]
    assert json.loads(rule["EventPattern"])["detail"] == {"TrainingJobName": [{"prefix": "retrain-"}]}


@pytest.fixture(scope="module")
def terraform() -> dict[str, dict[str, Any]]:
    """Kind of resource -> its one resource."""
    with (INFRA / "events.tf").open() as file:
        parsed = hcl2.load(file)
    resources: dict[str, dict[str, Any]] = {}
    for block in parsed["resource"]:
        for kind, named in block.items():
            (resources[kind.strip('"')],) = named.values()
    return resources


def test_terraform_makes_the_same(cloud: Cloud, queue_url: str, terraform: dict[str, Any]) -> None:
    assert set(terraform) == {
        "aws_cloudwatch_event_rule",
        "aws_cloudwatch_event_target",
        "aws_sqs_queue",
        "aws_sqs_queue_policy",
    }
    pattern = terraform["aws_cloudwatch_event_rule"]["event_pattern"]
    assert f'source = ["{SOURCE}"]' in pattern
    assert f'detail-type = ["{DETAIL_TYPE}"]' in pattern
    made = cloud.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    same = {
        "message_retention_seconds": "MessageRetentionPeriod",
        "visibility_timeout_seconds": "VisibilityTimeout",
        "receive_wait_time_seconds": "ReceiveMessageWaitTimeSeconds",
    }
    for ours, theirs in same.items():
        assert int(terraform["aws_sqs_queue"][ours]) == int(made[theirs])


def test_what_the_terraform_file_refers_to_is_there() -> None:
    assert find_undefined(INFRA) == set()
