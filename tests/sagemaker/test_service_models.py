"""The process reads AWS's service models once, and of SageMaker's it keeps what it calls."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import boto3
import pytest
from botocore import xform_name
from botocore.loaders import JSONFileLoader, Loader

from spot_training.connections import AwsAccess
from spot_training.process import PerProcess
from spot_training.sagemaker import service_models
from spot_training.sagemaker.service_models import OPERATIONS, sagemaker_model, sharing_service_models
from tests.cloud import Cloud

JOBS = Path(service_models.__file__).with_name("jobs.py")


@pytest.fixture
def access(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> AwsAccess:
    """A way to the local cloud, in a process that has read no model so far."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setattr(service_models, "_loaders", PerProcess())
    return AwsAccess(aws_conn_id=None, region_name="us-east-1")


def test_a_client_has_the_operations_that_the_product_calls_and_no_others(access: AwsAccess) -> None:
    source = JOBS.read_text()
    called = set(re.findall(r"_client\.(\w+)\(", source)) | set(
        re.findall(r"get_paginator\(\"(\w+)\"", source)
    )
    assert called - {"get_paginator"} == {xform_name(name) for name in OPERATIONS}
    assert set(access.jobs()._client.meta.service_model.operation_names) == OPERATIONS


def test_the_descriptions_of_these_operations_are_botocores_own() -> None:
    whole = Loader().load_service_model("sagemaker", "service-2")
    ours = sagemaker_model()
    for name in OPERATIONS:
        assert ours.operation_model(name).documentation == whole["operations"][name]["documentation"]
    for name in ours.shape_names:
        assert ours.shape_for(name).type_name == whole["shapes"][name]["type"]
    assert len(ours.shape_names) < len(whole["shapes"]) / 4


def test_the_files_are_read_once_for_all_clients_of_a_process(
    access: AwsAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = JSONFileLoader.load_file

    def counting(self: JSONFileLoader, file_path: str) -> object:
        read.append(file_path)
        return load(self, file_path)

    monkeypatch.setattr(JSONFileLoader, "load_file", counting)
    access.jobs()
    of_one_client = [path for path in read if "service-2" in path or "endpoints" in path]
    assert of_one_client
    access.jobs()
    access.watching().jobs()
    assert [path for path in read if "service-2" in path or "endpoints" in path] == of_one_client


def test_threads_that_make_their_clients_at_once_get_whole_ones(access: AwsAccess) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(list(access.jobs().live())))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 8


def test_a_model_from_the_users_own_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    session = boto3.Session(region_name="us-east-1")
    with sharing_service_models(session):
        assert str(tmp_path) in session._session.get_component("data_loader").search_paths


def test_other_clients_of_the_process_keep_the_whole_model(access: AwsAccess) -> None:
    """Of the same session too: `[aws] session_factory` may hand one session to all."""
    session = boto3.Session(region_name="us-east-1")
    with sharing_service_models(session):
        ours = session.client("sagemaker")
    assert "CreateEndpoint" not in ours.meta.service_model.operation_names
    access.jobs()
    for other in (session, boto3.Session(region_name="us-east-1")):
        assert "CreateEndpoint" in other.client("sagemaker").meta.service_model.operation_names
