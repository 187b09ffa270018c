"""Evaluates a trained model and promotes it to champion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHAMPION_PREFIX = "flight-delays"


def promote(
    s3: S3Client, *, bucket: str, as_of: str, model_uri: str, job_name: str, run_id: str
) -> dict[str, Any]:
    """Evaluate the model on its holdout, and make it the champion if it is not worse. Returns plain JSON."""
    from .data import Window, as_day, flights_between, holdout_window, labelled, training_window
    from .registry import Challenger, promote_if_not_worse, read_object

    day = as_day(as_of)
    start, end = training_window(day)
    holdout_start, holdout_end = holdout_window(day)
    holdout, _ = labelled(flights_between(holdout_start, holdout_end))
    promotion = promote_if_not_worse(
        s3,
        bucket=bucket,
        prefix=CHAMPION_PREFIX,
        challenger=Challenger(
            artifact=read_object(s3, model_uri),
            as_of=day,
            training=Window(start, end),
            holdout=Window(holdout_start, holdout_end),
            job_name=job_name,
            run_id=run_id,
        ),
        holdout=holdout,
        now=datetime.now(UTC),
    )
    measured = promotion.challenger
    print(f"AUC {measured.auc:.4f}, log loss {measured.log_loss:.4f} on {measured.rows} flights.")
    print(promotion.reason)
    return {
        "promoted": promotion.promoted,
        "reason": promotion.reason,
        "auc": measured.auc,
        "log_loss": measured.log_loss,
        "rows": measured.rows,
        "champion_auc": promotion.champion_auc,
        "champion": promotion.champion.job_name,
        "model_uri": promotion.champion.model_uri,
        "as_of": as_of,
        "job_name": job_name,
    }
