"""`scripts/test` runs each test file in one piece, says what failed and ends what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.local_stack import wait_until
from scripts.pieces import OLDEST, PIECES, ROOT, Piece, all_pieces, main

PASSES = "print('==== 3 passed in 1.50s ===='); print('12.50s call     tests/test_a.py::test_slow')"
FAILS = "print('FAILED tests/test_b.py::test_it - boom'); print('= 1 failed in 2s ='); raise SystemExit(1)"


def _piece(name: str, code: str) -> Piece:
    return Piece(name=name, command=(sys.executable, "-c", code))


def test_every_path_is_there_and_in_one_piece() -> None:
    paths = [path for piece in PIECES for path in piece]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for file in ROOT.glob("tests/**/test_*.py"):
        name = file.relative_to(ROOT).as_posix()
        assert sum(name == path or name.startswith(f"{path}/") for path in paths) <= 1, name


def test_files_that_share_an_airflow_are_named() -> None:
    """Among all other tests each would start it again."""
    named = {path for piece in PIECES for path in piece}
    files = {
        file.relative_to(ROOT).as_posix()
        for folder in ("airflow", "chaos")
        for file in (ROOT / "tests" / folder).glob("test_*.py")
    }
    assert files - named == set()


def test_one_piece_has_all_files_that_no_other_has() -> None:
    names = [" ".join(paths) for paths in PIECES]
    by_name = {piece.name: piece.command for piece in all_pieces()}
    assert by_name.keys() == {*names, OLDEST, "all other tests"}
    assert all(by_name[name][-len(paths) :] == paths for name, paths in zip(names, PIECES, strict=True))
    ignored = {word for word in by_name["all other tests"] if word.startswith("--ignore=")}
    assert ignored == {f"--ignore={path}" for paths in PIECES for path in paths}


def test_all_pieces_run_and_a_failed_one_is_the_last_thing_to_be_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pieces = [_piece("fails", FAILS), _piece("first", PASSES), _piece("second", PASSES)]
    assert main(pieces, 2) == 1
    shown = capsys.readouterr().out
    assert shown.count("==== 3 passed in 1.50s ====") == 2, "what each says"
    together = shown[shown.index("[test] the slowest tests:") :]
    assert "12.50s call     tests/test_a.py::test_slow" in together
    assert "  first: 3 passed" in together
    assert together.endswith("[test] failed:\n  fails: exit 1\nFAILED tests/test_b.py::test_it - boom\n")


def test_pieces_that_pass_end_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([_piece("only", PASSES)], 3) == 0
    assert "failed" not in capsys.readouterr().out


def test_as_many_run_at_once_as_may(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    meets = f"""
import time
from pathlib import Path
here = Path({str(tmp_path)!r})
(here / "NAME").touch()
while len(list(here.iterdir())) < 2:
    time.sleep(0.01)
"""
    assert main([_piece(name, meets.replace("NAME", name)) for name in "ab"], 2) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_ends_what_runs_and_starts_nothing_more(
    number: signal.Signals, tmp_path: Path
) -> None:
    begun, never = tmp_path / "begun", tmp_path / "never"
    waits = f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"""
import sys
from scripts.pieces import Piece, main
codes = [{waits!r}, "open({str(never)!r}, 'w')"]
sys.exit(main([Piece(name=c, command=(sys.executable, "-c", c)) for c in codes], 1))
"""
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: begun.exists() and begun.read_text(), "the first piece", timeout_seconds=30)
    os.kill(runner.pid, number)
    assert runner.wait(timeout=20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
    assert not never.exists()
