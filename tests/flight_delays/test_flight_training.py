from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from include.flight_delays.data import read_table
from include.flight_delays.model import evaluate, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from include.flight_delays.data import Channels

    from .conftest import Training


METRIC = re.compile(r"^\[(\d+)\] validation-auc:([0-9.]+) .*train-auc:([0-9.]+)", re.MULTILINE)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _newest(training: Training) -> Path:
    return max(training.checkpoint_dir.glob("*.checkpoint"))


def test_a_training_killed_again_and_again_gives_the_model_of_an_undisturbed_one(
    training_factory: Callable[..., Training], channels: Channels
) -> None:
    wanted = {"num_round": 150, "checkpoint_every": 20, "log_every": 5, "max_depth": 4}
    undisturbed = training_factory("undisturbed", channels)
    assert "starting from scratch" in undisturbed.run(**wanted)

    killed = training_factory("killed", channels)
    assert "starting from scratch" in killed.run_until("[5]", **wanted)  # before any checkpoint
    for line in ("[45]", "[75]", "[105]"):
        killed.run_until(line, **wanted)
    last = killed.run(**wanted)
    assert int(re.findall(r"resuming from round (\d+)", last)[0]) >= 100

    assert _files(killed.model_dir) == _files(undisturbed.model_dir)
    holdout = read_table(killed.working_dir / channels.holdout.file_uri)
    predictions = [load(training.artifact()).predict(holdout) for training in (killed, undisturbed)]
    assert predictions[0].tobytes() == predictions[1].tobytes()
    assert evaluate(load(killed.artifact()), holdout).auc > 0.63


def test_the_number_of_threads_does_not_change_the_model(training_factory: Callable[..., Training]) -> None:
    """So a step on a bigger instance may go on where a smaller one stopped."""
    models = []
    for threads in (1, 2):
        training = training_factory(f"{threads}-threads")
        training.run(num_round=15, nthread=threads)
        models.append(_files(training.model_dir))
    assert models[0] == models[1]


def test_metrics_come_in_lines_a_metric_definition_can_read(
    training_factory: Callable[..., Training], small_channels: Channels
) -> None:
    training = training_factory()
    found = METRIC.findall(training.run(num_round=25, log_every=10))
    assert [int(number) for number, _, _ in found] == [10, 20, 25]
    validation = read_table(training.working_dir / small_channels.validation.file_uri)
    ours = evaluate(load(training.artifact()), validation).auc
    assert float(found[-1][1]) == pytest.approx(ours, abs=1e-4), "the script and the evaluation encode alike"


def test_a_torn_checkpoint_is_skipped_for_the_one_before(training_factory: Callable[..., Training]) -> None:
    training, undisturbed = training_factory("torn"), training_factory("undisturbed")
    training.run(num_round=20, checkpoint_every=10)
    newest = _newest(training)
    newest.write_bytes(newest.read_bytes()[:-100])
    (training.checkpoint_dir / newest.name.replace("000020", "000030")).write_bytes(b"")
    (training.checkpoint_dir / newest.name.replace("000020", "000035")).write_bytes(b"7\nnothing")
    (training.checkpoint_dir / f".{newest.name}.writing").write_bytes(b"half")

    output = training.run(num_round=40, checkpoint_every=10)
    assert output.count("it is torn or unreadable") == 3
    assert "resuming from round 10" in output
    assert not list(training.checkpoint_dir.glob(".*"))
    undisturbed.run(num_round=40, checkpoint_every=10)
    assert _files(training.model_dir) == _files(undisturbed.model_dir)


def test_a_checkpoint_with_changed_bytes_is_not_used(training_factory: Callable[..., Training]) -> None:
    training = training_factory()
    training.run(num_round=10, checkpoint_every=10)
    body = bytearray(_newest(training).read_bytes())
    body[-50] ^= 0xFF
    _newest(training).write_bytes(body)
    output = training.run(num_round=10, checkpoint_every=10)
    assert "its content is not what was written" in output
    assert "starting from scratch" in output


def test_a_checkpoint_of_other_hyperparameters_is_refused_and_left_alone(
    training_factory: Callable[..., Training],
) -> None:
    training, undisturbed = training_factory("foreign"), training_factory("undisturbed")
    training.run(num_round=30, checkpoint_every=10, max_depth=3)
    foreign = _files(training.checkpoint_dir)

    output = training.run(num_round=20, checkpoint_every=10, max_depth=4)
    assert "belongs to another training (max_depth was 3 and is 4)" in output
    assert "starting from scratch" in output
    assert foreign.items() <= _files(training.checkpoint_dir).items()
    undisturbed.run(num_round=20, checkpoint_every=10, max_depth=4)
    assert _files(training.model_dir) == _files(undisturbed.model_dir)
    assert "resuming from round 20" in training.run(num_round=20, checkpoint_every=10, max_depth=4)


def test_a_checkpoint_of_other_data_is_refused(
    training_factory: Callable[..., Training], channels: Channels
) -> None:
    training = training_factory()
    training.run(num_round=5, checkpoint_every=5)
    training.channels = channels
    output = training.run(num_round=5, checkpoint_every=5)
    assert "train_data was" in output
    assert "starting from scratch" in output


def test_asking_for_more_rounds_goes_on_and_for_fewer_does_not_overshoot(
    training_factory: Callable[..., Training],
) -> None:
    training, undisturbed = training_factory("changed"), training_factory("undisturbed")
    training.run(num_round=40, checkpoint_every=10)
    assert "resuming from round 40" in training.run(num_round=50, checkpoint_every=10)
    output = training.run(num_round=35, checkpoint_every=10)
    assert "past the 35 rounds" in output
    assert "resuming from round 30" in output
    undisturbed.run(num_round=35, checkpoint_every=10)
    assert _files(training.model_dir) == _files(undisturbed.model_dir)


def test_only_the_last_few_checkpoints_are_kept(training_factory: Callable[..., Training]) -> None:
    training = training_factory()
    training.run(num_round=25, checkpoint_every=3)
    rounds = [int(path.name.split("-")[2].split(".")[0]) for path in training.checkpoint_dir.iterdir()]
    assert sorted(rounds) == [21, 24, 25]


def test_the_model_folder_says_how_its_categories_are_coded(
    training_factory: Callable[..., Training],
) -> None:
    training = training_factory()
    training.run(num_round=2)
    described = json.loads((training.model_dir / "features.json").read_text())
    origins = [item["categories"] for item in described["features"] if item["name"] == "origin"]
    assert origins == [["EWR", "JFK", "LGA"]]
    assert {path.name for path in training.model_dir.iterdir()} == {"model.ubj", "features.json"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_round": 0}, "0 is below 1"),
        ({"subsample": 1.5}, "1.5 is not above 0 and at most 1"),
        ({"max_dept": 4}, "unrecognized arguments: --max_dept 4"),
        ({"label": "delayed"}, "no column delayed"),
    ],
)
def test_a_wrong_hyperparameter_ends_the_training_with_its_name(
    training_factory: Callable[..., Training], wrong: dict[str, object], message: str
) -> None:
    with training_factory().start(**wrong) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert message in output
