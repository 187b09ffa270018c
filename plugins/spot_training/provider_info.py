"""What this package tells Airflow about itself, as every provider does.

`airflow providers list` shows the package, `airflow config list` its settings and their defaults. Each of
Airflow's processes imports this at its start, so this imports nothing.
"""

from __future__ import annotations

from typing import Any

PACKAGE = "airflow-provider-spot-training"
_DOCS = "https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html"
_INTEGRATION = "Amazon SageMaker managed spot training"


def _option(
    description: str,
    *,
    default: str | None = None,
    example: str | None = None,
    kind: str = "string",
    since: str = "0.1.0",
) -> dict[str, Any]:
    return {
        "description": f"{description}\n",
        "version_added": since,
        "type": kind,
        "example": example,
        "default": default,
    }


#: Every setting of `[spot_training]`. The same for workers, triggerer, scheduler and API server.
OPTIONS = {
    "installation": _option(
        "The name of this Airflow in job names, tags and records. Earlier names may follow, separated by "
        "commas. Default: an identity that is created once in the metadata database.",
        example="production",
    ),
    "ledger": _option(
        "Where the records of all trainings are: a folder, or a URL that Airflow's ObjectStoragePath takes. "
        "All machines must see the same place. Default: the folder spot_ledger in AIRFLOW_HOME.",
        example="s3://bucket/prefix",
    ),
    "ledger_is_merged_in_one_place": _option(
        "Only one sweeper merges the ledger. Needed on stores without conditional writes.",
        default="False",
        kind="boolean",
        since="0.2.0",
    ),
    "prices_file": _option(
        "A YAML file with on-demand prices. With it, AWS's price list is never asked.",
        example="/opt/airflow/prices.yaml",
    ),
    "policy_file": _option(
        "A YAML file with fallback policies by name, for Dags to share.",
        example="/opt/airflow/policies.yaml",
    ),
    "budget": _option(
        "What each Dag may cost in a calendar month, in US dollars, where the operator does not say. "
        "On-demand above it is not bought: the training waits for spot.",
        example="200",
    ),
    "calls_per_second": _option(
        "How many calls to AWS all watchers of one process make per second at most.",
        default="5.0",
        kind="float",
    ),
    "events_queue_url": _option(
        "An SQS queue with the state changes of training jobs. With it, deferred tasks learn of a change "
        "within a second or two.",
        example="https://sqs.us-east-1.amazonaws.com/123456789012/spot-training-events",
    ),
    "events_queue_is_shared": _option(
        "Several triggerers receive from the events queue.", default="False", kind="boolean"
    ),
    "sweeper_connections": _option(
        "Where the sweeper looks for orphaned training jobs: AWS connections, each with a region if it is "
        "not the connection's own. Default: aws_default.",
        example="aws_default, research@eu-west-1",
    ),
    "sweeper_stops": _option(
        "The sweeper may stop orphaned training jobs. Without it, it only reports them.",
        default="False",
        kind="boolean",
    ),
}


def get_provider_info() -> dict[str, Any]:
    """The package in the form of Airflow's `provider_info.schema.json`."""
    package = "spot_training"
    return {
        "package-name": PACKAGE,
        "name": "Spot training",
        "description": "Managed spot training on Amazon SageMaker, brought to its end from Apache Airflow.\n",
        "integrations": [
            {"integration-name": _INTEGRATION, "external-doc-url": _DOCS, "tags": ["aws", "machine-learning"]}
        ],
        "operators": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.operators"]}],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.sensors"]}],
        "triggers": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.triggers"]}],
        "extra-links": [f"{package}.links.{name}" for name in ("PageLink", "JobLink", "LogLink")],
        "config": {
            "spot_training": {
                "description": "Managed spot training on Amazon SageMaker.\n",
                "options": OPTIONS,
            }
        },
    }
