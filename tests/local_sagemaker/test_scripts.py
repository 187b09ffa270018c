"""Real scripts in real processes, run by AWS's own toolkit: the contract, interruptions, checkpoints."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_sagemaker.containers.context import can_isolate

from .support import (
    XGBOOST,
    Server,
    on_demand_request_for,
    request_for,
    running_server,
    source_archive,
    unpack,
    wait_until,
)

CHECKPOINTS = {"S3Uri": "s3://bucket/ck"}
#: At ten simulated minutes a second, a real minute is ten hours.
DAYS = {"MaxRuntimeInSeconds": 5 * 86400, "MaxWaitTimeInSeconds": 5 * 86400}

pytestmark = pytest.mark.usefixtures("training_python")


def _create(server: Server, script: str, name: str = "job", *, spot: bool = True, **overrides: Any) -> None:
    server.put("s3://bucket/source.tar.gz", source_archive(script))
    parameters = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://bucket/source.tar.gz"}
    parameters |= overrides.pop("HyperParameters", {})
    make = request_for if spot else on_demand_request_for
    condition = DAYS if spot else {"MaxRuntimeInSeconds": DAYS["MaxRuntimeInSeconds"]}
    defaults: dict[str, Any] = {
        "HyperParameters": parameters,
        "Environment": None,
        "StoppingCondition": condition,
    }
    server.client("sagemaker").create_training_job(**make(name, **(defaults | overrides)))


def _statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


REPORT = """
import json, os, pathlib, sys
root = pathlib.Path("/opt/ml" if pathlib.Path("/opt/ml/input").exists() else os.environ["SAGEMAKER_BASE_DIR"])
report = {
    "argv": sys.argv[1:],
    "env": dict(os.environ),
    "files": sorted(p.relative_to(root).as_posix() for p in (root / "input").rglob("*") if p.is_file()),
    "train": pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "x", "a.csv").read_text(),
    "config": {p.stem: json.loads(p.read_text()) for p in (root / "input" / "config").iterdir()},
    "host": os.uname().nodename,
}
pathlib.Path(os.environ["SM_MODEL_DIR"], "report.json").write_text(json.dumps(report))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "metrics.txt").write_text("rmse=1")
print("a line on stdout")
print("a line on stderr", file=sys.stderr)
"""


def test_a_script_finds_the_contract_of_the_container(server: Server) -> None:
    server.put("s3://bucket/data/train/x/a.csv", b"1,2,3")
    channel = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/train"}},
    }
    _create(
        server,
        REPORT,
        "My-Job",
        HyperParameters={"eta": "0.1", "depth": "6"},
        Environment={"COLOUR": "green"},
        InputDataConfig=[channel],
        CheckpointConfig=CHECKPOINTS,
    )
    job = server.wait_for_end("My-Job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert _statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    report = json.loads(unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"]))["report.json"])
    assert report["argv"] == ["--depth", "6", "--eta", "0.1"]
    assert report["train"] == "1,2,3"
    assert report["files"] == [
        "input/config/checkpointconfig.json",
        "input/config/hyperparameters.json",
        "input/config/inputdataconfig.json",
        "input/config/resourceconfig.json",
        "input/data/train/x/a.csv",
    ]
    assert report["config"]["checkpointconfig"] == {"LocalPath": "/opt/ml/checkpoints"}
    environment = report["env"]
    assert environment["COLOUR"] == "green"
    assert environment["TRAINING_JOB_NAME"] == "My-Job"
    assert environment["TRAINING_JOB_ARN"].endswith(":training-job/my-job")
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["AWS_ENDPOINT_URL"] == server.url
    assert environment["SM_HP_ETA"] == "0.1"
    assert environment["SM_CHECKPOINT_DIR"].endswith("/checkpoints")
    assert "VIRTUAL_ENV" not in environment
    assert unpack(server.get("s3://bucket/models/My-Job/output/output.tar.gz")) == {"metrics.txt": b"rmse=1"}
    lines = next(iter(server.log_of("My-Job").values()))
    assert "a line on stdout" in lines
    assert "a line on stderr" in lines


def test_where_the_system_allows_it_the_paths_are_literal(server: Server, tmp_path: Path) -> None:
    if not can_isolate(tmp_path):
        pytest.skip("this system grants no private mounts")
    script = """
import os, pathlib
assert os.environ["SM_MODEL_DIR"] == "/opt/ml/model"
pathlib.Path("/opt/ml/model/here").write_text(os.uname().nodename)
pathlib.Path("/opt/ml/checkpoints/saved").write_text("x")
print("others see", sorted(os.listdir("/opt")))
"""
    _create(server, script, CheckpointConfig=CHECKPOINTS)
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"here": b"algo-1"}
    assert server.keys("ck/") == ["ck/saved"]
    assert not Path("/opt/ml/model/here").exists()


TRAIN = """
import os, pathlib, time
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
start = max([int(p.name) for p in folder.iterdir() if p.name.isdigit()], default=0)
print("resuming from", start)
for epoch in range(start + 1, 11):
    time.sleep(0.25)
    part = folder / "part"
    part.write_text(str(epoch) * 1000)
    part.replace(folder / str(epoch))
    for old in sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))[:-3]:
        old.unlink()
    print("epoch", epoch)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model").write_text(f"from {start}")
"""


def test_an_interrupted_script_goes_on_from_its_last_checkpoint(server: Server) -> None:
    _create(server, TRAIN, CheckpointConfig=CHECKPOINTS)
    server.wait_for_status("job", "Training")
    wait_until(lambda: len(server.keys("ck/")) >= 2)
    assert server.control("POST", "interrupt", {"training_job_name": "job"})[0] == 200
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert _statuses(job) == [
        "Starting", "Downloading", "Training", "Interrupted", "Starting", "Downloading", "Training",
        "Uploading", "Completed",
    ]  # fmt: skip
    streams = server.log_of("job")
    assert len(streams) == 2
    first, second = (
        [line for line in lines if line.startswith(("resum", "epoch"))] for lines in streams.values()
    )
    assert first[0] == "resuming from 0"
    resumed = int(second[0].removeprefix("resuming from "))
    assert resumed >= 2
    assert second[1:] == [f"epoch {n}" for n in range(resumed + 1, 11)]
    assert server.keys("ck/") == ["ck/10", "ck/8", "ck/9"]
    assert not [found for folder in _folders(server) for found in folder.glob("job-*")]
    assert unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {
        "model": f"from {resumed}".encode()
    }


def test_an_interruption_during_a_stall_loses_what_the_script_went_on_to_write(server: Server) -> None:
    _create(server, TRAIN, CheckpointConfig=CHECKPOINTS)
    server.wait_for_status("job", "Training")
    wait_until(lambda: len(server.keys("ck/")) >= 2)
    assert server.control("POST", "stalls", {"job_names": "job", "instance_type": "ml.m5.xlarge"})[0] == 200
    time.sleep(0.4)  # an upload that had begun ends
    kept = server.keys("ck/")
    (lines,) = server.log_of("job").values()
    wait_until(lambda: len(next(iter(server.log_of("job").values()))) >= len(lines) + 3)
    assert server.keys("ck/") == kept
    assert server.control("POST", "interrupt", {"training_job_name": "job"})[0] == 200
    server.wait_for_status("job", "Starting")
    assert server.keys("ck/") == kept
    assert server.control("DELETE", "stalls")[0] == 200
    assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    newest = max(int(key.removeprefix("ck/")) for key in kept)
    assert f"resuming from {newest}" in list(server.log_of("job").values())[1]
    assert server.keys("ck/") == ["ck/10", "ck/8", "ck/9"]


CARELESS = """
import pathlib, shutil, time
import os
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
for epoch in range(1, 6):
    (folder / f"model-{epoch}").write_text(str(epoch) * 1000)
    for _ in range(100):
        if (folder / f"model-{epoch}.sagemaker-uploaded").exists():
            break
        time.sleep(0.05)
    for old in sorted(folder.iterdir())[:-3]:
        old.unlink(missing_ok=True)
best = sorted(folder.glob("model-*"))[-1]
shutil.copy(best, pathlib.Path(os.environ["SM_MODEL_DIR"], "model"))
"""


def test_a_careless_script_meets_the_markers_as_on_aws(server: Server) -> None:
    """It takes the last name for the newest model, and counts the markers as checkpoints that it keeps."""
    _create(server, CARELESS, CheckpointConfig=CHECKPOINTS)
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"model": b""}
    assert server.keys("ck/") == ["ck/model-5"]


FAILING = """
import sys, warnings
warnings.warn("not the reason")
print("to the log", file=sys.stderr)
def fit():
    raise ValueError("no column named delay")
fit()
"""


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312",
            # The toolkit makes a line of each piece that it reads.
            r'raise ValueError\("no column named delay"\)(?s:.*)ValueError(?s:.*)no column named delay',
        ),
        (XGBOOST, ""),
    ],
)
def test_the_reason_of_a_failure_is_as_the_container_gives_it(server: Server, image: str, words: str) -> None:
    specification = {"TrainingImage": image, "TrainingInputMode": "File"}
    _create(server, FAILING, AlgorithmSpecification=specification)
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Failed"
    expected = rf'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "{words}"\nCommand "'
    assert re.match(expected, job["FailureReason"])
    (lines,) = server.log_of("job").values()
    assert "to the log" in "".join(lines)
    assert "no column named delay" in "".join(lines)


def test_without_checkpoints_an_interrupted_script_starts_over(server: Server) -> None:
    script = TRAIN.replace('os.environ["SM_CHECKPOINT_DIR"]', '"checkpoints"').replace(
        "start = max", "folder.mkdir(exist_ok=True)\nstart = max"
    )
    _create(server, script)
    server.wait_for_status("job", "Training")
    wait_until(lambda: any("epoch 2" in lines for lines in server.log_of("job").values()))
    server.control("POST", "interrupt", {"training_job_name": "job"})
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [sum("resuming from 0" in line for line in lines) for lines in server.log_of("job").values()] == [
        1,
        1,
    ]


def test_another_job_goes_on_from_the_same_prefix(server: Server) -> None:
    _create(
        server,
        TRAIN.replace("range(start + 1, 11)", "range(start + 1, 4)"),
        "one",
        CheckpointConfig=CHECKPOINTS,
    )
    assert server.wait_for_end("one")["TrainingJobStatus"] == "Completed"
    _create(server, TRAIN, "two", spot=False, CheckpointConfig=CHECKPOINTS)
    assert server.wait_for_end("two")["TrainingJobStatus"] == "Completed"
    assert "resuming from 3" in next(iter(server.log_of("two").values()))


def test_a_failing_script_fails_with_what_the_toolkit_wrote(server: Server) -> None:
    _create(server, "raise ValueError('no such column')\n")
    job = server.wait_for_end("job")
    assert _statuses(job)[-3:] == ["Training", "Uploading", "Failed"]
    assert job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\n")
    assert len(job["FailureReason"]) <= 1024
    assert any("no such column" in line for line in next(iter(server.log_of("job").values())))


def test_the_failure_file_of_a_script_is_the_reason(server: Server) -> None:
    script = """
import os, pathlib, sys
pathlib.Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("x" * 5000)
sys.exit(3)
"""
    _create(server, script)
    job = server.wait_for_end("job")
    assert job["FailureReason"] == ("AlgorithmError: " + "x" * 5000)[:1024]


def test_a_stopped_script_is_killed_and_its_model_uploaded(server: Server) -> None:
    script = """
import os, pathlib, time
pathlib.Path(os.environ["SM_MODEL_DIR"], "model").write_text("half")
print("saved")
time.sleep(600)
"""
    _create(server, script)
    server.wait_for_status("job", "Training")
    wait_until(lambda: any("saved" in lines for lines in server.log_of("job").values()))
    server.client("sagemaker").stop_training_job(TrainingJobName="job")
    job = server.wait_for_end("job")
    assert _statuses(job)[-4:] == ["Training", "Stopping", "Uploading", "Stopped"]
    assert unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"model": b"half"}
    assert "FailureReason" not in job


def test_a_program_of_ones_own_hears_sigterm_before_it_is_killed(server: Server) -> None:
    script = (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path(os.environ['SM_CHECKPOINT_DIR'], 'last').write_text('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('listening', flush=True)\n"
        "time.sleep(600)\n"
    )
    entrypoint = ["python", "-c", "import os; exec(os.environ['CODE'])"]
    algorithm = request_for()["AlgorithmSpecification"] | {"ContainerEntrypoint": entrypoint}
    _create(
        server,
        "",
        AlgorithmSpecification=algorithm,
        Environment={"CODE": script},
        CheckpointConfig=CHECKPOINTS,
    )
    server.wait_for_status("job", "Training")
    wait_until(lambda: any("listening" in lines for lines in server.log_of("job").values()))
    server.client("sagemaker").stop_training_job(TrainingJobName="job")
    assert server.wait_for_end("job")["SecondaryStatus"] == "Stopped"
    assert server.get("s3://bucket/ck/last") == b"saved"


def test_an_interruption_warns_every_instance_and_kills_those_that_do_not_heed_it(server: Server) -> None:
    script = (
        "import json, os, pathlib, signal, sys, time\n"
        "folder = pathlib.Path(os.environ['SM_CHECKPOINT_DIR'])\n"
        "me = json.loads((folder.parent / 'input/config/resourceconfig.json').read_text())['current_host']\n"
        "if any(folder.glob('heard-*')): sys.exit(0)\n"
        "def hear(*_):\n"
        "    (folder / f'heard-{me}').touch()\n"
        "    if me == 'algo-1': time.sleep(600)\n"
        "signal.signal(signal.SIGTERM, hear)\n"
        "print('listening', flush=True)\n"
        "while True: time.sleep(600)\n"
    )
    algorithm = request_for()["AlgorithmSpecification"] | {
        "ContainerEntrypoint": ["python", "-c", "import os; exec(os.environ['CODE'])"]
    }
    _create(
        server,
        "",
        AlgorithmSpecification=algorithm,
        Environment={"CODE": script},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
        CheckpointConfig=CHECKPOINTS,
    )
    server.wait_for_status("job", "Training")
    wait_until(lambda: sum("listening" in lines for lines in server.log_of("job").values()) == 2)
    processes = _children(server.pid)
    # Two real seconds for the two minutes: the machine may be busy.
    server.control("POST", "interrupt", {"training_job_name": "job", "notice_seconds": 1200})
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert _statuses(job).count("Interrupted") == 1
    assert server.keys("ck/") == ["ck/heard-algo-1", "ck/heard-algo-2"]
    wait_until(lambda: not any(process.is_running() for process in processes))
    assert len(server.log_of("job")) == 4


def test_instance_groups_get_their_channels_and_their_files_become_one_model(server: Server) -> None:
    server.put("s3://bucket/data/raw/a.csv", b"1,2,3")
    script = """
import json, os, pathlib
host, root = os.environ["SM_CURRENT_HOST"], pathlib.Path(os.environ["SM_MODEL_DIR"])
(root / host).write_text(json.dumps([
    os.environ["SM_CURRENT_INSTANCE_GROUP"], os.environ["SM_CURRENT_INSTANCE_TYPE"],
    {path.name: sorted(os.listdir(path)) for path in (root.parent / "input" / "data").iterdir()},
    json.loads(os.environ["SM_CHANNELS"]),
]))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], host).touch()
"""
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/raw", "InstanceGroupNames": ["data"]}
    channel = {"ChannelName": "raw", "InputMode": "FastFile", "DataSource": {"S3DataSource": source}}
    groups = [
        {"InstanceGroupName": "data", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "train", "InstanceType": "ml.m5.large", "InstanceCount": 1},
    ]
    resources = {"InstanceGroups": groups, "VolumeSizeInGB": 1}
    _create(server, script, ResourceConfig=resources, InputDataConfig=[channel])
    job = server.wait_for_end("job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    assert {name: json.loads(content) for name, content in model.items()} == {
        "algo-1": ["data", "ml.c5.xlarge", {"raw": ["a.csv"]}, ["raw"]],
        "algo-2": ["train", "ml.m5.large", {}, []],
    }
    assert unpack(server.get("s3://bucket/models/job/output/output.tar.gz")).keys() == {"algo-1", "algo-2"}


def test_the_entrypoint_gets_the_containers_arguments(server: Server) -> None:
    script = (
        "import os, sys; open(os.path.join(os.environ['SM_CHECKPOINT_DIR'], 'said'), 'w').write(sys.argv[2])"
    )
    algorithm = request_for()["AlgorithmSpecification"] | {
        "ContainerEntrypoint": ["python", "-c", script],
        "ContainerArguments": ["first", "second one"],
    }
    _create(server, "", AlgorithmSpecification=algorithm, Environment={}, CheckpointConfig=CHECKPOINTS)
    assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    assert server.get("s3://bucket/ck/said") == b"second one"


def test_a_restart_restores_the_whole_prefix_to_every_instance(server: Server) -> None:
    server.client("s3").put_object(Bucket="bucket", Key="ck/old", Body=b"kept")
    script = """
import os, pathlib
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
(folder / ("saw-" + os.environ["SM_CURRENT_HOST"])).write_text((folder / "old").read_text())
"""
    two = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
    _create(server, script, ResourceConfig=two, CheckpointConfig=CHECKPOINTS)
    assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    assert {server.get(f"s3://bucket/ck/saw-algo-{n}") for n in (1, 2)} == {b"kept"}


def test_each_instance_runs_a_process_of_its_own(server: Server) -> None:
    script = """
import os, pathlib
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
(folder / os.environ["SM_CURRENT_HOST"]).write_text(os.environ["SM_HOSTS"])
"""
    two = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
    _create(server, script, ResourceConfig=two, CheckpointConfig=CHECKPOINTS)
    assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    assert server.keys("ck/") == ["ck/algo-1", "ck/algo-2"]
    assert json.loads(server.get("s3://bucket/ck/algo-2")) == ["algo-1", "algo-2"]
    assert sorted(stream.split("/")[1].rsplit("-", 1)[0] for stream in server.log_of("job")) == [
        "algo-1",
        "algo-2",
    ]


def test_an_uncompressed_model_is_a_folder_in_s3(server: Server) -> None:
    script = "import os, pathlib; pathlib.Path(os.environ['SM_MODEL_DIR'], 'model.txt').write_text('m')\n"
    output = {"S3OutputPath": "s3://bucket/models/", "CompressionType": "NONE"}
    _create(server, script, OutputDataConfig=output)
    job = server.wait_for_end("job")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == "s3://bucket/models/job/output/model/"
    assert server.get("s3://bucket/models/job/output/model/model.txt") == b"m"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {
                "HyperParameters": {"eta": "1"},
                "AlgorithmSpecification": {"TrainingImage": "m:1", "TrainingInputMode": "File"},
            },
            "No program is mapped to the image m:1",
        ),
        ({"CheckpointConfig": {"S3Uri": "s3://missing/ck"}}, "The bucket missing does not exist"),
    ],
)
def test_what_cannot_be_prepared_fails_while_downloading(
    server: Server, overrides: dict[str, Any], message: str
) -> None:
    server.put("s3://bucket/source.tar.gz", source_archive("print(1)\n"))
    parameters = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://bucket/source.tar.gz"}
    request = request_for(HyperParameters=parameters, Environment=None) | overrides
    server.client("sagemaker").create_training_job(**request)
    job = server.wait_for_end("job")
    assert _statuses(job) == ["Starting", "Downloading", "Failed"]
    assert job["FailureReason"].startswith("ClientError: ")
    assert message in job["FailureReason"]


def test_an_archive_that_leaves_its_folder_fails_while_downloading(server: Server) -> None:
    server.put("s3://bucket/source.tar.gz", source_archive("print(1)\n", "../train.py"))
    parameters = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://bucket/source.tar.gz"}
    server.client("sagemaker").create_training_job(
        **request_for(HyperParameters=parameters, Environment=None)
    )
    job = server.wait_for_end("job")
    assert _statuses(job) == ["Starting", "Downloading", "Failed"]
    assert job["FailureReason"].startswith(
        "ClientError: The local SageMaker does not unpack s3://bucket/source.tar.gz: '../train.py'"
    )


def test_a_channel_without_objects_fails_while_downloading_if_asked(training_python: str) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/none"}}
    parameters = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://bucket/source.tar.gz"}
    with running_server("--speed", "600", "--missing-inputs", "fail") as server:
        server.client("s3").create_bucket(Bucket="bucket")
        server.put("s3://bucket/source.tar.gz", source_archive("print(1)\n"))
        server.client("sagemaker").create_training_job(
            **request_for(
                HyperParameters=parameters,
                Environment=None,
                InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
            )
        )
        job = server.wait_for_end("job")
    assert _statuses(job) == ["Starting", "Downloading", "Failed"]
    assert 'No S3 objects found under S3 URL "s3://bucket/none"' in job["FailureReason"]


def test_a_missing_output_bucket_fails_the_upload(server: Server) -> None:
    _create(server, "print(1)\n", OutputDataConfig={"S3OutputPath": "s3://missing/models"})
    job = server.wait_for_end("job")
    assert _statuses(job)[-2:] == ["Uploading", "Failed"]
    assert job["FailureReason"].startswith("ClientError: Artifact upload failed")


def test_a_torn_checkpoint_never_reaches_s3(server: Server) -> None:
    script = """
import os, pathlib, time
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
(folder / "whole").write_text("w" * 1000)
with (folder / "torn").open("w") as file:
    file.write("t" * 1000)
    file.flush()
    print("half way")
    time.sleep(600)
"""
    _create(server, script, CheckpointConfig=CHECKPOINTS)
    server.wait_for_status("job", "Training")
    wait_until(lambda: server.keys("ck/") == ["ck/whole"])
    wait_until(lambda: any("half way" in lines for lines in server.log_of("job").values()))
    server.client("sagemaker").stop_training_job(TrainingJobName="job")
    server.wait_for_end("job")
    assert server.keys("ck/") == ["ck/whole"]


def test_a_market_can_interrupt_a_script_after_some_checkpoints(tmp_path: Path) -> None:
    market = tmp_path / "market.yaml"
    market.write_text("interruptions: [{after_checkpoints: 2, away: 5m}]")
    with running_server("--speed", "600", "--market", str(market)) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        _create(server, TRAIN, CheckpointConfig=CHECKPOINTS)
        job = server.wait_for_end("job")
        assert _statuses(job).count("Interrupted") == 1
        assert job["TrainingJobStatus"] == "Completed"
        lines = list(server.log_of("job").values())[1]
        assert any(line.startswith("resuming from ") and line != "resuming from 0" for line in lines)


FOREVER = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\nprint('up')\ntime.sleep(600)\n"


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _start_forever(server: Server) -> list[psutil.Process]:
    server.client("s3").create_bucket(Bucket="bucket")
    _create(server, FOREVER)
    server.wait_for_status("job", "Training")
    wait_until(lambda: any("up" in lines for lines in server.log_of("job").values()))
    processes = _children(server.pid)
    assert any("sleep" in process.name() for process in processes)
    return processes


def _folders(server: Server) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"local-sagemaker-{server.pid}-*"))


def test_sigterm_ends_the_server_its_jobs_and_their_files() -> None:
    with running_server("--speed", "600") as server:
        processes = _start_forever(server)
        assert len(_folders(server)) == 1
        started = time.monotonic()
        psutil.Process(server.pid).terminate()
        wait_until(lambda: not any(process.is_running() for process in processes), limit_seconds=10)
        wait_until(lambda: not _folders(server), limit_seconds=10)
        assert time.monotonic() - started < 8


def test_killing_the_server_kills_its_jobs_and_the_next_server_tidies_up() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ties a child to its parent")
    with running_server("--speed", "600") as server:
        processes = _start_forever(server)
        psutil.Process(server.pid).kill()
        wait_until(lambda: not any(process.is_running() for process in processes), limit_seconds=10)
    assert _folders(server)
    with running_server():
        assert not _folders(server)


def test_a_reset_kills_what_runs(server: Server) -> None:
    _create(server, FOREVER)
    server.wait_for_status("job", "Training")
    wait_until(lambda: any("up" in lines for lines in server.log_of("job").values()))
    processes = _children(server.pid)
    server.control("POST", "reset")
    wait_until(lambda: not any(process.is_running() for process in processes), limit_seconds=10)


def test_without_private_mounts_a_script_runs_and_resumes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PRIVATE_MOUNTS", "0")
    with running_server("--speed", "600") as server:
        server.client("s3").create_bucket(Bucket="bucket")
        message = (
            "import json, os\nbase = os.environ['SAGEMAKER_BASE_DIR']\n"
            "path = json.load(open(base + '/input/config/checkpointconfig.json'))['LocalPath']\n"
            "assert path == os.environ['SM_CHECKPOINT_DIR']\n"
        )
        _create(server, message + TRAIN, CheckpointConfig=CHECKPOINTS)
        server.wait_for_status("job", "Training")
        wait_until(lambda: len(server.keys("ck/")) >= 2)
        processes = _children(server.pid)
        server.control("POST", "interrupt", {"training_job_name": "job"})
        job = server.wait_for_end("job")
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        assert "resuming from 0" not in list(server.log_of("job").values())[1]
        assert not any(process.is_running() for process in processes)
