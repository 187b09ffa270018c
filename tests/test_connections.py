"""Clients by way of an Airflow connection: what it says, what the task says, and how they are made."""

from __future__ import annotations

import gc
import json
from typing import Any

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from spot_training.connections import DEFAULT_BOTOCORE_CONFIG, AwsAccess
from spot_training.domain.errors import InvalidInput


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what is in the connection `mine`."""

    def connect(**extra: Any) -> None:
        connection = {"conn_type": "aws", "login": "AKIA", "password": "secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(connection))

    return connect


def _client(**access: Any) -> Any:
    return AwsAccess(aws_conn_id="mine", **access)._client("sagemaker")


def test_a_connections_own_config_holds(connect: Any) -> None:
    connect(region_name="eu-west-1", config_kwargs={"proxies": {"https": "proxy:3128"}, "connect_timeout": 3})
    client = _client()
    assert client.meta.region_name == "eu-west-1"
    assert client.meta.config.proxies == {"https": "proxy:3128"}
    assert client.meta.config.connect_timeout == 3
    assert client.meta.config.read_timeout == DEFAULT_BOTOCORE_CONFIG["read_timeout"]
    assert client.meta.config.retries["total_max_attempts"] == 20
    assert "spot-training" in client.meta.config.user_agent_extra


def test_what_a_task_says_goes_before_its_connection(connect: Any) -> None:
    connect(region_name="eu-west-1", config_kwargs={"connect_timeout": 3, "read_timeout": 4})
    client = _client(region_name="us-west-2", botocore_config={"connect_timeout": 5})
    assert client.meta.region_name == "us-west-2"
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (5, 4)


def test_a_connections_endpoint_credentials_and_certificates_hold(connect: Any) -> None:
    connect(
        region_name="eu-west-1",
        verify=False,
        service_config={"sagemaker": {"endpoint_url": "https://mine.example"}},
    )
    client = _client()
    assert client.meta.endpoint_url == "https://mine.example"
    assert client._request_signer._credentials.access_key == "AKIA"
    assert client._endpoint.http_session._verify is False


def test_a_role_is_assumed_with_the_same_config(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory

    asked: list[Any] = []

    def assume(factory: Any, **_: Any) -> Any:
        asked.append((factory.extra_config["role_arn"], factory.config.proxies, factory.config.retries))
        return boto3.session.Session(region_name="eu-west-1")

    monkeypatch.setattr(BaseSessionFactory, "_create_session_with_assume_role", assume)
    role = "arn:aws:iam::123456789012:role/training"
    connect(region_name="eu-west-1", role_arn=role, config_kwargs={"proxies": {"https": "proxy:3128"}})
    _client()
    assert asked == [(role, {"https": "proxy:3128"}, DEFAULT_BOTOCORE_CONFIG["retries"])]


@pytest.mark.parametrize(
    "trouble",
    [EndpointConnectionError(endpoint_url="https://sts"), ConnectTimeoutError(endpoint_url="https://sts")],
)
def test_credentials_that_cannot_be_had_just_now_are_no_bad_input(
    connect: Any, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """A retry may have them; bad input would fail the task for good, and stop a healthy job."""
    from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory

    def fail(_factory: Any, **_: Any) -> Any:
        raise trouble

    monkeypatch.setattr(BaseSessionFactory, "_create_session_with_assume_role", fail)
    connect(region_name="eu-west-1", role_arn="arn:aws:iam::123456789012:role/training")
    with pytest.raises(type(trouble)):
        _client()


def test_the_hosts_garbage_collector_is_left_alone(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer also runs other people's triggers."""
    touched: list[str] = []
    for name in ("disable", "enable", "freeze", "unfreeze", "set_threshold", "set_debug", "collect"):
        monkeypatch.setattr(gc, name, lambda *_args, name=name: touched.append(name))
    connect(region_name="eu-west-1")
    access = AwsAccess(aws_conn_id="mine")
    watcher = access.watcher()
    assert watcher is access.watcher()
    access._jobs_to_watch()
    _client()
    assert touched == []


def test_logs_that_are_shown_live_hold_the_watcher_up_for_seconds_only(connect: Any) -> None:
    connect(region_name="eu-west-1")
    config = AwsAccess(aws_conn_id="mine")._live_logs()._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 5)
    assert config.retries["total_max_attempts"] == 1
    patient = AwsAccess(aws_conn_id="mine", botocore_config={"read_timeout": 9})._live_logs()
    assert patient._client.meta.config.read_timeout == 9


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow answers that it knows no connection; the machine has credentials of its own."""

    def not_found(_hook: object, conn_id: str) -> None:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr(AwsBaseHook, "get_connection", not_found)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize("service", ["sagemaker", "logs", "s3"])
def test_a_mistyped_connection_does_not_fall_back_to_the_machines_credentials(
    no_connections: None, service: str
) -> None:
    with pytest.raises(
        InvalidInput, match=r"^aws_conn_id is 'aws_prodd': Airflow has no such connection"
    ) as it:
        AwsAccess(aws_conn_id="aws_prodd")._client(service)
    assert "None or aws_default" in str(it.value)


@pytest.mark.parametrize("aws_conn_id", ["aws_default", None])
def test_the_default_connection_may_be_missing(no_connections: None, aws_conn_id: str | None) -> None:
    client: Any = AwsAccess(aws_conn_id=aws_conn_id)._client("sagemaker")
    assert client._request_signer._credentials.access_key == "AMBIENT"


def test_a_connection_that_cannot_be_read_at_the_moment_is_not_bad_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_hook: object, _conn_id: str) -> None:
        raise ConnectionError("the API server does not answer")

    monkeypatch.setattr(AwsBaseHook, "get_connection", fail)
    with pytest.raises(ConnectionError):
        AwsAccess(aws_conn_id="aws_prod")._client("sagemaker")


def test_our_clients_do_not_note_in_the_task_log_where_botocore_found_its_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    caplog.set_level("INFO", "botocore")
    client = AwsAccess(aws_conn_id=None, region_name="eu-west-1")._client("sagemaker")
    assert client.meta.endpoint_url == "http://127.0.0.1:9"
    assert [record.name for record in caplog.records if record.name.startswith("botocore")] == []
    boto3.session.Session(region_name="eu-west-1").client("sagemaker")  # somebody else's in the same process
    names = {record.name for record in caplog.records}
    assert names >= {"botocore.credentials", "botocore.configprovider"}
