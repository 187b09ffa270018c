"""SageMaker, CloudWatch Logs and the price list by way of an Airflow connection."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from . import settings
from .domain.errors import InvalidInput
from .process import PerProcess

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from .sagemaker.checkpoints import CheckpointPrefix
    from .sagemaker.jobs import TrainingJobs
    from .sagemaker.logs import TrainingLogs
    from .sagemaker.prices import PriceList
    from .watching.events import EventQueue, StateChanges
    from .watching.periodic import Renewed
    from .watching.rate_limit import RateLimit
    from .watching.watcher import JobWatcher

#: The Amazon provider's connection, which may be missing.
DEFAULT_CONNECTION = "aws_default"

#: botocore's own retries (with jitter), more patient than its three: twenty attempts last through about two
#: minutes of internal failures, whose backoff begins at 50 ms, and longer through throttling.
DEFAULT_BOTOCORE_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 20},
    "connect_timeout": 10,
    "read_timeout": 60,
    "user_agent_extra": "spot-training",
}

#: A watcher looks again anyway, and must notice soon that AWS does not answer. More than SQS's long poll.
WATCHING_BOTOCORE_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "read_timeout": 30,
}


#: A thread that reads live logs, or looks at checkpoints, does so for many jobs: a call without an answer
#: delays the others by so long.
LIVE_LOGS_BOTOCORE_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "connect_timeout": 3,
    "read_timeout": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """How to reach AWS: what operator, sensor and trigger take and pass to each other. Holds no secret."""

    aws_conn_id: str | None = DEFAULT_CONNECTION
    region_name: str | None = None
    verify: bool | str | None = None
    botocore_config: dict[str, Any] | None = None
    events_queue_url: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Distinguishes one access from another: the key of the shared watcher."""
        return tuple(str(value) for value in asdict(self).values())

    def shared(self) -> AwsAccess:
        """The process's one value of this access: ten thousand triggers hold it instead of their own."""
        return _shared.get(lambda: self, key=self.key)

    def jobs(self) -> TrainingJobs:
        from .sagemaker.jobs import TrainingJobs

        return TrainingJobs(self._client("sagemaker"))

    def logs(self) -> TrainingLogs:
        from .sagemaker.logs import TrainingLogs

        return TrainingLogs(self._client("logs"))

    def watching(self) -> AwsAccess:
        """The same access for callers that look again anyway: its clients give up soon."""
        return replace(self, botocore_config={**WATCHING_BOTOCORE_CONFIG, **(self.botocore_config or {})})

    def watcher(self) -> JobWatcher:
        """The process's one watcher for this access; it makes its clients with the first call it needs."""
        from .watching.shared import shared_watcher

        return shared_watcher(
            self.key,
            self._jobs_to_watch,
            make_logs=self._live_logs,
            make_events=self._state_changes,
            rate_limit=self.rate_limit(),
        )

    def rate_limit(self) -> RateLimit:
        """The process's one rate limit of calls for waiting, as configured. Raises `InvalidInput`."""
        from .watching.rate_limit import shared_rate_limit

        return shared_rate_limit(settings.number("calls_per_second"))

    def _jobs_to_watch(self) -> TrainingJobs:
        return self.watching().jobs()

    def _live_logs(self) -> TrainingLogs:
        config = {**LIVE_LOGS_BOTOCORE_CONFIG, **(self.botocore_config or {})}
        return replace(self, botocore_config=config).logs()

    def _state_changes(self) -> StateChanges | None:
        from .watching.events import shared_state_changes

        url = self.events_queue_url or settings.text("events_queue_url")
        if not url:
            return None
        is_shared = settings.flag("events_queue_is_shared")
        return shared_state_changes(url, lambda: self.watching().queue(url), is_shared=is_shared)

    def queue(self, url: str) -> EventQueue:
        from .watching.events import LONG_POLL_SECONDS, EventQueue, region_of_queue

        # An empty queue answers after the long poll: no configured timeout may be shorter.
        configured = (self.botocore_config or {}).get("read_timeout", math.inf)
        timeout = {"read_timeout": max(configured, LONG_POLL_SECONDS + 10)} if configured < math.inf else {}
        return EventQueue(self._client("sqs", region_name=region_of_queue(url), **timeout), url)

    def prices(self, region: str) -> PriceList:
        """The Price List API that has the prices of `region`: only few regions have that API."""
        from .sagemaker.prices import PriceList, home_of

        return PriceList(self._client("pricing", region_name=home_of(region)))

    def checkpoints(self, uri: str) -> CheckpointPrefix:
        """A checkpoint prefix, to look at. All prefixes of this access share one client."""
        from .sagemaker.checkpoints import CheckpointPrefix
        from .watching.periodic import Renewed

        return CheckpointPrefix(_s3_clients.get(lambda: Renewed(self._s3_to_look_at), key=self.key), uri)

    def _s3_to_look_at(self) -> BaseClient:
        config = {**LIVE_LOGS_BOTOCORE_CONFIG, **(self.botocore_config or {})}
        client = replace(self, botocore_config=config).s3()
        self.rate_limit().ration(client)
        return client

    def s3(self) -> BaseClient:
        """For the ledger's files, and for checkpoints, on S3."""
        return self._client("s3")

    def role_arn(self, name: str) -> str:
        """The ARN of an IAM role. Asks once in a process. Raises what `arn_of_role` does."""
        from .sagemaker.roles import arn_of_role

        return _roles.get(lambda: arn_of_role(name, lambda: self._client("iam")), key=(*self.key, name))

    def account(self) -> str:
        """The account of the credentials, by STS, which networks with VPC endpoints may lack."""
        client: Any = self._client("sts")
        return str(client.get_caller_identity()["Account"])

    def _client(self, service: str, *, region_name: str | None = None, **config: Any) -> BaseClient:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        from .compat import ask_airflow

        hook = AwsBaseHook(
            aws_conn_id=self.aws_conn_id,
            region_name=region_name or self.region_name,
            verify=self.verify,
            client_type=service,
        )
        with _refusing_bad_settings(self.aws_conn_id):
            return ask_airflow(lambda: _client_of(hook, {**(self.botocore_config or {}), **config}))


_shared: PerProcess[AwsAccess] = PerProcess()
_roles: PerProcess[str] = PerProcess()
_s3_clients: PerProcess[Renewed[BaseClient]] = PerProcess()


def _client_of(hook: Any, own_config: dict[str, Any]) -> BaseClient:
    """The client that `hook.get_conn()` makes, with a config that overrides the connection's `config_kwargs`.

    `get_conn` itself would search the source of the whole call stack for a caller's name for the user agent.
    """
    from botocore.config import Config

    from .sagemaker.calls import count_calls
    from .sagemaker.service_models import sharing_service_models

    connection = hook.conn_config
    _check_is_known(hook.aws_conn_id, connection)
    connection.botocore_config = (
        Config(**DEFAULT_BOTOCORE_CONFIG).merge(hook.config).merge(Config(**own_config))
    )
    with _without_notes_of_botocore():
        session = hook.get_session(region_name=hook.region_name)
        with sharing_service_models(session):
            client: BaseClient = session.client(
                hook.service_name,
                endpoint_url=connection.get_service_endpoint_url(hook.service_name),
                config=hook.config,
                verify=hook.verify,
            )
    count_calls(client)
    return client


_is_making_one: ContextVar[bool] = ContextVar("is_making_one", default=False)


def _is_for_the_log(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _is_making_one.get()


@contextlib.contextmanager
def _without_notes_of_botocore() -> Iterator[None]:
    """Leave out where botocore found credentials and endpoint: the task log would have it at each resume.

    Only for our own clients: other code in the process logs as before, and so do warnings.
    """
    for name in ("botocore.credentials", "botocore.configprovider"):
        logging.getLogger(name).addFilter(_is_for_the_log)
    token = _is_making_one.set(True)
    try:
        yield
    finally:
        _is_making_one.reset(token)


def _check_is_known(aws_conn_id: str | None, connection: Any) -> None:
    """Refuse a connection that Airflow does not know: the Amazon provider uses ambient credentials instead.

    `aws_default` may be missing, as in the provider: then boto3 finds the credentials.
    """
    if aws_conn_id and aws_conn_id != DEFAULT_CONNECTION and not connection:
        raise InvalidInput(
            "aws_conn_id",
            aws_conn_id,
            "Airflow has no such connection. Create it or correct the name. To use the credentials of the "
            f"machine on purpose, give None or {DEFAULT_CONNECTION}.",
        )


@contextlib.contextmanager
def _refusing_bad_settings(aws_conn_id: str | None) -> Iterator[None]:
    """A client that cannot be made with these settings is bad input; credentials that fail are not."""
    from botocore import exceptions as botocore

    try:
        yield
    except (
        botocore.HTTPClientError,
        botocore.ConnectionError,
        botocore.NoCredentialsError,
        botocore.SSOError,
        botocore.CredentialRetrievalError,
        botocore.MetadataRetrievalError,
        botocore.TokenRetrievalError,
        InvalidInput,
    ):
        raise
    except (botocore.BotoCoreError, TypeError, ValueError, AttributeError) as error:
        way_out = (
            f"no client can be made with it ({error}). Check its extras, region_name and botocore_config."
        )
        raise InvalidInput("aws_conn_id", aws_conn_id, way_out) from error
