from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.flight_delays import registry
from include.flight_delays.data import Window, holdout_window, read_table, training_window
from include.flight_delays.errors import PromotionConflictError
from include.flight_delays.registry import Challenger, Champion, Promotion, decide, promote_if_not_worse

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from mypy_boto3_s3 import S3Client

    from include.flight_delays.data import Channels

BUCKET = "models"
NOW = datetime(2013, 6, 10, 12, tzinfo=UTC)
WEEK = timedelta(weeks=1)
JUNE = date(2013, 6, 3)


@pytest.fixture(scope="module")
def holdout(small_channels: Channels) -> pd.DataFrame:
    return read_table(Path(small_channels.holdout.file_uri))


def _challenger(artifact: bytes = b"", *, as_of: date = JUNE, **overrides: Any) -> Challenger:
    training, holdout = training_window(as_of), holdout_window(as_of)
    facts: dict[str, Any] = {
        "artifact": artifact,
        "as_of": as_of,
        "training": Window(start=training[0], end=training[1]),
        "holdout": Window(start=holdout[0], end=holdout[1]),
        "job_name": f"flights-{as_of}",
        "run_id": f"scheduled__{as_of}",
    }
    return Challenger(**{**facts, **overrides})


def _champion(*, as_of: date = JUNE - WEEK, **overrides: Any) -> Champion:
    challenger = _challenger(as_of=as_of)
    facts: dict[str, Any] = {
        "model_uri": "s3://models/x/model.tar.gz",
        "model_sha256": "00",
        "auc": 0.7,
        "as_of": as_of,
        "training": challenger.training,
        "holdout": challenger.holdout,
        "job_name": challenger.job_name,
        "run_id": challenger.run_id,
        "promoted_at": NOW,
        "reason": "It was the first.",
    }
    return Champion(**{**facts, **overrides})


def _promote(client: S3Client, challenger: Challenger, holdout: pd.DataFrame, **options: Any) -> Promotion:
    return promote_if_not_worse(
        client, bucket=BUCKET, prefix="flights", challenger=challenger, holdout=holdout, now=NOW, **options
    )


def _before_writing_the_record(client: S3Client, act: Callable[[], object], *, times: int = 1) -> None:
    """Let something happen between this client's decision and its write of champion.json."""
    left = [times]

    def on_call(params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith("champion.json") and left[0]:
            left[0] -= 1
            act()

    client.meta.events.register("before-call.s3.PutObject", on_call)


def test_without_a_champion_the_first_model_is_promoted() -> None:
    decision = decide(challenger=_challenger(), challenger_auc=0.6, champion=None, champion_auc=None)
    assert decision.promote
    assert "no champion" in decision.reason


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance", "promoted"),
    [(0.7, 0.6, 0.0, True), (0.7, 0.7, 0.0, True), (0.69, 0.7, 0.0, False), (0.69, 0.7, 0.02, True)],
)
def test_a_newer_model_is_promoted_unless_it_is_worse(
    ours: float, theirs: float, tolerance: float, promoted: bool
) -> None:
    decision = decide(
        challenger=_challenger(),
        challenger_auc=ours,
        champion=_champion(),
        champion_auc=theirs,
        tolerance=tolerance,
    )
    assert decision.promote is promoted
    assert f"AUC {ours:.4f} against the champion's {theirs:.4f}" in decision.reason


def test_an_older_run_that_ends_late_does_not_replace_a_newer_champion() -> None:
    newer = _champion(as_of=JUNE + WEEK)
    decision = decide(challenger=_challenger(), challenger_auc=0.99, champion=newer, champion_auc=None)
    assert not decision.promote
    assert "later than this model" in decision.reason


def test_an_older_model_takes_over_when_asked_to() -> None:
    newer = _champion(as_of=JUNE + WEEK)
    asked = decide(
        challenger=_challenger(), challenger_auc=0.6, champion=newer, champion_auc=None, allow_older=True
    )
    assert asked.promote
    assert "trained on 7 days of this holdout" in asked.reason


def test_a_champion_that_learned_the_holdout_by_heart_is_no_measure() -> None:
    """The calendar repeats: a champion of July 2013 knows the June of every later year."""
    champion = _champion(as_of=date(2013, 7, 15))
    challenger = _challenger(as_of=date(2026, 6, 8))
    assert registry.days_seen_in_training(champion, challenger.holdout) == 7
    assert decide(challenger=challenger, challenger_auc=0.6, champion=champion, champion_auc=None).promote


def test_weekly_runs_never_meet_their_own_holdout() -> None:
    for week in range(20):
        champion = _champion(as_of=JUNE + week * WEEK)
        assert (
            registry.days_seen_in_training(champion, _challenger(as_of=JUNE + (week + 1) * WEEK).holdout) == 0
        )


def test_a_champion_survives_its_record() -> None:
    champion = _champion()
    assert Champion.from_json(champion.to_json()) == champion


def test_there_is_no_champion_before_the_first_promotion(s3: S3Client) -> None:
    assert registry.read_champion(s3, bucket=BUCKET, prefix="flights") is None


def test_a_better_model_replaces_the_champion_and_a_poor_one_does_not(
    s3: S3Client, artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    first = _promote(s3, _challenger(artifacts["poor"]), holdout)
    second = _promote(s3, _challenger(artifacts["good"], as_of=JUNE + WEEK), holdout)
    third = _promote(s3, _challenger(artifacts["poor"], as_of=JUNE + 2 * WEEK), holdout)
    assert [first.promoted, second.promoted, third.promoted] == [True, True, False]
    assert second.champion_auc == first.challenger.auc, "both were measured on the same flights"
    assert third.champion == second.champion == registry.read_champion(s3, bucket=BUCKET, prefix="flights")
    assert registry.read_object(s3, third.champion.model_uri) == artifacts["good"]


def test_a_repeated_task_finds_itself_promoted(
    s3: S3Client, artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    first = _promote(s3, _challenger(artifacts["good"]), holdout)
    again = _promote(s3, _challenger(artifacts["good"]), holdout)
    assert again.promoted
    assert "already" in again.reason
    assert again.champion == first.champion


def test_of_two_first_champions_the_loser_of_the_race_decides_again(
    s3: S3Client, make_s3: Callable[[], S3Client], artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    newer = _challenger(artifacts["poor"], as_of=JUNE + WEEK)
    older = _challenger(artifacts["good"])
    _before_writing_the_record(s3, lambda: _promote(make_s3(), newer, holdout))
    late = _promote(s3, older, holdout)
    assert not late.promoted
    assert "later than this model" in late.reason
    assert late.champion.run_id == newer.run_id


def test_the_loser_of_a_race_is_compared_with_the_winner_not_with_the_champion_it_read(
    s3: S3Client, make_s3: Callable[[], S3Client], artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    _promote(s3, _challenger(artifacts["poor"]), holdout)
    winner = _challenger(artifacts["good"], as_of=JUNE + WEEK)
    loser = _challenger(artifacts["poor"], as_of=JUNE + 2 * WEEK)
    _before_writing_the_record(s3, lambda: _promote(make_s3(), winner, holdout))
    outcome = _promote(s3, loser, holdout)
    assert not outcome.promoted, "it was as good as the champion it read, and is worse than the one that won"
    assert outcome.champion.run_id == winner.run_id


def test_a_champion_that_changes_each_time_is_an_error_with_nothing_promoted(
    s3: S3Client, make_s3: Callable[[], S3Client], artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    _promote(s3, _challenger(artifacts["poor"]), holdout)
    other = make_s3()

    def touch() -> None:
        before = registry.read_champion(other, bucket=BUCKET, prefix="flights")
        assert before is not None
        changed = _champion(
            model_uri=before.model_uri, model_sha256=before.model_sha256, reason=before.reason + "."
        )
        other.put_object(Bucket=BUCKET, Key="flights/champion/champion.json", Body=changed.to_json().encode())

    _before_writing_the_record(s3, touch, times=1000)
    with pytest.raises(PromotionConflictError, match="nothing was promoted"):
        _promote(s3, _challenger(artifacts["good"], as_of=JUNE + WEEK), holdout)
    champion = registry.read_champion(other, bucket=BUCKET, prefix="flights")
    assert champion is not None
    assert champion.as_of < JUNE
