"""The champion: the model in use, where it is stored, and which model may replace it.

`<prefix>/champion/champion.json` is the champion: the record of the model in use, with the address of its
model.tar.gz. The models are in `<prefix>/champion/models/<sha256>/model.tar.gz` and are never
overwritten, so the record is the only thing that changes, and it changes by one conditional write. A reader
never sees a record with another run's model.

Runs may promote at the same time and in any order, as a backfill does. Each decides against the champion it
read and writes on the condition that this champion is still there (If-Match, or If-None-Match for the first);
if it is not, the run reads the new one and decides again. An older run that ends late does not replace a
model trained for a later date unless `allow_older` is set. With parallel runs it is not determined which
champions a challenger is compared with, but the final champion never has an earlier date than one it
replaced.

Imports no Airflow and no boto3: the S3 client is given.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from include.flight_delays.data import Window
from include.flight_delays.errors import EvaluationError, PromotionConflictError
from include.flight_delays.model import Evaluation, evaluate, load

if TYPE_CHECKING:
    import pandas as pd
    from mypy_boto3_s3 import S3Client

MAX_CONFLICTS: Final = 20

# S3 answers a conditional write 412 when the condition does not hold, and 409 when another write is under
# way.
_CONFLICTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
# If-Match on an object that was deleted meanwhile.
_GONE: Final = frozenset({"NoSuchKey", "404"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A model just trained."""

    artifact: bytes
    """The model.tar.gz."""
    as_of: date
    training: Window
    holdout: Window
    job_name: str
    run_id: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.artifact).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The model in use, as `champion.json` records it."""

    model_uri: str
    model_sha256: str
    auc: float
    """On the holdout it was promoted with, for a person to read. A comparison measures it anew."""
    as_of: date
    training: Window
    holdout: Window
    job_name: str
    run_id: str
    promoted_at: datetime
    reason: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, default=lambda moment: moment.isoformat()) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Champion:
        stored = json.loads(text)
        return cls(
            model_uri=stored["model_uri"],
            model_sha256=stored["model_sha256"],
            auc=stored["auc"],
            as_of=date.fromisoformat(stored["as_of"]),
            training=_window(stored["training"]),
            holdout=_window(stored["holdout"]),
            job_name=stored["job_name"],
            run_id=stored["run_id"],
            promoted_at=datetime.fromisoformat(stored["promoted_at"]),
            reason=stored["reason"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    promote: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The result for a challenger."""

    promoted: bool
    """Whether the challenger is the champion now. Also true if the first try of this task promoted it."""
    reason: str
    challenger: Evaluation
    champion_before: Champion | None
    champion_auc: float | None
    """The AUC of the previous champion on the challenger's holdout. None if they were not compared."""
    champion: Champion
    """The champion now."""


def read_champion(client: S3Client, *, bucket: str, prefix: str) -> Champion | None:
    """Return the champion, or None before the first promotion."""
    champion, _ = _read(client, bucket, prefix)
    return champion


def decide(
    *,
    challenger: Challenger,
    challenger_auc: float,
    champion: Champion | None,
    champion_auc: float | None,
    tolerance: float = 0.0,
    allow_older: bool = False,
) -> Decision:
    """Decide whether a challenger replaces the champion. Both AUCs are on the challenger's holdout."""
    if champion is None:
        reason = f"There was no champion; the first one has AUC {challenger_auc:.4f}."
        return Decision(promote=True, reason=reason)
    if is_newer(champion, challenger) and not allow_older:
        return Decision(
            promote=False,
            reason=(
                f"The champion of {champion.job_name} was trained for {champion.as_of}, later than this "
                f"model ({challenger.as_of}). An older model replaces it only with allow_older."
            ),
        )
    seen = days_seen_in_training(champion, challenger.holdout)
    if seen:
        return Decision(
            promote=True,
            reason=(
                f"The champion of {champion.job_name} was trained on {seen} days of this holdout "
                f"({challenger.holdout}), so they cannot be compared; the model trained for "
                f"{challenger.as_of} replaces it with AUC {challenger_auc:.4f}."
            ),
        )
    if champion_auc is None:
        raise EvaluationError(
            f"The champion of {champion.job_name} was not measured on {challenger.holdout}."
        )
    scores = f"AUC {challenger_auc:.4f} against the champion's {champion_auc:.4f} on {challenger.holdout}"
    slack = f", within the tolerance of {tolerance:g}" if tolerance else ""
    if challenger_auc >= champion_auc - tolerance:
        reason = f"Not worse than the champion of {champion.job_name}: {scores}{slack}."
        return Decision(promote=True, reason=reason)
    return Decision(promote=False, reason=f"Worse than the champion of {champion.job_name}: {scores}.")


def promote_if_not_worse(
    client: S3Client,
    *,
    bucket: str,
    prefix: str,
    challenger: Challenger,
    holdout: pd.DataFrame,
    now: datetime,
    tolerance: float = 0.0,
    allow_older: bool = False,
) -> Promotion:
    """Compare a challenger with the champion on the same flights and make it the champion if it is not worse.

    `holdout` are the flights of `challenger.holdout` with their label; `tolerance` is in AUC. Safe to repeat,
    and to run at the same time as others. Raises PromotionConflictError if other runs changed the champion
    each time.
    """
    measured = evaluate(load(challenger.artifact), holdout)
    auc_of = _Aucs(client, holdout, {challenger.sha256: measured.auc})
    for _ in range(MAX_CONFLICTS):
        before, etag = _read(client, bucket, prefix)
        if before is not None and _is_the_same(before, challenger):
            reason = f"This model is already the champion: {before.reason}"
            return Promotion(
                promoted=True,
                reason=reason,
                challenger=measured,
                champion_before=before,
                champion_auc=measured.auc,
                champion=before,
            )
        before_auc = None
        if before is not None and _is_comparable(before, challenger, allow_older=allow_older):
            before_auc = auc_of(before)
        decision = decide(
            challenger=challenger,
            challenger_auc=measured.auc,
            champion=before,
            champion_auc=before_auc,
            tolerance=tolerance,
            allow_older=allow_older,
        )
        now_in_use = before
        if decision.promote:
            now_in_use = _store(client, bucket, prefix, challenger, measured.auc, decision.reason, now, etag)
        if now_in_use is not None:
            return Promotion(
                promoted=decision.promote,
                reason=decision.reason,
                challenger=measured,
                champion_before=before,
                champion_auc=before_auc,
                champion=now_in_use,
            )
    raise PromotionConflictError(
        f"The champion at s3://{bucket}/{_record_key(prefix)} was changed {MAX_CONFLICTS} times by "
        f"others while the model of {challenger.job_name} was compared with it. That model is kept, but "
        "nothing was promoted. Run this task again."
    )


def is_newer(champion: Champion, challenger: Challenger) -> bool:
    """Whether the champion was trained for a later date."""
    return champion.as_of > challenger.as_of


def days_seen_in_training(champion: Champion, holdout: Window) -> int:
    """Count the days of a holdout on which the champion was trained, on the repeating calendar of the data.

    There are none in a sequence of weekly runs. There are some if an older run replaces a newer model, or if
    runs of another year used the same months of 2013.
    """
    return len(champion.training.data_days & holdout.data_days)


def read_object(client: S3Client, uri: str) -> bytes:
    """Return the content of an `s3://bucket/key`."""
    address = urlsplit(uri)
    return client.get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))["Body"].read()


class _Aucs:
    """The AUC of each champion on one holdout, evaluated once."""

    def __init__(self, client: S3Client, holdout: pd.DataFrame, known: dict[str, float]) -> None:
        self._client = client
        self._holdout = holdout
        self._known = known

    def __call__(self, champion: Champion) -> float:
        if champion.model_sha256 not in self._known:
            model = load(read_object(self._client, champion.model_uri))
            self._known[champion.model_sha256] = evaluate(model, self._holdout).auc
        return self._known[champion.model_sha256]


def _is_the_same(champion: Champion, challenger: Challenger) -> bool:
    return (champion.run_id, champion.model_sha256) == (challenger.run_id, challenger.sha256)


def _is_comparable(champion: Champion, challenger: Challenger, *, allow_older: bool) -> bool:
    if is_newer(champion, challenger) and not allow_older:
        return False
    return not days_seen_in_training(champion, challenger.holdout)


def _read(client: S3Client, bucket: str, prefix: str) -> tuple[Champion | None, str | None]:
    try:
        answer = client.get_object(Bucket=bucket, Key=_record_key(prefix))
    except client.exceptions.NoSuchKey:
        return None, None
    return Champion.from_json(answer["Body"].read()), answer["ETag"]


def _store(
    client: S3Client,
    bucket: str,
    prefix: str,
    challenger: Challenger,
    auc: float,
    reason: str,
    now: datetime,
    etag: str | None,
) -> Champion | None:
    """Write model and record. None if the champion is no longer the one with `etag`; then nothing changed."""
    key = f"{_folder(prefix)}/models/{challenger.sha256}/model.tar.gz"
    client.put_object(Bucket=bucket, Key=key, Body=challenger.artifact)
    champion = Champion(
        model_uri=f"s3://{bucket}/{key}",
        model_sha256=challenger.sha256,
        auc=auc,
        as_of=challenger.as_of,
        training=challenger.training,
        holdout=challenger.holdout,
        job_name=challenger.job_name,
        run_id=challenger.run_id,
        promoted_at=now,
        reason=reason,
    )
    body = champion.to_json().encode()
    record = _record_key(prefix)
    try:
        if etag is None:
            client.put_object(Bucket=bucket, Key=record, Body=body, IfNoneMatch="*")
        else:
            client.put_object(Bucket=bucket, Key=record, Body=body, IfMatch=etag)
    except ClientError as exc:
        if exc.response["Error"]["Code"] in _CONFLICTS | _GONE:
            return None
        raise
    return champion


def _folder(prefix: str) -> str:
    return f"{prefix.strip('/')}/champion".lstrip("/")


def _record_key(prefix: str) -> str:
    return f"{_folder(prefix)}/champion.json"


def _window(stored: dict[str, str]) -> Window:
    return Window(start=date.fromisoformat(stored["start"]), end=date.fromisoformat(stored["end"]))
