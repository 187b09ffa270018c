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
    "loses-random-state": ["same model"],
    "trusts-checkpoints": ["atomic writes", "torn checkpoint"],
    "tidies-up": ["resume", "keeps a checkpoint"],
    "takes-the-last-name": ["runs"],
    "counts-markers": ["keeps a checkpoint"],
}


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "spot_drill", *(str(each) for each in arguments)]


def _drill(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=240, **options
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
    "takes-the-last-name": ("same model",),
    "tidies-up": ("sigkill",),
}
OPTIONS = {"tidies-up": ("--hyperparameter=steps=12", "--interrupt-at=30%", "--grace=1%")}
DEFAULT_OPTIONS = ("--interrupt-at=70%",)


#: Drills in which the intended interruption shows nothing, and that try other moments.
HARD = {
    "after the end": ("none", ("--interrupt-at=60s",)),
    "before the first checkpoint": ("late", ("--interrupt-at=3%", "--grace=1%")),
    "never": ("stops-early", DEFAULT_OPTIONS),
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
        accepted = (*DEFAULT_OPTIONS, "--accept-not-shown")
        running["accepted"] = pool.submit(drill, "accepted", "hides-damage", accepted)
        for name, (fault, options) in HARD.items():
            running[name] = pool.submit(drill, name, fault, options)
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


def test_core_questions_without_an_answer_are_not_shown_and_say_why_and_what_to_change(
    drills: Callable[[str], Done],
) -> None:
    done = drills("never")
    assert done.status == done.verdict["exit_status"] == 3, done.text
    assert done.asked("fail") == []
    assert done.verdict["passed"] is False
    assert done.verdict["not_shown"] == ["resume", "torn checkpoint", "sigkill"]
    assert done.text.startswith("Spot drill of trainee.py: NOT SHOWN\n")
    assert "Not shown: resume, torn checkpoint, sigkill. This is not a pass" in done.text
    assert "never came" in {each["outcome"] for each in done.verdict["interruptions"]}
    assert "the script ended first (Completed after" in done.seen("sigkill")
    assert "--interrupt-at" in done.check("resume")["change"]
    assert "Save earlier and evenly over the run" in done.check("sigkill")["change"]


def test_a_script_that_saved_and_restored_nothing_fails_with_what_happened(
    drills: Callable[[str], Done],
) -> None:
    tidy = drills("tidies-up")
    assert "interrupted after the last checkpoint restored nothing: it had saved 12 checkpoint" in " ".join(
        tidy.seen("resume").split()
    )
    lost = {each["label"]: each["lost_seconds"] for each in tidy.verdict["interruptions"]}
    late = next(
        run for run in tidy.verdict["runs"] if run["label"] == "interrupted after the last checkpoint"
    )
    assert lost[late["label"]] == late["training_seconds"][0]
    assert "do not delete or move it after the last epoch" in tidy.check("resume")["change"]
    assert "it never read the checkpoint" in drills("never-resumes").seen("resume")


def test_an_interruption_that_never_came_is_repeated_at_a_time_that_comes(
    drills: Callable[[str], Done],
) -> None:
    done = drills("after the end")
    assert done.status == 0, done.text
    first = done.verdict["interruptions"][0]
    assert first["label"] == "interrupted at 60s"
    assert first["outcome"] == "interrupted and resumed"
    assert first["attempts"] > 1
    assert "resuming from step" in done.seen("resume")


def test_a_question_that_the_intended_interruptions_do_not_answer_gets_another(
    drills: Callable[[str], Done],
) -> None:
    done = drills("before the first checkpoint")
    assert done.asked("fail") == done.asked("skip") == [], done.text
    outcomes = {each["label"]: each["outcome"] for each in done.verdict["interruptions"]}
    assert outcomes["interrupted at 3%"] == "interrupted, work lost"
    assert outcomes["interrupted after a checkpoint"] == "interrupted and resumed"


def test_a_script_that_keeps_the_newest_files_whatever_they_are_is_told_about_markers(
    drills: Callable[[str], Done],
) -> None:
    seen = " ".join(drills("counts-markers").seen("keeps a checkpoint").split())
    assert "without markers it keeps 3, with markers" in seen


def test_what_is_not_shown_passes_where_it_is_accepted(drills: Callable[[str], Done]) -> None:
    done = drills("accepted")
    assert done.status == done.verdict["exit_status"] == 0, done.text
    assert done.verdict["passed"] is done.verdict["accept_not_shown"] is True
    assert done.verdict["not_shown"] == ["torn checkpoint"]
    assert "its model cannot be judged" in done.seen("torn checkpoint")
    assert "--compare COMMAND" in done.check("torn checkpoint")["change"]
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
