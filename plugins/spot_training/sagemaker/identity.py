"""The names of a logical run: its jobs, its checkpoint prefix, its tags.

A name is a function of the run's identity: if a worker dies before it could store anything, the next one
computes the same name. Nothing here calls AWS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from spot_training.domain.record_keys import record_key

#: SageMaker's limit (`TrainingJobName`); `s3://` prefixes and tags may be longer.
MAX_JOB_NAME_LENGTH = 63
_KEY_LENGTH = 12
#: A generation is a clear of a training that was over: more than this were not made by hand.
_MOST_GENERATIONS = 1000
#: What AWS refuses in a tag value (it takes letters and digits of any script), and the `=` of escapes.
_NOT_IN_TAG = re.compile(r"[^\w .:/+\-@]+")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")
_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_OUR_NAME = re.compile(rf"-[0-9a-f]{{{_KEY_LENGTH}}}-\d+$")
_SCOUT = "-scout"
_SCOUT_NAME = re.compile(rf"{_SCOUT}-[0-9a-f]{{{_KEY_LENGTH}}}-\d+$")
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")
#: What the SageMaker SDK's `name_from_base` appends.
_SDK_TIME = re.compile(r"-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-\d{3}$")

#: SageMaker's limit of tags for a job. One stays free for the reason of a stop, and this package writes at
#: most `MOST_OUR_TAGS` when it creates a job.
MOST_TAGS = 50
MOST_OUR_TAGS = 9

#: Tag keys this package writes. A job that carries `TAG_KEY` was made by it.
TAG_KEY = "spot-training:key"
TAG_DAG = "spot-training:dag"
TAG_RUN = "spot-training:run"
TAG_TASK = "spot-training:task"
TAG_MAP_INDEX = "spot-training:map-index"
#: Where `TAG_WITHOUT_TASK` is not needed. The key is a digest of the generation, too, so it is found without.
TAG_GENERATION = "spot-training:generation"
TAG_ATTEMPT = "spot-training:attempt"
#: The number of a scout of the training, which has no `TAG_ATTEMPT`.
TAG_SCOUT = "spot-training:scout"
#: The nonce of the intent that made the job: after a lost state a name may repeat, a nonce does not.
TAG_INTENT = "spot-training:intent"
#: Which Airflow made the job: accounts are shared, and a sweeper may only stop the jobs of its own Airflow.
TAG_INSTALLATION = "spot-training:installation"
#: `keep` if the job is to outlive its task. Without the tag (or with `stop`, up to 0.2.0) it is not.
TAG_WITHOUT_TASK = "spot-training:without-task"
#: Why we stopped a job (`domain.stop_reasons.StopReason`), written before the stop. A person's stop has none.
TAG_STOPPED_FOR = "spot-training:stopped-for"
#: When that was written (ISO 8601, on AWS's clock): a stop that comes much later is another one.
TAG_STOPPED_AT = "spot-training:stopped-at"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """One task of one Dag run of one Airflow.

    `generation` grows when a person clears a training that was over, and where the state of one was lost.
    `installation` keeps two Airflows with the same Dags and one account from taking each other's jobs;
    `first_installation` is that of the first generation, where it was another one (a run of 0.1.0 that was
    cleared after the upgrade).
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    generation: int = 0
    installation: str = "airflow"
    first_installation: str = ""

    @property
    def first(self) -> RunIdentity:
        """The first generation of the same task."""
        return replace(self, generation=0, installation=self.first_installation or self.installation)

    @property
    def key(self) -> str:
        """A short digest that is the same wherever and whenever it is computed."""
        names = (self.installation, self.dag_id, self.run_id, self.task_id)
        parts = (*names, str(self.map_index), str(self.generation))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:_KEY_LENGTH]

    @property
    def record_key(self) -> str:
        """The key of this task's record in the ledger: the same for every generation."""
        return record_key(
            installation=self.installation,
            dag_id=self.dag_id,
            run_id=self.run_id,
            task_id=self.task_id,
            map_index=self.map_index,
        )

    def base_name(self, prefix: str) -> str:
        """`prefix-key`: what all attempts of this run share. Lower case, as AWS writes names in ARNs."""
        length = MAX_JOB_NAME_LENGTH - _KEY_LENGTH - len("-") - len("-999")
        return f"{slug(prefix)[:length].strip('-') or 'training'}-{self.key}"

    def is_name(self, job_name: str) -> bool:
        """Whether the name is one of this run: another run's may contain the key, but not at its end."""
        return re.search(rf"-{self.key}-\d+$", job_name) is not None

    def job_name(self, prefix: str, number: int) -> str:
        """The name of attempt `number` (from 1)."""
        return f"{self.base_name(prefix)}-{number}"

    def scout_name(self, prefix: str, number: int) -> str:
        """The name of scout `number` (from 1): like that of an attempt, with `-scout` in the prefix."""
        length = MAX_JOB_NAME_LENGTH - _KEY_LENGTH - len("-") - len("-999") - len(_SCOUT)
        return self.job_name(f"{slug(prefix)[:length].strip('-') or 'training'}{_SCOUT}", number)

    def checkpoint_uri(self, base_uri: str, prefix: str) -> str:
        """This run's checkpoint prefix below `base_uri`: kept across attempts, shared with no other run."""
        return f"{base_uri.rstrip('/')}/{self.base_name(prefix)}"

    def tags(
        self, number: int, *, is_stopped_with_task: bool = True, is_scout: bool = False
    ) -> list[dict[str, str]]:
        """AWS tags that lead from a job back to its task: few, because a job takes 50 with the user's own.

        `number` is that of the attempt, or of the scout.
        """
        pairs = {
            TAG_KEY: self.key,
            TAG_DAG: self.dag_id,
            TAG_RUN: self.run_id,
            TAG_TASK: self.task_id,
            TAG_MAP_INDEX: str(self.map_index),
            TAG_SCOUT if is_scout else TAG_ATTEMPT: str(number),
            TAG_INSTALLATION: self.installation,
        }
        if is_stopped_with_task:
            pairs[TAG_GENERATION] = str(self.generation)
        else:
            pairs[TAG_WITHOUT_TASK] = "keep"
        return [{"Key": key, "Value": tag_value(value)} for key, value in pairs.items()]


def without_sdk_time(prefix: str) -> str:
    """A prefix of job names without the time that the SageMaker SDK appends to a name that it makes.

    A Dag that calls `training_config` has another time each time it is parsed, so attempts of one training
    would share no checkpoints.
    """
    return _SDK_TIME.sub("", prefix) or prefix


def tag_value(text: str) -> str:
    """Text as a tag can hold it: what AWS does not take there is written `=7E`, as in quoted-printable.

    At most 256 characters: what is longer is cut, and no longer leads back to its task.
    """
    return _NOT_IN_TAG.sub(lambda found: "".join(f"={byte:02X}" for byte in found[0].encode()), text)[:256]


def text_of_tag(value: str) -> str:
    """Undo `tag_value`, but for what was cut."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), value.encode()).decode(
        errors="replace"
    )


def is_job_name(text: str) -> bool:
    """Whether SageMaker takes the text as a `TrainingJobName`."""
    return _JOB_NAME.fullmatch(text) is not None


def number_of(job_name: str) -> int:
    """The attempt's number in a name of ours."""
    return int(job_name.rpartition("-")[2])


def may_be_ours(job_name: str) -> bool:
    """Whether a name has the form of ours. Only the tags are proof."""
    return _OUR_NAME.search(job_name) is not None


def is_scout_name(job_name: str) -> bool:
    """Whether a name of ours is that of a scout, by its form. Only the tags are proof."""
    return _SCOUT_NAME.search(job_name) is not None


def is_our_tag(key: str) -> bool:
    """Whether a tag is this package's, and not the request's own."""
    return key.startswith("spot-training:")


def identity_of(tags: Mapping[str, str]) -> RunIdentity | None:
    """The run a job's tags name, or None where they are not ours, or were changed on the way into the tags.

    The key was computed from the names as they are in Airflow: it proves that the tags hold them unchanged.
    """
    try:
        identity = RunIdentity(
            dag_id=text_of_tag(tags[TAG_DAG]),
            run_id=text_of_tag(tags[TAG_RUN]),
            task_id=text_of_tag(tags[TAG_TASK]),
            map_index=int(tags.get(TAG_MAP_INDEX, "-1")),
            installation=text_of_tag(tags[TAG_INSTALLATION]),
        )
        written = tags.get(TAG_GENERATION)
        generations = range(_MOST_GENERATIONS) if written is None else (int(written),)
    except (KeyError, ValueError):
        return None
    possible = (replace(identity, generation=generation) for generation in generations)
    return next((who for who in possible if who.key == tags.get(TAG_KEY)), None)


def slug(text: str) -> str:
    """Text as a job name may contain it: lower-case letters, digits and single dashes."""
    return _NOT_IN_NAME.sub("-", text.lower()).strip("-")
