"""A training's log in CloudWatch Logs: its end, and its new lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.client import BaseClient

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
#: More than a person reads in a task log in ten seconds.
LINES_A_CALL = 200
MORE_LINES = "... (more lines of the same moment are in CloudWatch Logs)"


class TrainingLogs:
    """CloudWatch Logs of training jobs, over a boto3 logs client."""

    def __init__(self, client: BaseClient) -> None:
        self._client: Any = client

    def tail(self, job_name: str, lines: int) -> list[str]:
        """The last `lines` lines of the job's newest stream, oldest first. Empty if it never logged.

        A restart after an interruption opens another stream, so the newest one has the end.
        """
        stream = self._newest_stream(job_name)
        if stream is None:
            return []
        events = self._client.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream, limit=lines, startFromHead=False
        )
        return [event["message"].rstrip() for event in events["events"]]

    def since(self, job_name: str, milliseconds: int) -> list[dict[str, Any]]:
        """Events of all the job's streams from a moment on (epoch milliseconds), oldest first; one call.

        One page at most: what is behind it comes with the next call.
        """
        from botocore.exceptions import ClientError

        try:
            answer = self._client.filter_log_events(
                logGroupName=LOG_GROUP,
                logStreamNamePrefix=f"{job_name}/",
                startTime=milliseconds,
                limit=LINES_A_CALL,
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                return []  # the group appears with the account's first training log
            raise
        return list(answer["events"])

    def listen(self, attach: Callable[[BaseClient], None]) -> None:
        """Attach to the client's requests and answers: `RateLimit.ration`, for example."""
        attach(self._client)

    def _newest_stream(self, job_name: str) -> str | None:
        from botocore.exceptions import ClientError

        try:
            pages = self._client.get_paginator("describe_log_streams").paginate(
                logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job_name}/"
            )
            streams = [stream for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                return None  # the group appears with the account's first training log
            raise
        newest = max(
            streams, key=lambda s: (s.get("lastEventTimestamp", 0), s["logStreamName"]), default=None
        )
        return newest["logStreamName"] if newest else None


class LogTail:
    """What is new in the log of one job since the last look."""

    def __init__(self, job_name: str) -> None:
        self._job_name = job_name
        self._from = 0
        self._seen: set[str] = set()

    def new_lines(self, logs: TrainingLogs) -> list[str]:
        """Lines that came since the last call, oldest first; one call of CloudWatch Logs."""
        events = logs.since(self._job_name, self._from)
        fresh = [event for event in events if event["eventId"] not in self._seen]
        if fresh:
            newest = max(event["timestamp"] for event in fresh)
            if newest > self._from:
                self._seen.clear()
            self._from = newest
            # Others of the same millisecond may follow.
            self._seen.update(event["eventId"] for event in fresh if event["timestamp"] == newest)
        elif len(events) >= LINES_A_CALL:
            # One millisecond holds more than a call's lines: on with the next, or it would never end.
            self._from += 1
            self._seen.clear()
            return [MORE_LINES]
        return [event["message"].rstrip() for event in fresh]
