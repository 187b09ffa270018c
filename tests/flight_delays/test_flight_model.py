from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.flight_delays.data import read_table
from include.flight_delays.errors import EvaluationError, ModelArtifactError
from include.flight_delays.model import auc, evaluate, load

if TYPE_CHECKING:
    import pandas as pd

    from include.flight_delays.data import Channels


@pytest.fixture(scope="module")
def holdout(small_channels: Channels) -> pd.DataFrame:
    return read_table(Path(small_channels.holdout.file_uri))


def _archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def test_a_model_that_learned_beats_one_that_did_not(
    artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    good, poor = (evaluate(load(artifacts[name]), holdout) for name in ("good", "poor"))
    assert good.auc > poor.auc > 0.5
    assert good.log_loss < poor.log_loss
    assert good.rows == len(holdout)
    assert good.positives_rate == pytest.approx(holdout["late"].mean())


def test_a_model_loads_from_a_path_and_from_bytes(
    artifacts: dict[str, bytes], holdout: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(artifacts["good"])
    assert np.array_equal(load(path).predict(holdout), load(artifacts["good"]).predict(holdout))


def test_an_airline_the_model_never_saw_is_a_missing_value(
    artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    flights = holdout.head(5).copy()
    flights["carrier"] = "ZZ"
    flights["dest"] = None
    predictions = load(artifacts["good"]).predict(flights)
    assert np.isfinite(predictions).all()


def test_flights_without_a_column_the_model_needs_are_refused(
    artifacts: dict[str, bytes], holdout: pd.DataFrame
) -> None:
    with pytest.raises(EvaluationError, match="distance"):
        load(artifacts["good"]).predict(holdout.drop(columns="distance"))


def test_a_holdout_without_labels_is_refused(artifacts: dict[str, bytes], holdout: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="no column late"):
        evaluate(load(artifacts["good"]), holdout.drop(columns="late"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no archive", "not a model.tar.gz"),
        (_archive(**{"notes.txt": b"hello"}), "has no features.json"),
        (_archive(**{"features.json": b"{"}), "not a model.tar.gz"),
        (_archive(**{"features.json": b'{"format": 99}', "model.ubj": b""}), "format 99"),
        (_archive(**{"features.json": b'{"format": 1}', "model.ubj": b"nonsense"}), "cannot read model.ubj"),
        (_archive(**{"../features.json": b"{}", "/model.ubj": b""}), "has no features.json"),
    ],
)
def test_an_archive_the_training_did_not_make_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ModelArtifactError, match=message):
        load(body)


def test_the_auc_of_known_rankings() -> None:
    assert auc([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]) == 1.0
    assert auc([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4]) == 0.0
    assert auc([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) == 0.5
    assert auc([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4]) == 0.75


def test_flights_of_one_kind_have_no_auc() -> None:
    with pytest.raises(EvaluationError, match="0 late ones and 2 on time"):
        auc([0, 0], [0.1, 0.2])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_the_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, int]]) -> None:
    late = [score for label, score in pairs if label]
    on_time = [score for label, score in pairs if not label]
    wins = sum((a > b) + (a == b) / 2 for a in late for b in on_time)
    assert auc(*np.array(pairs).T) == pytest.approx(wins / (len(late) * len(on_time)))
