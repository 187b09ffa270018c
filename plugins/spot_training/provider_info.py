"""The provider information that Airflow reads.

`airflow providers list` shows the package, `airflow config list` its options and their defaults. Each process
of Airflow imports this module when it starts, so it imports nothing.
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


#: Every option of `[spot_training]`. Set the same values for workers, triggerer, scheduler and API server.
OPTIONS = {
    "installation": _option(
        "The name of this Airflow in job names, tags and records. Earlier names may follow, separated by "
        "commas. The default is an identity that is created once in the metadata database.",
        example="production",
    ),
    "ledger": _option(
        "Where the records of all trainings are stored: a folder, or a URL for Airflow's ObjectStoragePath. "
        "All machines must use the same storage. The default is the folder spot_ledger in AIRFLOW_HOME.",
        example="s3://bucket/prefix",
    ),
    "ledger_is_merged_in_one_place": _option(
        "Whether only one sweeper merges the ledger. Required for storage without conditional writes.",
        default="False",
        kind="boolean",
        since="0.2.0",
    ),
    "ledger_keep_months": _option(
        "How many months of records the ledger keeps, this one included, at least 7. The sweeper's Dag "
        "removes earlier ones. By default, all are kept.",
        example="36",
        since="0.3.0",
    ),
    "prices_file": _option(
        "A YAML file with on-demand prices. If it is set, AWS's price list is not used.",
        example="/opt/airflow/prices.yaml",
    ),
    "policy_file": _option(
        "A YAML file with named fallback policies that Dags can share.",
        example="/opt/airflow/policies.yaml",
    ),
    "budget": _option(
        "The budget of each Dag for a calendar month, in US dollars, unless the operator sets one. If "
        "on-demand would exceed the budget, the training waits for spot instead.",
        example="200",
    ),
    "calls_per_second": _option(
        "The rate limit for calls to AWS, per second, of all watchers in a process.",
        default="5.0",
        kind="float",
    ),
    "events_queue_url": _option(
        "The URL of an SQS queue with the state changes of training jobs. With it, deferred tasks notice a "
        "change within a second or two.",
        example="https://sqs.us-east-1.amazonaws.com/123456789012/spot-training-events",
    ),
    "events_queue_is_shared": _option(
        "Whether several triggerers receive from the events queue.", default="False", kind="boolean"
    ),
    "sweeper_connections": _option(
        "The AWS connections with which the sweeper looks for orphaned training jobs, each with a region if "
        "it is not that of the connection. The default is aws_default.",
        example="aws_default, research@eu-west-1",
    ),
    "sweeper_stops": _option(
        "Whether the sweeper stops orphaned training jobs. By default, it only reports them.",
        default="False",
        kind="boolean",
    ),
    "local_sagemaker_url": _option(
        "The address at which a browser opens the local SageMaker, if it is not the one that the tasks call, "
        "as in containers. The buttons of a task instance and the links of page and report lead there.",
        example="http://localhost:4566",
        since="0.3.0",
    ),
}


def get_provider_info() -> dict[str, Any]:
    """The provider information, as `provider_info.schema.json` of Airflow defines it."""
    package = "spot_training"
    return {
        "package-name": PACKAGE,
        "name": "Spot training",
        "description": "Managed spot training on Amazon SageMaker, with fallback to on-demand.\n",
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
