"""The parts of the container contract that need no process: channels, images, config files."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import os
import socket
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local_sagemaker.containers.archives import ArchiveError, check_source, pack
from local_sagemaker.containers.contract import (
    channel_config,
    channels_of,
    checkpoint_folder,
    hosts_of,
    source_uri,
    write_config,
)
from local_sagemaker.containers.images import ImagesFileError, UnmappedImageError, load_images
from local_sagemaker.containers.inputs import (
    InputError,
    Volume,
    check_inputs,
    copy_channel,
    name_in_channel,
    volume_of,
)
from local_sagemaker.containers.interpreter import find_interpreter
from local_sagemaker.containers.written import remove, walk
from local_sagemaker.jobs.errors import ValidationError
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.services.objects import MotoObjects

from .support import ROOT, START, DictObjects, request_for, unpack

SCRIPT = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://bucket/source.tar.gz"}


def _job(**overrides: Any) -> TrainingJob:
    request = request_for(**overrides)
    return TrainingJob(name="job", request=request, created_at=START, last_modified_at=START)


def _channel(uri: str, **overrides: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri} | overrides
    return {"ChannelName": "train", "DataSource": {"S3DataSource": source}}


class _LargeBucket(MotoObjects):
    """A bucket of many objects, which notes those that it looks up."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []

    def _bucket(self, bucket: str) -> Any:  # noqa: ARG002
        return SimpleNamespace(keys=dict.fromkeys(f"data/{number}" for number in range(1000)))

    def _key(self, bucket: str, key: str) -> Any:  # noqa: ARG002
        self.looked_up.append(key)
        return key


def test_a_job_is_created_without_a_look_at_every_object_of_its_channels() -> None:
    """A bucket may have a million objects, and all calls of SageMaker are answered one after another."""
    objects = _LargeBucket()
    request = {
        "RoleArn": "role",
        "InputDataConfig": [_channel("s3://bucket/data"), _channel("s3://bucket/d")],
    }
    check_inputs(objects, "us-east-1", request)
    assert objects.looked_up == ["data/0", "data/0"]
    with pytest.raises(ValidationError, match="No S3 objects found"):
        check_inputs(
            objects, "us-east-1", {"RoleArn": "role", "InputDataConfig": [_channel("s3://bucket/x")]}
        )
    assert len(objects.looked_up) == 2


def _copied(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- channels ---


@pytest.mark.parametrize(
    ("prefix", "key", "name"),
    [
        ("data/train", "data/train/a.csv", "a.csv"),
        ("data/train/", "data/train/x/a.csv", "x/a.csv"),
        ("data/train/a.csv", "data/train/a.csv", "a.csv"),
        ("data/part-", "data/part-0.csv", "part-0.csv"),
        ("", "a.csv", "a.csv"),
        ("part", "part-0.csv", "part-0.csv"),
    ],
)
def test_a_channel_holds_paths_relative_to_its_prefix(prefix: str, key: str, name: str) -> None:
    assert name_in_channel(prefix, key) == name


def test_a_channel_is_copied_without_folder_markers(tmp_path: Path) -> None:
    objects = DictObjects()
    for key in ("data/", "data/a", "data/x/b"):
        objects.write("bucket", key, key.encode())
    copy_channel(objects, _channel("s3://bucket/data/"), tmp_path / "train")
    assert _copied(tmp_path / "train") == {"a": b"data/a", "x/b": b"data/x/b"}


def test_a_manifest_names_the_objects_of_a_channel(tmp_path: Path) -> None:
    objects = DictObjects()
    objects.write("bucket", "data/a", b"a")
    objects.write("bucket", "data/b", b"b")
    objects.write("bucket", "manifest", json.dumps([{"prefix": "s3://bucket/data/"}, "b"]).encode())
    copy_channel(objects, _channel("s3://bucket/manifest", S3DataType="ManifestFile"), tmp_path)
    assert _copied(tmp_path) == {"b": b"b"}


def test_sharded_channels_are_dealt_out_to_the_hosts(tmp_path: Path) -> None:
    objects = DictObjects()
    for name in "abcde":
        objects.write("bucket", f"data/{name}", b"")
    channel = _channel("s3://bucket/data/", S3DataDistributionType="ShardedByS3Key")
    for index in range(2):
        copy_channel(objects, channel, tmp_path / str(index), host_index=index, host_count=2)
    assert sorted(_copied(tmp_path / "0")) == ["a", "c", "e"]
    assert sorted(_copied(tmp_path / "1")) == ["b", "d"]


@pytest.mark.parametrize("uri", ["s3://bucket/nothing", "s3://missing/data"])
def test_an_empty_channel_is_a_client_error(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match=r"^ClientError: Data download failed"):
        copy_channel(DictObjects(), _channel(uri), tmp_path)


def test_a_key_that_would_leave_the_channel_is_refused(tmp_path: Path) -> None:
    objects = DictObjects()
    objects.write("bucket", "data/../../escaped", b"x")
    with pytest.raises(InputError, match="does not fit into a folder"):
        copy_channel(objects, _channel("s3://bucket/data/"), tmp_path / "train")
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("key", ["data/null\0byte", f"data/{'n' * 300}", "data/a/b", "data/.."])
def test_a_key_that_is_no_name_of_a_file_is_a_client_error(tmp_path: Path, key: str) -> None:
    objects = DictObjects()
    objects.write("bucket", "data/a", b"a")
    objects.write("bucket", key, b"x")
    with pytest.raises(InputError, match=r"^ClientError: Data download failed: the key .* does not fit into"):
        copy_channel(objects, _channel("s3://bucket/data/"), tmp_path / "train")


@pytest.mark.parametrize("manifest", [b"[" * 100_000, b"[1]", b"{}", b"\xff"])
def test_a_manifest_that_is_none_is_a_client_error(tmp_path: Path, manifest: bytes) -> None:
    objects = DictObjects()
    objects.write("bucket", "manifest", manifest)
    with pytest.raises(InputError, match=r"^ClientError: Data download failed"):
        copy_channel(objects, _channel("s3://bucket/manifest", S3DataType="ManifestFile"), tmp_path)


def test_a_fast_file_channel_is_a_copy_and_a_pipe_is_refused(tmp_path: Path) -> None:
    objects = DictObjects()
    objects.write("bucket", "data/a", b"a")
    copy_channel(objects, _channel("s3://bucket/data/"), tmp_path / "fast", mode="FastFile")
    assert _copied(tmp_path / "fast") == {"a": b"a"}
    with pytest.raises(InputError, match=r"train has the input mode Pipe: .* has File and FastFile"):
        copy_channel(objects, _channel("s3://bucket/data/"), tmp_path / "pipe", mode="Pipe")


def test_channels_that_do_not_fit_into_the_volume_are_not_copied(tmp_path: Path) -> None:
    objects = DictObjects()
    for key in ("data/a", "data/b"):
        objects.write("bucket", key, b"x" * 600)
    channel = _channel("s3://bucket/data/")
    with pytest.raises(InputError, match=r"do not fit into the volume \(VolumeSizeInGB\)"):
        copy_channel(objects, channel, tmp_path / "small", volume=Volume(left_bytes=1199))
    assert _copied(tmp_path / "small").keys() == {"a"}
    with pytest.raises(InputError, match="too many objects"):
        copy_channel(objects, channel, tmp_path / "few", volume=Volume(left_files=1))
    copy_channel(objects, channel, tmp_path / "fits", volume=Volume(left_bytes=1200, left_files=2))
    copy_channel(objects, channel, tmp_path / "fast", mode="FastFile", volume=Volume(left_bytes=0))
    assert _copied(tmp_path / "fast") == _copied(tmp_path / "fits")


def test_the_volume_is_as_large_as_the_request_says() -> None:
    def room(instance_type: str, **resources: Any) -> float:
        asked = {"InstanceType": instance_type, "InstanceCount": 1} | resources
        return volume_of(_job(ResourceConfig=asked), instance_type).left_bytes

    assert room("ml.m5.large", VolumeSizeInGB=2) == 2 * 1024**3
    assert room("ml.g5.xlarge", VolumeSizeInGB=2) == math.inf  # its disk is part of the instance
    assert room("ml.m5.large") == math.inf


# --- the archive of the script ---


def _archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=format) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def _sparse_archive(*, is_pax: bool) -> bytes:
    """A small archive with a long map of a sparse file, which tarfile would keep in memory."""
    member = tarfile.TarInfo("sparse")
    if is_pax:
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse"}
        return _archive((member, b"1000000\n" + b"1\n" * 10_000), format=tarfile.PAX_FORMAT)
    member.type = tarfile.GNUTYPE_SPARSE
    return _archive((member, b""))


def _negative_archive() -> bytes:
    """Python before 3.11.14 reads such an archive for ever (CVE-2025-8194)."""
    header = bytearray(tarfile.TarInfo("negative").tobuf())
    header[124:136] = b"\xff" * 10 + b"\xf0\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(bytes(header) * 5)


def test_the_archive_of_a_script_passes() -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        long_name = tarfile.TarInfo("a" * 90 + "/" + "b" * 90 + ".py")
        check_source(_archive((tarfile.TarInfo("train.py"), b"x"), (long_name, b"y"), format=kind))
    names = check_source(
        _archive(
            (_link("latest.py", "train.py"), b""),
            (tarfile.TarInfo("./requirements.txt"), b""),
            (_link("lib", "lib64"), b""),
            (_link("bin/tool", "../lib/tool.py"), b""),
        )
    )
    assert names == {"latest.py", "requirements.txt", "lib", "bin/tool"}


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no tar" * 500), gzip.compress(b"x")[:-9]]
)
def test_what_is_no_archive_is_left_to_the_toolkit(content: bytes) -> None:
    check_source(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_archive((tarfile.TarInfo("../escaped.py"), b"x")), "outside the destination"),
        (_archive((_link("out", "/etc"), b"")), "absolute path"),
        (_archive((_link("out", "../../etc"), b"")), "outside the destination"),
        (_archive((_link("hard", "../x", tarfile.LNKTYPE), b"")), "outside the destination"),
        (_archive((_link("device", "", tarfile.CHRTYPE), b"")), "special file"),
        (_archive((tarfile.TarInfo("/train.py"), b"x")), "not a name in a folder"),
        # Each of these links stays in the folder, and together they lead out of it.
        (_archive((_link("x", "a/b/.."), b""), (_link("a/b", ".."), b"")), "leads down and up again"),
        (_archive((_link("d/up", ".."), b""), (_link("x", "d/up/../../etc"), b"")), "outside|down and up"),
        (_archive((_link("a/l", "../x"), b""), (_link("l", "a/l", tarfile.LNKTYPE), b"")), "through a link"),
        (_archive((_link("a", "b"), b""), (tarfile.TarInfo("a/train.py"), b"x")), "leads through a link"),
        (_sparse_archive(is_pax=False), "a sparse file"),
        (_sparse_archive(is_pax=True), "a sparse file"),
        (_negative_archive(), "less than 0 bytes"),
        (_archive((tarfile.TarInfo("zeros"), bytes(100_001))), "unpacks to more than 100000 bytes"),
        (gzip.compress(bytes(100_001)), "unpacks to more than 100000 bytes"),
        (_archive(*((tarfile.TarInfo(f"f{i}"), b"") for i in range(11))), "more than 10 entries"),
        (_archive((tarfile.TarInfo("a" * 70_000), b"")), "a name or attribute in it has 70001 bytes"),
    ],
)
def test_an_archive_beyond_the_limits_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        check_source(content, max_bytes=100_000, max_entries=10)


@pytest.mark.parametrize("form", ["s3://bucket/source.tar.gz", '"s3://bucket/source.tar.gz"'])
def test_the_archive_of_a_script_is_where_the_hyperparameter_says(form: str) -> None:
    assert (
        source_uri(_job(HyperParameters={"sagemaker_submit_directory": form})) == "s3://bucket/source.tar.gz"
    )
    assert source_uri(_job()) is None


@pytest.mark.parametrize(("own", "expected"), [(None, "FastFile"), ("File", "File")])
def test_a_channels_own_input_mode_comes_before_that_of_the_algorithm(own: str | None, expected: str) -> None:
    algorithm = {"TrainingImage": "mine:1", "TrainingInputMode": "FastFile"}
    channel = _channel("s3://bucket/data") | ({"InputMode": own} if own else {})
    job = _job(AlgorithmSpecification=algorithm, InputDataConfig=[channel])
    assert channel_config(job, channel)["TrainingInputMode"] == expected


# --- images ---


def test_an_xgboost_image_with_a_script_runs_the_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PYTHON", "/bin/sh")
    program = load_images().program_for(_job(HyperParameters=SCRIPT))
    assert program.command == ("/bin/sh", "-m", "sagemaker_training.cli.train")
    assert program.bin_folder == "/bin"


def test_any_image_with_a_script_runs_the_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PYTHON", "/bin/sh")
    image = {"TrainingImage": "1.dkr.ecr.x/mine:1", "TrainingInputMode": "File"}
    program = load_images().program_for(_job(HyperParameters=SCRIPT, AlgorithmSpecification=image))
    assert program.command[0] == "/bin/sh"


def test_an_unmapped_image_without_a_script_fails_and_says_how_to_map_it() -> None:
    image = {"TrainingImage": "1.dkr.ecr.x/mine:1", "TrainingInputMode": "File"}
    with pytest.raises(UnmappedImageError) as caught:
        load_images().program_for(_job(AlgorithmSpecification=image))
    for word in ("1.dkr.ecr.x/mine:1", "images.yaml", "--images", "LOCAL_TRAINING_SECONDS"):
        assert word in str(caught.value)


def test_an_algorithm_without_a_script_fails_and_says_that_scripts_run_here() -> None:
    with pytest.raises(UnmappedImageError, match="no hyperparameter sagemaker_program"):
        load_images().program_for(_job())


def test_an_image_can_be_mapped_to_a_command_and_an_entrypoint_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    path.write_text("images: [{image: '*mine*', command: [/bin/train, now]}]")
    own = {"TrainingImage": "mine:1", "TrainingInputMode": "File"}
    images = load_images(str(path))
    assert images.program_for(_job(AlgorithmSpecification=own)).command == ("/bin/train", "now")


def test_a_missing_interpreter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PYTHON", "/nowhere/python")
    with pytest.raises(UnmappedImageError, match="/nowhere/python does not exist") as caught:
        load_images().program_for(_job(HyperParameters=SCRIPT))
    for word in ("pip install sagemaker-training", "LOCAL_SAGEMAKER_PYTHON", "--images"):
        assert word in str(caught.value)


def test_in_this_repository_scripts_run_on_its_training_environment_wherever_the_server_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LOCAL_SAGEMAKER_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    assert find_interpreter() == ROOT / ".venv-training" / "bin" / "python"


def test_a_named_interpreter_is_relative_to_the_folder_in_which_the_server_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PYTHON", "env/bin/python")
    monkeypatch.chdir(tmp_path)
    assert find_interpreter() == tmp_path / "env" / "bin" / "python"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imges: []", "give `images:`"),
        ("images: [{python: x}]", "give `image: PATTERN`"),
        ("images: [{image: x}]", "either `python` or `command`"),
        ("images: [{image: x, command: train}]", "give a list"),
        ("images: [{image: x, command: [train], capture_error: true}]", "needs `python`"),
        ("images: [{image: x, python: y, capture_error: often}]", "is true or false"),
        ("a: b: c", "cannot be read as YAML"),
    ],
)
def test_a_wrong_image_file_is_refused_with_the_way_out(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(ImagesFileError) as caught:
        load_images(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


# --- configuration files ---


def test_hosts_are_counted_over_all_instance_groups(tmp_path: Path) -> None:
    groups = [
        {"InstanceGroupName": "data", "InstanceType": "ml.c5.large", "InstanceCount": 1},
        {"InstanceGroupName": "train", "InstanceType": "ml.m5.large", "InstanceCount": 2},
    ]
    job = _job(ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1})
    hosts = hosts_of(job, tmp_path)
    assert [(h.name, h.group, h.instance_type) for h in hosts] == [
        ("algo-1", "data", "ml.c5.large"),
        ("algo-2", "train", "ml.m5.large"),
        ("algo-3", "train", "ml.m5.large"),
    ]  # fmt: skip
    assert job.instance_count == 3


def test_the_config_files_are_those_of_the_contract(tmp_path: Path) -> None:
    channel = _channel("s3://bucket/data") | {"ContentType": "text/csv"}
    job = _job(HyperParameters={"eta": "0.1"}, InputDataConfig=[channel])
    host = hosts_of(job, tmp_path)[0]
    config = host.base / "input" / "config"
    config.mkdir(parents=True)
    write_config(job, host, (host,))
    read = {path.name: json.loads(path.read_text()) for path in config.iterdir()}
    assert read == {
        "hyperparameters.json": {"eta": "0.1"},
        "inputdataconfig.json": {
            "train": {
                "ContentType": "text/csv",
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            }
        },
        "resourceconfig.json": {
            "current_host": "algo-1",
            "current_instance_type": "ml.m5.xlarge",
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": "ml.m5.xlarge",
                    "hosts": ["algo-1"],
                }
            ],
            "network_interface_name": "eth0",
        },
    }


def test_a_channel_can_be_for_some_instance_groups_only(tmp_path: Path) -> None:
    groups = [
        {"InstanceGroupName": "data", "InstanceType": "ml.c5.large", "InstanceCount": 1},
        {"InstanceGroupName": "train", "InstanceType": "ml.m5.large", "InstanceCount": 1},
    ]
    channels = [
        _channel("s3://bucket/raw", InstanceGroupNames=["data"]) | {"ChannelName": "raw"},
        _channel("s3://bucket/all") | {"ChannelName": "all"},
    ]
    job = _job(ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1}, InputDataConfig=channels)
    got = [[channel["ChannelName"] for channel in channels_of(job, host)] for host in hosts_of(job, tmp_path)]
    assert got == [["raw", "all"], ["all"]]


# --- what is uploaded ---


def test_an_archive_holds_what_all_instances_wrote_and_the_first_ones_file_of_two(tmp_path: Path) -> None:
    for host, files in {"one": {"model": "1", "a/x": "1"}, "two": {"model": "2", "a/y": "2"}}.items():
        for name, content in files.items():
            path = tmp_path / host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    archive = pack(tmp_path / "one", tmp_path / "two")
    assert unpack(archive) == {"model": b"1", "a/x": b"1", "a/y": b"2"}


@pytest.mark.slow
def test_an_archive_has_only_what_a_client_can_unpack(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"m")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("model")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket")
    with tarfile.open(fileobj=io.BytesIO(pack(tmp_path))) as archive:
        assert archive.getnames() == ["empty", "link", "model"]


def test_a_folder_that_the_job_replaced_with_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x")
    (tmp_path / "model").symlink_to("elsewhere")
    assert unpack(pack(tmp_path / "model", tmp_path / "missing")) == {}


def test_a_sparse_file_that_no_memory_holds_fails_the_upload_at_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(OSError, match="do not fit into the memory of this machine"):
        pack(tmp_path)


@pytest.mark.slow
def test_a_folder_without_permissions_or_of_any_depth_can_be_removed(tmp_path: Path) -> None:
    top = tmp_path / "job"
    (top / "closed" / "inside").mkdir(parents=True)
    (top / "closed").chmod(0)
    with contextlib.chdir(tmp_path / "job"):
        for _ in range(1050):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
    assert len(list(walk(top))) > 1000
    remove(top)
    assert not top.exists()


_DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "captures"),
    [
        (f"{_DLC}/pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-sagemaker", True),
        ("727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/tensorflow-training@sha256:0", True),
        (f"{_DLC}/huggingface-pytorch-training:2.1.0-transformers4.36.0-gpu-py310", True),
        (f"{_DLC}/huggingface-tensorflow-trcomp-training:2.6", True),
        (f"{_DLC}/pytorch-training-neuronx:1.13", True),
        (f"{_DLC}/pytorch-inference:2.6", False),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1", False),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1", False),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1", False),
        ("any", False),
    ],
)
def test_framework_containers_capture_the_words_of_a_failure(
    image: str, captures: bool, training_python: str, tmp_path: Path
) -> None:
    job = _job(
        HyperParameters=SCRIPT, AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"}
    )
    assert ("capture_error=True" in str(load_images().program_for(job).command)) is captures
    path = tmp_path / "images.yaml"
    for wanted in (True, False):
        path.write_text(f"images: [{{image: '*', python: {training_python}, capture_error: {wanted}}}]")
        command = load_images(str(path)).program_for(job).command
        assert ("capture_error=True" in str(command)) is wanted


@pytest.mark.parametrize(
    ("path", "expected"),
    [(None, "checkpoints"), ("/opt/ml/checkpoints/", "checkpoints"), ("/opt/ml/saved/here", "saved/here")],
)
def test_checkpoints_are_where_the_request_says(path: str | None, expected: str) -> None:
    config = {"S3Uri": "s3://bucket/ck"} | ({"LocalPath": path} if path else {})
    assert checkpoint_folder(_job(CheckpointConfig=config)) == expected


@pytest.mark.parametrize(
    "path", ["/var/ck", "/opt/ml", "/opt/ml/../x", "/opt/ml/model", "/opt/ml/input/data"]
)
def test_a_checkpoint_path_elsewhere_is_reported(path: str) -> None:
    with pytest.raises(InputError, match=r"CheckpointConfig\.LocalPath is"):
        checkpoint_folder(_job(CheckpointConfig={"S3Uri": "s3://bucket/ck", "LocalPath": path}))
