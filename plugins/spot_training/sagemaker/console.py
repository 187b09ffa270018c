"""Where a person opens a job, its log and its files: AWS's console, or the pages of a local SageMaker.

Decides only addresses. Calls nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlencode, urlsplit

from .local_cloud import is_aws
from .logs import LOG_GROUP

#: The console's address by AWS partition, without the isolated ones, as in the Amazon provider.
CONSOLES = {
    "aws": "https://console.aws.amazon.com",
    "aws-cn": "https://console.amazonaws.cn",
    "aws-us-gov": "https://console.amazonaws-us-gov.com",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The pages for the jobs of one endpoint and region. Without an `address`, nobody can open them: all are
    empty.
    """

    address: str = ""
    region: str = ""
    is_local: bool = False

    def job(self, name: str) -> str:
        """A training job."""
        if self.is_local:
            return self._at(f"/_local/#job-{quote(name, safe='')}", name)
        return self._at(job_in_console(name, self.region), name)

    def log(self, name: str) -> str:
        """The log of a job: its streams in CloudWatch, or its text on a local SageMaker."""
        if self.is_local:
            return self._at(f"/_local/logs/{quote(name, safe='')}", name)
        return self._at(logs_in_console(name, self.region), name)

    def files(self, uri: str | None) -> str:
        """What is at an S3 URI: a model, or the folder of the checkpoints."""
        bucket, key = _split(uri)
        if self.is_local:
            return self._at(f"/_local/objects/{quote(bucket, safe='')}/{quote(key)}", bucket)
        return self._at(objects_in_console(bucket, key, self.region), bucket)

    def _at(self, path: str, name: str) -> str:
        return f"{self.address.rstrip('/')}{path}" if self.address and name else ""


def console_of(
    endpoint_url: str | None, *, region: str | None, partition: str | None = None, local_url: str = ""
) -> Console:
    """The pages for an endpoint. `local_url` is where people open a local SageMaker in a container."""
    region = region or ""
    if not endpoint_url:
        return Console()
    if is_aws(endpoint_url):
        address = CONSOLES.get(partition or _partition_of(region), "")
        return Console(address=address, region=region)
    address = local_url or (endpoint_url if _is_this_machine(endpoint_url) else "")
    return Console(address=address, region=region, is_local=True)


def job_in_console(job: str, region: str) -> str:
    """A job's page, without the console's address."""
    return f"/sagemaker/home?region={region}#/jobs/{quote(job, safe='')}"


def logs_in_console(job: str, region: str) -> str:
    """The streams of a job's instances, `<job>/algo-<n>-<time>`, without the console's address."""
    group, stream = (_quote_twice(text) for text in (LOG_GROUP, f"{job}/"))
    view = f"#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{stream}"
    return f"/cloudwatch/home?region={region}{view}"


def objects_in_console(bucket: str, key: str, region: str) -> str:
    """An object, or the folder that a key ends with, without the console's address."""
    is_object = key.endswith(".tar.gz")
    place = {"region": region, "prefix": key if is_object or not key else f"{key.rstrip('/')}/"}
    return f"/s3/{'object' if is_object else 'buckets'}/{quote(bucket, safe='')}?{urlencode(place)}"


def _split(uri: str | None) -> tuple[str, str]:
    bucket, _, key = (uri or "").removeprefix("s3://").partition("/")
    return bucket, key


def _partition_of(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _quote_twice(text: str) -> str:
    """As the console does it, with `$` for `%`."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")


def _is_this_machine(endpoint_url: str) -> bool:
    parts = urlsplit(endpoint_url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"}:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
