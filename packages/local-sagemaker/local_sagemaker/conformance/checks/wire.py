"""Names, tags, lists and errors as they are on the wire."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that
from local_sagemaker.conformance.jobs import job_name
from local_sagemaker.conformance.target import Refusal, refusal_of

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import Run

GROUP = Group("wire")
_NOT_FOUND = Refusal("ValidationException", "Requested resource not found.")


@GROUP.question(
    "What is the answer to DescribeTrainingJob for a job that does not exist?",
    source="botocore's waiters; seen in public code (the model declares ResourceNotFound)",
)
def describe_an_unknown_job(run: Run) -> Answer:
    nobody = job_name(run.id, "nobody")
    return expect(_NOT_FOUND, refusal_of(run.target.sagemaker.describe_training_job, TrainingJobName=nobody))


@GROUP.question(
    "With which error code is StopTrainingJob refused for a job that does not exist?",
    source="seen in public code; the texts differ",
)
def stop_an_unknown_job(run: Run) -> Answer:
    refusal = refusal_of(run.target.sagemaker.stop_training_job, TrainingJobName=job_name(run.id, "nobody"))
    return expect_that(
        bool(refusal and refusal.code == "ValidationException"), "ValidationException", refusal
    )


@GROUP.question(
    "Are timestamps numbers of seconds with at most three decimals?", source="model", needs="complete"
)
def timestamps_are_epoch_seconds(run: Run) -> Answer:
    raw = run.jobs["complete"].seen[-1].raw
    times = {name: raw[name] for name in ("CreationTime", "TrainingStartTime", "LastModifiedTime")}
    is_so = all(isinstance(each, int | float) and round(each, 3) == each for each in times.values())
    return expect_that(is_so, "numbers with at most three decimals", times)


@GROUP.question("Is the content type that of AWS JSON 1.1, with a request id?", source="model")
def answers_are_aws_json(run: Run) -> Answer:
    run.target.sagemaker.list_training_jobs(MaxResults=1)
    headers = run.target.wire["ListTrainingJobs"].headers
    seen = [headers.get("content-type"), bool(re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-requestid"]))]
    return expect(["application/x-amz-json-1.1", True], seen)


@GROUP.question("Is an error's body `__type` with the code, and a message?", source="model; read in botocore")
def errors_have_a_type(run: Run) -> Answer:
    refusal_of(run.target.sagemaker.describe_training_job, TrainingJobName=job_name(run.id, "nobody"))
    wire = run.target.wire["DescribeTrainingJob"]
    code = str(wire.body.get("__type", "")).rpartition("#")[2]
    return expect(
        [400, "ValidationException", True],
        [wire.status, code, "message" in wire.body or "Message" in wire.body],
    )


@GROUP.question(
    "Is the job's name in lower case in its ARN only?", source="seen in public code", needs="complete"
)
def names_in_arns_are_lower_case(run: Run) -> Answer:
    job = run.jobs["complete"]
    seen = [job.described["TrainingJobName"], job.described["TrainingJobArn"].rpartition("/")[2]]
    return expect([job.name, job.name.lower()], seen)


@GROUP.question(
    "Does DescribeTrainingJob repeat the request unchanged?", source="model; a dump of 2021", needs="complete"
)
def a_description_repeats_the_request(run: Run) -> Answer:
    job = run.jobs["complete"]
    members = (
        "HyperParameters", "RoleArn", "ResourceConfig", "StoppingCondition", "CheckpointConfig",
        "Environment", "EnableManagedSpotTraining",
    )  # fmt: skip
    return expect({name: job.request[name] for name in members}, {n: job.described.get(n) for n in members})


@GROUP.question(
    "Which defaults does the service add to channels, output and algorithm?",
    source="a dump of 2021",
    needs="complete",
)
def defaults_are_added(run: Run) -> Answer:
    described = run.jobs["complete"].described
    (channel,) = described["InputDataConfig"]
    seen = {
        "KmsKeyId": described["OutputDataConfig"].get("KmsKeyId"),
        "CompressionType": channel.get("CompressionType"),
        "RecordWrapperType": channel.get("RecordWrapperType"),
        "has EnableSageMakerMetricsTimeSeries": "EnableSageMakerMetricsTimeSeries"
        in described["AlgorithmSpecification"],
    }
    expected = {"KmsKeyId": "", "CompressionType": "None", "RecordWrapperType": "None"}
    return expect(expected | {"has EnableSageMakerMetricsTimeSeries": True}, seen)


@GROUP.question("Which other members does a description have?", source="none", needs="complete")
def other_members(run: Run) -> Answer:
    job = run.jobs["complete"]
    return answered(sorted(set(job.described) - set(job.request) - {"ResponseMetadata"}))


@GROUP.question(
    "With which error is a name that is taken refused?", source="model; public code", needs="complete"
)
def a_taken_name(run: Run) -> Answer:
    refusal = refusal_of(run.target.create, request=run.jobs["complete"].request)
    text = (
        "Training job names must be unique within an AWS account and region, and a training job with this "
        "name already exists"
    )
    is_so = bool(refusal and refusal.code == "ResourceInUse" and refusal.message.startswith(text))
    return expect_that(is_so, f"ResourceInUse: {text}...", refusal)


@GROUP.question("Are tags in ListTags and not in a description?", source="model", needs="complete")
def tags_are_apart(run: Run) -> Answer:
    job = run.jobs["complete"]
    listed = run.target.sagemaker.list_tags(ResourceArn=job.described["TrainingJobArn"])["Tags"]
    return expect([job.request["Tags"], False], [listed, "Tags" in job.described])


@GROUP.question(
    "After how long does Search find a job by its tag, with its tags?", source="none", needs="complete"
)
def search_finds_tags(run: Run) -> Answer:
    filters = [{"Name": "Tags.conformance-run", "Operator": "Equals", "Value": run.id}]
    found = run.target.sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": filters})
    results = [result["TrainingJob"] for result in found["Results"]]
    oldest = time.time() - run.jobs["complete"].created_at
    return answered(
        f"{len(results)} of {len(run.created())} jobs, {oldest:.0f} s after the first was created; "
        f"with tags: {all('Tags' in each for each in results)}"
    )


@GROUP.question(
    "Are lists in ascending order, and in pages without gaps or repeats?", source="model", needs="complete"
)
def lists_are_in_order(run: Run) -> Answer:
    paginator = run.target.sagemaker.get_paginator("list_training_jobs")
    pages = paginator.paginate(NameContains=run.id, SortBy="CreationTime", PaginationConfig={"PageSize": 2})
    listed = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    ours = {job.name for job in run.created()}
    made = sorted(run.created(), key=lambda job: job.described["CreationTime"])
    return expect([job.name for job in made], [name for name in listed if name in ours])


@GROUP.question(
    "Do summaries have a secondary status, and neither tags nor the spot flag?",
    source="model",
    needs="complete",
)
def summaries_are_short(run: Run) -> Answer:
    found = run.target.sagemaker.list_training_jobs(NameContains=run.jobs["complete"].name)
    summary = found["TrainingJobSummaries"][0]
    members = ("SecondaryStatus", "TrainingEndTime", "Tags", "EnableManagedSpotTraining")
    return expect([True, True, False, False], [name in summary for name in members])


@GROUP.question(
    "Is a filter by status applied after a page was taken, so that pages can be empty?",
    source="model (NextToken of ListTrainingJobs)",
    needs="complete failed",
)
def a_status_filter_comes_after_the_page(run: Run) -> Answer:
    first = min(run.created(), key=lambda job: job.described["CreationTime"])
    other = next(
        job.described["TrainingJobStatus"]
        for job in run.created()
        if job.described["TrainingJobStatus"] != first.described["TrainingJobStatus"]
    )
    page = run.target.sagemaker.list_training_jobs(
        NameContains=run.id, SortBy="CreationTime", SortOrder="Ascending", StatusEquals=other, MaxResults=1
    )
    return expect([0, True], [len(page["TrainingJobSummaries"]), "NextToken" in page])


@GROUP.question(
    "With which text is StopTrainingJob refused for a job that is over?",
    source="public code",
    needs="complete",
)
def stop_a_job_that_is_over(run: Run) -> Answer:
    job = run.jobs["complete"]
    status = job.described["TrainingJobStatus"]
    text = f"The request was rejected because the training job is in status {status}."
    return expect(
        Refusal("ValidationException", text),
        refusal_of(run.target.sagemaker.stop_training_job, TrainingJobName=job.name),
    )


@GROUP.question(
    "Is a second StopTrainingJob accepted while a job is Stopping?", source="none", needs="never-started"
)
def stop_a_job_twice(run: Run) -> Answer:
    return answered(run.jobs["never-started"].notes["second stop"] or "accepted")


@GROUP.question(
    "With which error is DeleteTrainingJob refused for a job that is not over?",
    source="model (that it is refused); none (the text)",
    needs="never-started",
)
def delete_a_job_that_is_not_over(run: Run) -> Answer:
    refusal = run.jobs["never-started"].notes["delete"]
    return answered(refusal) if refusal else expect("a refusal", "accepted")


@GROUP.question(
    "Is a deleted job no longer found?", source="model (DeleteTrainingJob)", needs="never-started"
)
def a_deleted_job_is_gone(run: Run) -> Answer:
    client, name = run.target.sagemaker, run.jobs["never-started"].name
    client.delete_training_job(TrainingJobName=name)
    last = time.monotonic() + run.target.real(300)
    while (described := run.target.describe(name)) is not None and time.monotonic() < last:
        time.sleep(run.target.real(2, least=0.1))
    return expect(None, described and described["TrainingJobStatus"])
