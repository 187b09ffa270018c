"""The end of a training's log, from CloudWatch Logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.client import BaseClient

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


class TrainingLogs:
    """CloudWatch Logs of training jobs, over a boto3 logs client."""

    def __init__(self, client: BaseClient) -> None:
        self._client: Any = client

    def tail(self, job_name: str, lines: int) -> list[str]:
        """The last `lines` lines of the job's newest stream, oldest first; empty when it never logged.

        A restart after an interruption opens a stream of its own, so the newest one holds the end.
        """
        stream = self._newest_stream(job_name)
        if stream is None:
            return []
        events = self._client.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream, limit=lines, startFromHead=False
        )
        return [event["message"].rstrip() for event in events["events"]]

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
