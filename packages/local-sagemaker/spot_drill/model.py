"""The answer about the model: is it the same after an interruption. Pure."""

from __future__ import annotations

from .facts import Facts, count, describe_difference, skip
from .observe import Run, RunKind
from .verdict import Check, Question, Result


def judge_model(facts: Facts) -> Check:
    question = Question.SAME_MODEL
    if facts.why_not:
        return skip(question, facts.why_not)
    made = [run for run in facts.disturbed if run.is_completed and run.was_interrupted]
    if not made:
        return skip(question, "No run was interrupted and completed.")
    compared = [run for run in made if run.compared]
    if compared:
        return _judge_comparison(compared)
    different = next((run for run in made if run.differs_from(facts.first)), None)
    if different is None:
        return Check(
            question=question,
            result=Result.PASS,
            seen=f"The model is the same, byte for byte, in {count(len(made), 'interrupted run')} "
            f"({count(len(facts.first.model), 'file')}).",
        )
    what = describe_difference(facts.first.model, different.model)
    again = next(iter((*facts.of(RunKind.UNINTERRUPTED)[1:], *facts.of(RunKind.WARM_UP))), None)
    is_random = again is not None and again.differs_from(facts.first)
    if is_random and set(different.model) == set(facts.first.model):
        return Check(
            question=question,
            result=Result.WARN,
            seen=f"{what} But two undisturbed runs also differ.",
            change="Fix the seeds and keep times out of the model, or judge with --compare COMMAND.",
        )
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"The run {different.label} made another model, but undisturbed runs make the same: {what}",
        change="Save everything that the next step depends on with the checkpoint (random states, optimizer, "
        "schedule, position in the data), or seed with the step's number; or judge with --compare COMMAND.",
    )


def _judge_comparison(compared: list[Run]) -> Check:
    bad = next((run for run in compared if run.compared and not run.compared[0]), None)
    said = (bad or compared[0]).compared
    quoted = f" Its output: {said[1][:200]!r}." if said and said[1] else ""
    if bad:
        return Check(
            question=Question.SAME_MODEL,
            result=Result.FAIL,
            seen=f"The --compare command rejects the model of the run {bad.label}.{quoted}",
            change="Save everything that the next step depends on with the checkpoint.",
        )
    return Check(
        question=Question.SAME_MODEL,
        result=Result.PASS,
        seen=f"The --compare command accepts the models of {count(len(compared), 'run')}.{quoted}",
    )
