"""SageMaker, CloudWatch Logs and the price list by way of an Airflow connection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from .aws.jobs import TrainingJobs
    from .aws.logs import TrainingLogs
    from .aws.prices import PriceList

#: botocore's own retries (with jitter), more patient than its three: a throttled poll is no failure.
DEFAULT_BOTOCORE_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 10},
    "connect_timeout": 10,
    "read_timeout": 60,
    "user_agent_extra": "spot-training",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """How to reach AWS: what operator, sensor and trigger take and hand on to each other. Holds no secret."""

    aws_conn_id: str | None = "aws_default"
    region_name: str | None = None
    verify: bool | str | None = None
    botocore_config: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells one access from another: the key of the shared watcher."""
        return tuple(str(value) for value in asdict(self).values())

    def jobs(self) -> TrainingJobs:
        from .aws.jobs import TrainingJobs

        return TrainingJobs(self._client("sagemaker"))

    def logs(self) -> TrainingLogs:
        from .aws.logs import TrainingLogs

        return TrainingLogs(self._client("logs"))

    def prices(self, region: str) -> PriceList:
        """The Price List API that knows the prices of `region`: it is in few regions."""
        from .aws.prices import PriceList, home_of

        return PriceList(self._client("pricing", region_name=home_of(region)))

    def _client(self, service: str, *, region_name: str | None = None) -> BaseClient:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        hook = AwsBaseHook(
            aws_conn_id=self.aws_conn_id,
            region_name=region_name or self.region_name,
            verify=self.verify,
            client_type=service,
            config={**DEFAULT_BOTOCORE_CONFIG, **(self.botocore_config or {})},
        )
        client: BaseClient = hook.get_conn()
        return client
