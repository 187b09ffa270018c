"""What the drill records of a container that is killed while it writes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from spot_drill.history import Arrival, read_history
from spot_drill.recorder import Recorder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel reports the end of each write")


def test_a_file_that_only_the_kill_closed_was_not_saved(tmp_path: Path) -> None:
    folder, restored = tmp_path / "checkpoints", tmp_path / "restored"
    folder.mkdir()
    recorder = Recorder(tmp_path)
    recorder.starting("job", "algo-1", folder)
    (folder / "step-1").write_text("one")
    with (folder / "step-2").open("w") as file, (folder / "step-1").open("a") as other:
        file.write("half")
        file.flush()
        other.write("and more")
        shutil.copytree(folder, restored)  # what is open is not uploaded
    (restored / "step-2").unlink()
    recorder.ended("job", "algo-1", None)
    recorder.starting("job", "algo-1", restored)
    recorder.ended("job", "algo-1", 0)
    history = read_history(recorder.stretches("job")[0], frozenset({"step-#"}))
    assert [save.name for save in history.saves] == ["step-1"]
    assert set(history.unfinished) == {"step-1", "step-2"}


def test_a_file_that_was_complete_at_the_kill_was_saved(tmp_path: Path) -> None:
    folder, restored = tmp_path / "checkpoints", tmp_path / "restored"
    folder.mkdir()
    recorder = Recorder(tmp_path)
    recorder.starting("job", "algo-1", folder)
    (folder / "step-1").write_text("one")
    shutil.copytree(folder, restored)
    recorder.ended("job", "algo-1", None)
    recorder.starting("job", "algo-1", restored)
    recorder.ended("job", "algo-1", 0)
    history = read_history(recorder.stretches("job")[0], frozenset({"step-#"}))
    assert [save.arrival for save in history.saves] == [Arrival.NEW_IN_PLACE]
    assert history.unfinished == ()
