"""Which objects below the prefix are checkpoints: by default, with a glob, with a regular expression."""

from __future__ import annotations

import pytest

from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.errors import InvalidInput


def _checkpoint(pattern: str | None, key: str) -> str | None:
    part = CheckpointPattern.of(pattern).part(key)
    return part.checkpoint if part else None


@pytest.mark.parametrize(
    ("key", "checkpoint"),
    [
        ("checkpoint-500/model.safetensors", "checkpoint-500"),
        ("checkpoint-500/global_step500/mp_rank_00_model_states.pt", "checkpoint-500"),
        ("epoch-3.pt", "epoch-3.pt"),
        ("xgboost-checkpoint.3", "xgboost-checkpoint.3"),
        ("ckpt-5.index", "ckpt-5"),
        ("ckpt-5.data-00000-of-00002", "ckpt-5"),
        ("model-00001-of-00004.safetensors", "model"),
        ("step-500/.metadata", "step-500"),
        ("lightning_logs/version_0/checkpoints/epoch=1.ckpt", "lightning_logs"),
    ],
)
def test_without_a_pattern_each_folder_and_each_file_is_a_checkpoint(key: str, checkpoint: str) -> None:
    assert _checkpoint(None, key) == checkpoint


@pytest.mark.parametrize(
    "key",
    [
        "",
        "checkpoint-500/",
        "events.out.tfevents.1700000000.algo-1.42.0",
        "runs/Nov28/events.out.tfevents.1",
        "logs/train.txt",
        "train.log",
        "train.log.1",
        "checkpoint-5/model.pt.tmp",
        "checkpoint-5/model.pt.sagemaker-uploading",
        "checkpoint-5/model.pt.sagemaker-uploaded",
        "xyz.sagemaker-ignore",
    ],
)
def test_logs_events_and_markers_are_no_checkpoints(key: str) -> None:
    assert _checkpoint(None, key) is None


@pytest.mark.parametrize("pattern", [None, "*", "**", "^"])
def test_sagemakers_markers_never_count(pattern: str | None) -> None:
    assert _checkpoint(pattern, "a/model.pt.sagemaker-uploaded") is None


@pytest.mark.parametrize(
    ("glob", "key", "checkpoint"),
    [
        ("checkpoint-*", "checkpoint-500/a/b.bin", "checkpoint-500"),
        ("checkpoint-*", "checkpoint-500/train.log", None),
        ("checkpoint-*", "best/model.bin", None),
        ("checkpoint-*/", "checkpoint-500/b.bin", "checkpoint-500"),
        ("out/step-[0-9]*", "out/step-12/rank.bin", "out/step-12"),
        ("out/step-[!0-9]*", "out/step-12/rank.bin", None),
        ("*.pt", "epoch-1.pt", "epoch-1.pt"),
        ("*.pt", "deep/epoch-1.pt", None),
        ("**/*.pt", "deep/er/epoch-1.pt", "deep"),
        ("**/*.pt", "epoch-1.pt", "epoch-1.pt"),
        ("step-*/*.bin", "step-1/a.bin", "step-1"),
        ("step-*/*.bin", "step-1/config.json", None),
        ("epoch-?.pt", "epoch-12.pt", None),
        ("a.b+c", "a.b+c/x", "a.b+c"),
        ("train.log", "train.log", "train.log"),
    ],
)
def test_a_glob_says_what_counts(glob: str, key: str, checkpoint: str | None) -> None:
    assert _checkpoint(glob, key) == checkpoint


def test_a_regular_expression_says_what_belongs_together_and_what_is_there() -> None:
    pattern = CheckpointPattern.of(
        r"^rank-(?P<rank>\d+)-of-(?P<ranks>\d+)/step-(?P<checkpoint>\d+)\.pt$|^step-\d+(?P<index>\.index)$"
    )
    part = pattern.part("rank-3-of-8/step-500.pt")
    assert part is not None
    assert (part.checkpoint, part.rank, part.ranks, part.needs_index) == ("500", 3, 8, True)
    index = pattern.part("step-500.index")
    assert index is not None
    assert index.is_index
    assert pattern.part("rank-3-of-8/optimizer.pt") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("^step-(", "unterminated subpattern"),
        ("step-[0-9", "a [ without a ]"),
        ("s3://bucket/checkpoints/*", "no path below the prefix"),
        ("/checkpoint-*", "no path below the prefix"),
        (7, "give a glob"),
        ("^(?P<step>\\d+)", "the group step is not known"),
        ("^(?P<ranks>\\d+)", "add the group rank"),
        ("^(?P<rank>.*)", "digits only"),
        ("x" * 600, "at most 512"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_with_a_way_out(value: object, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        CheckpointPattern.of(value)
    assert caught.value.field == "checkpoint_pattern"
    assert says in str(caught.value)
