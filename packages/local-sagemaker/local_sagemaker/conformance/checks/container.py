"""What a script sees: configuration, environment, arguments, user, mounts, signals, log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import (
    Answer,
    Group,
    NotAnsweredError,
    answered,
    expect,
    expect_that,
    unknown,
)

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import JobEvidence, Run

GROUP = Group("container")

_TOOLKIT = "read in sagemaker-training 5.1.4"
_FRAMEWORKS = (
    "pytorch-training",
    "tensorflow-training",
    "sagemaker-pytorch",
    "sagemaker-tensorflow-scriptmode",
)


def report_of(job: JobEvidence) -> dict[str, Any]:
    report = job.report
    if report is None or (job.plan.probe == "look" and job.status != "Completed"):
        raise NotAnsweredError(f"the script of the job {job.plan.name} left no report: {job.end}")
    return report


@GROUP.question(
    "Is hyperparameters.json the flat map of texts of the request?", source="guide", needs="complete"
)
def hyperparameters(run: Run) -> Answer:
    job = run.jobs["complete"]
    return expect(job.request["HyperParameters"], report_of(job)["config"].get("hyperparameters"))


@GROUP.question("What is in inputdataconfig.json?", source="guide", needs="complete")
def input_data_config(run: Run) -> Answer:
    expected = {
        "train": {
            "ContentType": "text/csv",
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    }
    return expect(expected, report_of(run.jobs["complete"])["config"].get("inputdataconfig"))


@GROUP.question(
    "What is in resourceconfig.json?",
    source="output of a notebook in amazon-sagemaker-examples",
    needs="complete",
)
def resource_config(run: Run) -> Answer:
    kind = run.target.instance_type
    expected = {
        "current_host": "algo-1",
        "current_instance_type": kind,
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": ["algo-1"]}
        ],
        "network_interface_name": "eth0",
    }
    return expect(expected, report_of(run.jobs["complete"])["config"].get("resourceconfig"))


@GROUP.question(
    "Is checkpointconfig.json there only with a CheckpointConfig?",
    source="sagemaker-xgboost-container #32",
    needs="complete plain",
)
def checkpoint_config(run: Run) -> Answer:
    report, plain = report_of(run.jobs["complete"]), report_of(run.jobs["plain"])
    expected = {"LocalPath": f"{report['base']}/checkpoints"}
    return expect(
        [expected, None], [report["config"].get("checkpointconfig"), plain["config"].get("checkpointconfig")]
    )


@GROUP.question("Which other files are in /opt/ml/input?", source="none", needs="complete")
def files_in_input(run: Run) -> Answer:
    return answered(report_of(run.jobs["complete"])["input"])


@GROUP.question("Is a channel a folder with the objects below its prefix?", source="guide", needs="complete")
def a_channel_is_a_folder(run: Run) -> Answer:
    expected = {"train/a.csv": "1,2,3", "train/deep/b.csv": "4,5,6"}
    return expect(expected, report_of(run.jobs["complete"])["channel"])


@GROUP.question("Does a script get hyperparameters as sorted arguments?", source=_TOOLKIT, needs="complete")
def arguments_of_a_script(run: Run) -> Answer:
    job = run.jobs["complete"]
    given = {k: v for k, v in job.request["HyperParameters"].items() if not k.startswith("sagemaker_")}
    expected = [
        text for name in sorted(given) for text in (f"--{name}" if len(name) > 1 else f"-{name}", given[name])
    ]
    return expect([name for name in expected if name.startswith("-")],
                  [name for name in report_of(job)["argv"] if name.startswith("-")])  # fmt: skip


@GROUP.question(
    "Does the environment have the job's name and ARN, and Environment?",
    source="guide",
    needs="complete",
)
def environment(run: Run) -> Answer:
    job = run.jobs["complete"]
    expected = {
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.described["TrainingJobArn"],
        "CONFORMANCE_COLOUR": "green",
    }
    return expect(expected, report_of(job)["environment"])


@GROUP.question(
    "Which environment variables are there, with the toolkit and without?",
    source="none",
    needs="complete plain",
)
def names_of_variables(run: Run) -> Answer:
    plain = report_of(run.jobs["plain"])["variables"]
    added = sorted(set(report_of(run.jobs["complete"])["variables"]) - set(plain))
    return answered({"without": plain, "the toolkit adds": added})


@GROUP.question(
    "As which user, where and as which process does a script run?", source="none", needs="complete plain"
)
def user_of_a_script(run: Run) -> Answer:
    members = ("uid", "gid", "user", "cwd", "pid", "first_process", "host", "python", "base")
    return answered(
        {name: {each: report_of(run.jobs[name])[each] for each in members} for name in ("complete", "plain")}
    )


@GROUP.question(
    "Does removing model, output/data, checkpoints or a channel itself fail with EBUSY?",
    source="awslabs/graphstorm #322",
    needs="complete",
)
def folders_are_mounts(run: Run) -> Answer:
    tried = report_of(run.jobs["complete"])["mounts_tried"]
    if "error" in tried:
        raise NotAnsweredError(tried["error"])
    removed = tried["removed"]
    return expect(dict.fromkeys(removed, "EBUSY"), removed)


@GROUP.question(
    "Does a rename from one of these to another fail with EXDEV?", source="none", needs="complete"
)
def renames_across_mounts(run: Run) -> Answer:
    tried = report_of(run.jobs["complete"])["mounts_tried"]
    return answered(tried.get("renamed", tried.get("error")))


@GROUP.question("What is mounted below /opt/ml?", source="none", needs="complete")
def mounts(run: Run) -> Answer:
    return answered(report_of(run.jobs["complete"])["mounts"])


@GROUP.question("Is the output a model.tar.gz?", source="public dumps", needs="complete")
def model_archive(run: Run) -> Answer:
    job = run.jobs["complete"]
    return expect_that("report.json" in job.model, "report.json in output/model.tar.gz", sorted(job.model))


@GROUP.question("Which objects are below the output path?", source="none (output.tar.gz)", needs="complete")
def output_objects(run: Run) -> Answer:
    return answered(run.jobs["complete"].output)


@GROUP.question(
    "Is the log in <job>/algo-1-<seconds>, with stdout and stderr?",
    source="sagemaker-training-toolkit #204",
    needs="complete",
)
def log_stream(run: Run) -> Answer:
    job = run.jobs["complete"]
    form = re.compile(rf"{re.escape(job.name)}/algo-1-\d{{10}}")
    fits = [bool(form.fullmatch(name)) for name in job.log]
    said = [any(text in line for line in job.lines) for text in ("a line on stdout", "a line on stderr")]
    return expect([[True], [True, True]], [fits, said])


@GROUP.question(
    "Is a metric found in the log, and in FinalMetricDataList?", source="model; guide", needs="complete"
)
def metric_definitions(run: Run) -> Answer:
    found = run.jobs["complete"].described.get("FinalMetricDataList", ())
    return expect(
        [["conformance:loss", 0.25]], [[each["MetricName"], round(each["Value"], 6)] for each in found]
    )


@GROUP.question(
    "Does FailureReason begin with the toolkit's error?",
    source="sagemaker-training 5.1.4; public dumps",
    needs="failed",
)
def the_reason_of_a_failure(run: Run) -> Answer:
    reason = str(run.jobs["failed"].described.get("FailureReason"))
    start = 'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "'
    return expect_that(reason.startswith(start), f"{start}...", reason)


@GROUP.question(
    "Does FailureReason have the script's own words?",
    source="sagemaker-pytorch-training-toolkit, training.py; none for other images",
    needs="failed",
)
def the_words_of_a_failure(run: Run) -> Answer:
    reason = str(run.jobs["failed"].described.get("FailureReason"))
    has_words = "no column named delay" in reason
    if any(name in run.target.image for name in _FRAMEWORKS):
        return expect_that(has_words, "no column named delay", reason)
    return answered(f"{'yes' if has_words else 'no'}: {reason}")


# --- signals ---


def _signals(job: JobEvidence) -> dict[str, Any]:
    """SIGTERM as the script saw it, and how long it ran after that."""
    beats = job.beats
    if not beats:
        raise NotAnsweredError(f"the script of the job {job.plan.name} left no beats: {job.end}")
    terms = [at for what, at in beats if what == "SIGTERM"]
    since = terms[0] if terms else job.notes.get("stopped_at", beats[-1][1])
    return {"SIGTERM": bool(terms), "seconds after": round(beats[-1][1] - since, 1)}


@GROUP.question(
    "Does the container's first process get SIGTERM at max runtime?",
    source="guide, docker stop -t 120",
    needs="over-time",
)
def sigterm_to_an_entrypoint(run: Run) -> Answer:
    return expect(True, _signals(run.jobs["over-time"])["SIGTERM"])


@GROUP.question(
    "How long does it run on after SIGTERM?",
    source="guide (120 s); none (the observation)",
    needs="over-time",
)
def time_after_sigterm(run: Run) -> Answer:
    job = run.jobs["over-time"]
    if job.status == "Completed":
        return unknown("it was over before its max runtime")
    return answered({**_signals(job), "speed of the clock": run.target.speed})


@GROUP.question(
    "Does a script in script mode get SIGTERM when its job is stopped?",
    source="sagemaker-training-toolkit #125; none from AWS",
    needs="stopped",
)
def sigterm_to_a_script(run: Run) -> Answer:
    return answered({**_signals(run.jobs["stopped"]), "speed of the clock": run.target.speed})
