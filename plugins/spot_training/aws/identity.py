"""The names of a logical run: its jobs, its checkpoint prefix, its tags.

A name is a function of the run's identity, so that a worker that died before it could write anything down
is followed by one that arrives at the same name. Nothing here talks to AWS.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

#: SageMaker's limit (`TrainingJobName`); `s3://` prefixes and tags may be longer.
MAX_JOB_NAME_LENGTH = 63
_KEY_LENGTH = 12
#: What AWS takes in a tag value, besides letters and digits of any script.
_NOT_IN_TAG = re.compile(r"[^\w\s.:/=+\-@]")
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")

#: Tag keys this package writes. A job that carries `TAG_KEY` was made by it.
TAG_KEY = "spot-training:key"
TAG_DAG = "spot-training:dag"
TAG_RUN = "spot-training:run"
TAG_TASK = "spot-training:task"
TAG_MAP_INDEX = "spot-training:map-index"
TAG_ATTEMPT = "spot-training:attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """One task of one Dag run. `generation` grows when a person clears a training that was over."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    generation: int = 0

    @property
    def key(self) -> str:
        """A short digest that is the same wherever and whenever it is computed."""
        parts = (self.dag_id, self.run_id, self.task_id, str(self.map_index), str(self.generation))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:_KEY_LENGTH]

    def base_name(self, prefix: str) -> str:
        """`prefix-key`: what all attempts of this run share. Lower case, as AWS writes names in ARNs."""
        room = MAX_JOB_NAME_LENGTH - _KEY_LENGTH - len("-") - len("-999")
        return f"{slug(prefix)[:room].strip('-') or 'training'}-{self.key}"

    def job_name(self, prefix: str, number: int) -> str:
        """The name of attempt `number` (from 1)."""
        return f"{self.base_name(prefix)}-{number}"

    def checkpoint_uri(self, base_uri: str, prefix: str) -> str:
        """This run's checkpoint prefix below `base_uri`: kept across attempts, shared with no other run."""
        return f"{base_uri.rstrip('/')}/{self.base_name(prefix)}"

    def tags(self, attempt: int) -> list[dict[str, str]]:
        """AWS tags that lead from a job back to its task."""
        pairs = {
            TAG_KEY: self.key,
            TAG_DAG: self.dag_id,
            TAG_RUN: self.run_id,
            TAG_TASK: self.task_id,
            TAG_MAP_INDEX: str(self.map_index),
            TAG_ATTEMPT: str(attempt),
        }
        return [{"Key": key, "Value": _NOT_IN_TAG.sub("_", value)[:256]} for key, value in pairs.items()]


def slug(text: str) -> str:
    """Text as it may stand in a job name: lower-case letters, digits and single dashes."""
    return _NOT_IN_NAME.sub("-", text.lower()).strip("-")
