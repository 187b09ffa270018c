"""The training folder as SageMaker's script mode wants it: a sourcedir.tar.gz in S3, named by
hyperparameters.

Imports no Airflow and, but for the client it is given, no boto3.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

TRAINING_FOLDER: Final = Path(__file__).resolve().parent.parent / "training" / "flight_delays"
PROGRAM: Final = "train.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPackage:
    uri: str
    program: str

    def hyperparameters(self, values: Mapping[str, object] | None = None) -> dict[str, str]:
        """Return `HyperParameters` of CreateTrainingJob: `values` and the two that name the script."""
        return encode_hyperparameters(
            {**(values or {}), "sagemaker_submit_directory": self.uri, "sagemaker_program": self.program}
        )


def encode_hyperparameters(values: Mapping[str, object]) -> dict[str, str]:
    """Write each value as JSON, as the SageMaker SDK does and the container's toolkit reads: `train.py` is
    `"train.py"` with its quotes, 12 is `12`.
    """
    return {name: json.dumps(value) for name, value in values.items()}


def build_package(folder: Path = TRAINING_FOLDER) -> bytes:
    """Return the folder as a sourcedir.tar.gz; equal files give equal bytes, whoever built it and when."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if not path.is_file() or any(part.startswith((".", "__pycache__")) for part in name.parts):
                continue
            body = path.read_bytes()
            member = tarfile.TarInfo(name.as_posix())  # its defaults: owner 0, time 0
            member.size, member.mode = len(body), 0o644
            archive.addfile(member, io.BytesIO(body))
    return gzip.compress(buffer.getvalue(), mtime=0)


def upload_package(
    client: S3Client, *, bucket: str, prefix: str, folder: Path = TRAINING_FOLDER, program: str = PROGRAM
) -> TrainingPackage:
    """Put the folder's package into S3 under a key that holds its content's hash.

    A later change of the script gets another key, so a training that resumes days later still runs the code
    it was started with.
    """
    body = build_package(folder)
    key = f"{prefix.strip('/')}/{hashlib.sha256(body).hexdigest()[:16]}/sourcedir.tar.gz".lstrip("/")
    client.put_object(Bucket=bucket, Key=key, Body=body)
    return TrainingPackage(uri=f"s3://{bucket}/{key}", program=program)
