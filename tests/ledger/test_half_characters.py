"""Half of a character in what AWS says: it is in no file, state, report or page, and breaks none of them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.dashboard.overview import lay_tables, overview_of
from spot_training.dashboard.rendering import render
from spot_training.dashboard.timeline import timeline_of
from spot_training.domain.errors import AlgorithmFailed, RequestRefused
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.compaction import compact
from spot_training.report import report_of, to_csv, to_html, to_log
from tests.cloud import Cloud, answer_with
from tests.records import make_attempt, make_record
from tests.training.support import Training, patient_config

NOW = timedelta(0)

HALF = "cut \ud83d"
WHOLE = "cut \ufffd"


def _with_half_characters(training: Training) -> None:
    """SageMaker's answers as they arrive where a message was cut in the middle of a character."""

    def cut(parsed: dict[str, Any], **_named: Any) -> None:
        if "FailureReason" in parsed:
            parsed["FailureReason"] = f"AlgorithmError: {HALF}"
        for visit in parsed.get("SecondaryStatusTransitions") or ():
            visit["StatusMessage"] = HALF

    training.jobs.listen(
        lambda client: client.meta.events.register("after-call.sagemaker.DescribeTrainingJob", cut)
    )


def test_a_failure_reason_with_half_a_character_is_recorded_reported_and_shown(
    cloud: Cloud, ledger: Ledger
) -> None:
    failing = {"LOCAL_TRAINING_SECONDS": "600", "LOCAL_TRAINING_FAILURE": "it breaks"}
    training = Training(cloud, ledger, config=patient_config(Environment=failing))
    _with_half_characters(training)
    with pytest.raises(AlgorithmFailed, match=WHOLE) as failed:
        training.finish()
    assert training.warned == []
    str(failed.value).encode()
    for values in training.store.values.values():
        json.dumps(values, ensure_ascii=False).encode()
    record = training.record()
    assert record is not None
    assert record.attempts[-1].message == f"AlgorithmError: {WHOLE}"
    assert WHOLE in record.reason
    with ledger.read() as reader:
        report = report_of(reader, Selection(), title="A report", made_at=datetime.now(UTC))
        to_html(report).encode()
        to_log(report.totals).encode()
        "".join(to_csv(reader, Selection())).encode()
        lay_tables(reader)
        overview_of(reader, Selection())
    page = render(
        "training.html.j2",
        timeline=timeline_of(record, now=datetime.now(UTC)),
        task={"dag_id": record.dag_id, "run_id": record.run_id, "task_id": "train", "map_index": -1},
        left_out=(),
        is_within_task=False,
    )
    assert WHOLE in page
    page.encode()


def test_a_refusal_with_half_a_character_is_recorded(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    answer_with(training.jobs, "CreateTrainingJob", 400, "AccessDeniedException", HALF)
    with pytest.raises(RequestRefused):
        training.step()
    record = training.record()
    assert record is not None
    assert WHOLE in record.reason


def test_half_characters_anywhere_in_a_record_can_be_written_and_read(ledger: Ledger) -> None:
    names = {"model": HALF, "team": HALF, "tags": {HALF: HALF}, "reason": HALF, "run_id": "\u2603"}
    attempt = make_attempt(job_name=HALF, reason=HALF, message=HALF)
    ledger.write(make_record(**names, attempts=(attempt,), unknown={HALF: [HALF]}))
    for _ in range(2):
        with ledger.read() as reader:
            (record,) = reader.records()
            rows = list(csv.reader(io.StringIO("".join(to_csv(reader, Selection())))))
        assert (record.model, record.team, record.tags) == (WHOLE, WHOLE, {WHOLE: WHOLE})
        assert record.attempts[0].message == WHOLE
        assert record.unknown == {WHOLE: [WHOLE]}
        assert WHOLE in rows[1]
        compact(ledger, settled_after=NOW)


def test_a_record_that_another_program_wrote_with_half_a_character_is_read(ledger: Ledger) -> None:
    data = {**make_record().to_json(), "reason": HALF}
    ledger.put(ledger.path("fresh", f"{data['key']}.{data['version']:020d}.json"), json.dumps(data).encode())
    with ledger.read() as reader:
        assert [record.reason for record in reader.records()] == [WHOLE]
        assert reader.set_aside == ()
