"""The checkpoint folder and its copy in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that

from .container import report_of

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import Run, StoredObject

GROUP = Group("checkpoints")

UPLOADING, UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"
_XGBOOST = "aws/sagemaker-xgboost-container, checkpointing.py"


def _seen(run: Run, job: str = "complete") -> list[list[Any]]:
    seen: list[list[Any]] = report_of(run.jobs[job])["checkpoints"]["seen"]
    return seen


def _stored(run: Run) -> dict[str, StoredObject]:
    """What was in S3 after a script had saved its checkpoints. Without one, an empty prefix says nothing."""
    job = run.jobs["complete"]
    report_of(job)
    return job.checkpoints


@GROUP.question(
    "Are files directly below the prefix, with their folders?", source="guide; aws-samples", needs="complete"
)
def files_are_below_the_prefix(run: Run) -> Answer:
    names = sorted(_stored(run))
    wanted = {"step-1", "step-2", "step-3", "step-4", "sub/deep"}
    return expect_that(wanted.issubset(names), f"{sorted(wanted)} among them", names)


@GROUP.question("Does a deletion remove the object?", source="guide, checkpoints", needs="complete")
def deletions_reach_s3(run: Run) -> Answer:
    return expect(False, "doomed" in _stored(run))


@GROUP.question("Is a file that changes uploaded again?", source="guide, checkpoints", needs="complete")
def changes_reach_s3(run: Run) -> Answer:
    first = [at for what, name, _, at in _seen(run) if what == "came" and name == "step-4"]
    saved = _stored(run)["step-4"].saved_at
    return expect_that(
        bool(first and saved and saved > first[0] + 0.05),
        "the second version",
        {"first": first, "saved": saved},
    )


@GROUP.question(
    "Does a script see empty markers while a file is uploaded, and after?", source=_XGBOOST, needs="complete"
)
def markers(run: Run) -> Answer:
    came = {name: size for what, name, size, _ in _seen(run) if what == "came"}
    ends = {end: {size for name, size in came.items() if name.endswith(end)} for end in (UPLOADING, UPLOADED)}
    return expect({UPLOADING: {0}, UPLOADED: {0}}, ends)


@GROUP.question("Are a file's markers removed when it is deleted?", source="none", needs="complete")
def markers_of_a_deleted_file(run: Run) -> Answer:
    went = sorted({name for what, name, _, _ in _seen(run) if what == "went" and name.startswith("doomed")})
    return answered({"went": went})


@GROUP.question("Do markers stay out of S3?", source=_XGBOOST, needs="complete")
def markers_stay_local(run: Run) -> Answer:
    found = [name for name in _stored(run) if name.endswith((UPLOADING, UPLOADED))]
    return expect([], found)


@GROUP.question(
    "Are files that are named *.sagemaker-ignore or *.tmp uploaded?",
    source=f"{_XGBOOST} (by name and use); none",
    needs="complete",
)
def ignored_files(run: Run) -> Answer:
    names = _stored(run)
    return answered({name: name in names for name in ("kept.sagemaker-ignore", "part.tmp")})


@GROUP.question(
    "How many seconds after it was saved is a file in S3, and marked?", source="none", needs="complete"
)
def lag_of_uploads(run: Run) -> Answer:
    """S3 and the script say the time. S3's has whole seconds, so a lag can seem to be a second less."""
    stored = _stored(run)
    in_s3 = {
        name: round(each.modified_at.timestamp() - each.saved_at, 1)
        for name, each in sorted(stored.items())
        if each.saved_at is not None
    }
    came: dict[str, float] = {}
    for what, name, _, at in _seen(run):
        if what == "came":
            came.setdefault(name, at)
    marked = {
        name: round(came[f"{name}{UPLOADED}"] - came[name], 1) for name in came if f"{name}{UPLOADED}" in came
    }
    return answered({"in S3": in_s3, "marked": marked})


@GROUP.question(
    "Is the whole prefix restored before the start, also what others put there?",
    source="guide, checkpoints",
    needs="resume",
)
def the_prefix_is_restored(run: Run) -> Answer:
    restored = report_of(run.jobs["resume"])["restored"]
    wanted = {"step-1", "step-4", "sub/deep", "put/by-others"}
    return expect_that(wanted.issubset(restored), f"{sorted(wanted)} among them", restored)


@GROUP.question("Do restored files have markers?", source="none", needs="resume")
def markers_of_restored_files(run: Run) -> Answer:
    return answered([name for name in report_of(run.jobs["resume"])["restored"] if ".sagemaker-" in name])


@GROUP.question(
    "Is an object that comes to the prefix while the job runs downloaded?",
    source="guide, checkpoints",
    needs="resume",
)
def later_objects_are_not_fetched(run: Run) -> Answer:
    names = {name for _, name, _, _ in _seen(run, "resume")}
    return expect(False, "late" in names | set(report_of(run.jobs["resume"])["restored"]))
