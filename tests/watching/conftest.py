"""The queue of events on the local cloud."""

from __future__ import annotations

import pytest

from tests.cloud import Cloud

from .support import INFRA


@pytest.fixture
def queue_url(cloud: Cloud) -> str:
    """A queue and the rule that fills it, as the CloudFormation template makes them."""
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName="spot-training-events",
        TemplateBody=(INFRA / "events.cloudformation.yaml").read_text(),
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = formation.describe_stacks(StackName="spot-training-events")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return str(outputs["QueueUrl"])
