from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

from include.flight_delays.data import S3Destination, prepare_channels, read_table
from include.flight_delays.package import build_package, upload_package
from include.flight_delays.registry import read_object

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from include.flight_delays.data import Channels

BUCKET = "models"


def test_the_package_is_the_same_bytes_whenever_it_is_built(tmp_path: Path) -> None:
    for name in ("train.py", "__pycache__/train.cpython-311.pyc", ".hidden", "lib/helper.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    first = build_package(tmp_path)
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert build_package(tmp_path) == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["lib/helper.py", "train.py"]


def test_another_script_gets_another_key(s3: S3Client, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("one")
    one = upload_package(s3, bucket=BUCKET, prefix="/code/", folder=tmp_path)
    assert upload_package(s3, bucket=BUCKET, prefix="code", folder=tmp_path) == one
    (tmp_path / "train.py").write_text("two")
    two = upload_package(s3, bucket=BUCKET, prefix="code", folder=tmp_path)
    assert one.uri != two.uri
    assert one.uri.startswith(f"s3://{BUCKET}/code/")
    assert read_object(s3, two.uri) == build_package(tmp_path)


def test_hyperparameters_are_written_as_the_toolkit_reads_them(s3: S3Client, training_python: Path) -> None:
    package = upload_package(s3, bucket=BUCKET, prefix="code")
    hyperparameters = package.hyperparameters({"num_round": 12, "eta": 0.1, "label": "late"})
    assert hyperparameters["sagemaker_program"] == '"train.py"'
    assert hyperparameters["num_round"] == "12"
    assert json.loads(hyperparameters["sagemaker_submit_directory"]) == package.uri

    code = (
        "import json, sys; from sagemaker_training import mapping; values = json.loads(sys.argv[1]);"
        "print(mapping.to_cmd_args({k: json.loads(v) for k, v in values.items() if k[:9] != 'sagemaker'}))"
    )
    read = subprocess.run(
        [str(training_python), "-W", "ignore", "-c", code, json.dumps(hyperparameters)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert read.stdout.strip() == "['--eta', '0.1', '--label', 'late', '--num_round', '12']"


def test_channels_go_to_s3_as_they_go_to_a_folder(s3: S3Client, small_channels: Channels) -> None:
    there = prepare_channels("2013-06-03", S3Destination(s3, BUCKET, "runs/7/"), weeks=2)
    assert there.train.uri == f"s3://{BUCKET}/runs/7/train/"
    assert there.train.rows == small_channels.train.rows
    assert len(read_table(read_object(s3, there.holdout.file_uri))) == small_channels.holdout.rows
