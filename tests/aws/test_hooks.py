"""Clients by way of an Airflow connection: what it says, what the task says, and how they are made."""

from __future__ import annotations

import gc
import json
import os
import threading
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from spot_training import collector
from spot_training.collector import collector_at_rest
from spot_training.hooks import DEFAULT_BOTOCORE_CONFIG, AwsAccess


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


def test_the_collector_rests_until_the_last_thread_is_done() -> None:
    assert gc.isenabled()
    is_in, may_leave = threading.Event(), threading.Event()

    def rest() -> None:
        with collector_at_rest():
            is_in.set()
            assert may_leave.wait(30)

    thread = threading.Thread(target=rest)
    with collector_at_rest():
        thread.start()
        assert is_in.wait(30)
    assert not gc.isenabled()
    may_leave.set()
    thread.join()
    assert gc.isenabled()


def test_the_collector_is_on_again_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), collector_at_rest():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def freezes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many objects the process had each time it was frozen, in a process that never was."""
    seen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(len(gc.get_objects())))
    monkeypatch.setattr(collector, "_frozen", set())
    return seen


def test_what_is_loaded_is_frozen_before_the_first_trigger_registers(freezes: list[int]) -> None:
    for _ in range(5):
        AwsAccess(aws_conn_id="mine").watcher()
        assert len(freezes) == 1


def test_a_watchers_client_that_is_made_anew_freezes_no_garbage(connect: Any, freezes: list[int]) -> None:
    connect(region_name="eu-west-1")
    for _ in range(5):
        AwsAccess(aws_conn_id="mine")._jobs_to_watch()
        assert len(freezes) == 1


def test_a_forked_child_has_a_collector_that_works() -> None:
    with collector_at_rest(), collector._lock:
        child = os.fork()
        if child == 0:  # pragma: no cover
            was_on = gc.isenabled()
            with collector_at_rest():
                was_off = not gc.isenabled()
            os._exit(0 if was_on and was_off and gc.isenabled() and not collector._frozen else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_logs_that_are_shown_live_hold_the_watcher_up_for_seconds_only(connect: Any) -> None:
    connect(region_name="eu-west-1")
    config = AwsAccess(aws_conn_id="mine")._live_logs()._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 5)
    assert config.retries["total_max_attempts"] == 1
    patient = AwsAccess(aws_conn_id="mine", botocore_config={"read_timeout": 9})._live_logs()
    assert patient._client.meta.config.read_timeout == 9
