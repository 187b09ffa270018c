"""The drill as people run it: scripts with one fault each, wrong options, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.flight_delays.data import prepare_channels
from include.flight_delays.package import TRAINING_FOLDER
from spot_drill.command import main

from .support import ROOT, wait_until

TRAINEE = Path(__file__).with_name("trainee.py")
FAULTS = {
    "none": [],
    "fails": ["runs"],
    "no-checkpoint": ["checkpoints"],
    "never-resumes": ["resume"],
    "fails-on-restart": ["resume"],
    "overwrites": ["atomic writes"],
    "deletes-first": ["keeps a checkpoint"],
    "loses-random-state": ["same model"],
    "trusts-checkpoints": ["torn checkpoint"],
    "keeps-what-is-there": ["resume"],
    "tidies-up": ["resume", "keeps a checkpoint"],
    "takes-the-last-name": ["runs"],
}


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "spot_drill", *(str(each) for each in arguments)]


def _drill(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, **options
    )


class Done:
    """A drill that is over."""

    def __init__(self, process: subprocess.CompletedProcess[str], report: Path) -> None:
        self.status = process.returncode
        self.text = process.stdout
        self.progress = process.stderr
        self.verdict: dict[str, Any] = json.loads(report.read_text())

    def asked(self, result: str) -> list[str]:
        return [check["question"] for check in self.verdict["checks"] if check["result"] == result]

    def seen(self, question: str) -> str:
        return str(self.check(question)["seen"])

    def check(self, question: str) -> dict[str, Any]:
        return next(dict(check) for check in self.verdict["checks"] if check["question"] == question)


#: What a fault may lead to, as chance has it: an end in the middle of an overwrite leaves no checkpoint, and
#: what was restored has no markers.
CONSEQUENCES = {
    "overwrites": ("resume", "sigkill"),
    "deletes-first": ("resume", "sigkill"),
    "takes-the-last-name": ("same model",),
}
OPTIONS = {"tidies-up": ("--hyperparameter=steps=12", "--interrupt-at=70%", "--grace=1%")}
DEFAULT_OPTIONS = ("--interrupt-at=70%",)


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """A drill that cannot answer some core questions, and what it says of the first of them."""

    fault: str
    options: tuple[str, ...] = DEFAULT_OPTIONS
    not_shown: tuple[str, ...]
    seen: str
    change: str


UNSEEN = {
    "the interruption never came": Unseen(
        fault="none",
        options=("--interrupt-at=60s",),
        not_shown=("resume",),
        seen="interrupted at 60s: the script ended first (Completed after",
        change="Interrupt earlier (--interrupt-at",
    ),
    "nothing was saved when the interruption came": Unseen(
        fault="late",
        options=("--interrupt-at=3%", "--grace=1%"),
        not_shown=("resume",),
        seen="interrupted at 3%: no checkpoint was saved yet",
        change="Interrupt later (--interrupt-at), save earlier or train longer.",
    ),
    "the script ended before SIGKILL": Unseen(
        fault="stops-early",
        not_shown=("torn checkpoint", "sigkill"),
        seen="killed without a warning: the script ended first (Completed after",
        change="Save earlier and evenly over the run, or train longer.",
    ),
    "what a torn checkpoint did is not to be seen": Unseen(
        fault="hides-damage",
        not_shown=("torn checkpoint",),
        seen="its model cannot be judged",
        change="Fix the seeds and keep times out of the model, or judge with --compare COMMAND.",
    ),
}


@pytest.fixture(scope="module")
def drills(training_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Done]]:
    """Every drill, by the fault or by what cannot be seen; several at a time: they sleep most of the time."""
    folder = tmp_path_factory.mktemp("drills")

    def drill(name: str, fault: str, options: tuple[str, ...]) -> Done:
        report = folder / f"{name}.json"
        options = (*options, f"--hyperparameter=fault={fault}", "--python", training_python)
        return Done(_drill(TRAINEE, "--json", report, *options), report)

    with ThreadPoolExecutor(max_workers=4) as pool:
        running: dict[str, Future[Done]] = {
            fault: pool.submit(drill, fault, fault, OPTIONS.get(fault, DEFAULT_OPTIONS)) for fault in FAULTS
        }
        accepted = ("--interrupt-at=60s", "--accept-not-shown")
        running["accepted"] = pool.submit(drill, "accepted", "stops-early", accepted)
        for name, unseen in UNSEEN.items():
            running[name] = pool.submit(drill, name, unseen.fault, unseen.options)
        yield lambda name: running[name].result()


@pytest.mark.parametrize(("fault", "failures"), FAULTS.items())
def test_each_fault_of_a_script_is_found_and_no_other(
    drills: Callable[[str], Done], fault: str, failures: list[str]
) -> None:
    done = drills(fault)
    found = [question for question in done.asked("fail") if question not in CONSEQUENCES.get(fault, ())]
    assert found == failures, done.text
    assert done.status == (1 if failures else 0)
    assert done.verdict["passed"] is not bool(failures)
    assert done.verdict["exit_status"] == done.status


@pytest.mark.parametrize("name", UNSEEN)
def test_a_core_question_without_an_answer_is_not_shown_and_says_why_and_what_to_change(
    drills: Callable[[str], Done], name: str
) -> None:
    done, unseen = drills(name), UNSEEN[name]
    assert done.status == done.verdict["exit_status"] == 3, done.text
    assert done.asked("fail") == []
    assert done.verdict["passed"] is False
    # On a busy machine an interruption may come to nothing, too: that is not shown, either.
    assert set(unseen.not_shown) <= set(done.verdict["not_shown"])
    assert done.text.startswith("Spot drill of trainee.py: NOT SHOWN\n")
    assert f"Not shown: {', '.join(done.verdict['not_shown'])}. This is not a pass" in done.text
    first, *_ = unseen.not_shown
    assert done.check(first)["result"] == "skip"
    assert unseen.seen in done.seen(first)
    assert unseen.change in done.check(first)["change"]
    assert all(done.check(question)["change"] for question in unseen.not_shown)


def test_a_script_that_saved_and_restored_nothing_fails_with_what_happened(
    drills: Callable[[str], Done],
) -> None:
    tidy = drills("tidies-up")
    assert "restored nothing: it had saved 12 checkpoint files" in tidy.seen("resume")
    assert "do not delete or move it after the last epoch" in tidy.check("resume")["change"]
    assert "it never read the checkpoint" in drills("keeps-what-is-there").seen("resume")


def test_what_is_not_shown_passes_where_it_is_accepted(drills: Callable[[str], Done]) -> None:
    done = drills("accepted")
    assert done.status == done.verdict["exit_status"] == 0, done.text
    assert done.verdict["passed"] is done.verdict["accept_not_shown"] is True
    assert done.verdict["not_shown"] == ["resume", "torn checkpoint", "sigkill"]
    assert done.text.startswith("Spot drill of trainee.py: NOT SHOWN (accepted)\n")
    assert "--accept-not-shown counts this as a pass" in done.text


def test_a_script_that_is_fit_for_spot_passes(drills: Callable[[str], Done]) -> None:
    done = drills("none")
    assert done.text.startswith("Spot drill of trainee.py: PASS")
    assert done.asked("skip") == []
    assert "resuming from step" in done.seen("resume")
    assert "fell back to an earlier one" in done.seen("torn checkpoint")
    assert "uninterrupted run of trainee.py" in done.progress


def test_a_failure_comes_with_what_to_change_and_the_end_of_the_log(drills: Callable[[str], Done]) -> None:
    assert "-> Write to another name in the same folder" in drills("overwrites").text
    assert "weights.json differs" in drills("loses-random-state").seen("same model")
    failed = drills("fails").text
    assert "no such column: price" in failed
    assert "The run uninterrupted ended Failed" in failed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "There is no missing.py"),
        ([TRAINEE.parent], "has no train.py: name the script in it with --entry-point"),
        ([TRAINEE, "--entry-point", "x.py"], "is for a folder"),
        ([TRAINEE, "--interrupt-at", "130%"], "above 0% and below 100%"),
        ([TRAINEE, "--interrupt-at", "soon"], "give a share such as 30% or a time such as 20s"),
        ([TRAINEE, "--checkpoint-every", "often"], "--checkpoint-every is 'often'"),
        ([TRAINEE, "--timeout", "10%"], "give a time above zero"),
        ([TRAINEE, "--hyperparameter", "epochs"], "give NAME=VALUE"),
        ([TRAINEE, "--data", "nowhere"], "--data nowhere does not exist"),
        ([TRAINEE, "--json", "nowhere/verdict.json"], "there is no folder"),
        ([TRAINEE, "--python", "/bin/false"], "has no sagemaker_training"),
        ([TRAINEE, "--python", TRAINEE], "cannot be run"),
        ([TRAINEE, "--python", "/nowhere/python"], "--python /nowhere/python does not exist. Make an"),
        ([TRAINEE, "--speed", "3"], "unrecognized arguments: --speed 3"),
        ([], "the following arguments are required: script"),
    ],
)
def test_what_cannot_be_drilled_is_reported_and_nothing_runs(
    arguments: list[object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in " ".join(said.err.split())
    assert said.out == ""


def test_a_drill_that_is_ended_leaves_nothing_behind(training_python: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(TRAINEE, "--hyperparameter=steps=2000", "--python", training_python),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        started: list[psutil.Process] = []

        def has_started() -> bool:
            drill = psutil.Process(process.pid)
            started[:] = drill.children(recursive=True)
            # A child that is just being started still has the drill's own command line.
            commands = [_command_of(each) for each in started]
            return any("trainee.py" in " ".join(each) for each in commands if each != _command_of(drill))

        wait_until(has_started, limit_seconds=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(each.is_running() and each.status() != "zombie" for each in started))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_projects_own_training_is_fit_for_spot(training_python: str, tmp_path: Path) -> None:
    channels = prepare_channels("2013-06-03", tmp_path / "data", weeks=2)
    shutil.rmtree(channels.holdout.uri)  # kept from the training
    wanted = {"num_round": 240, "checkpoint_every": 10, "log_every": 60, "max_depth": 4, "nthread": 1}
    report = tmp_path / "verdict.json"
    process = _drill(
        TRAINING_FOLDER,
        *("--data", tmp_path / "data", "--json", report, "--python", training_python),
        *(f"--hyperparameter={name}={value}" for name, value in wanted.items()),
        *("--interrupt-at=60%", "--checkpoint-every=50%"),
    )
    assert process.returncode == 0, process.stdout + process.stderr
    done = Done(process, report)
    assert done.asked("fail") == done.asked("skip") == []
    assert "resuming from round" in done.seen("resume")
    assert "byte for byte" in done.seen("same model")
    assert "fell back" in done.seen("torn checkpoint")


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
