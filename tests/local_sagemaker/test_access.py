"""Web pages get nothing from the server, AWS clients everything: over raw HTTP, as browsers would send it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.http.access import Access, HostNameError, find_change, parse_host_name

from .support import ROOT, Server, on_demand_request_for, request_for, running_server

JSON = {"Content-Type": "application/x-amz-json-1.1"}
CREATE = JSON | {"X-Amz-Target": "SageMaker.CreateTrainingJob"}
FAULT = json.dumps({"operation": "*", "error": "InternalFailure", "seconds": 600}).encode()
OPENED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Answer:
    """A whole answer, with its headers in lower case."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        pairs = (line.split(": ", 1) for line in lines)
        self.headers = {name.lower(): value for name, value in pairs}

    @property
    def text(self) -> str:
        return self.body.decode()


def _connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=20)


def _exchange(server: Server, request: bytes) -> bytes:
    """All that the server says until it closes the connection."""
    with _connect(server) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def _ask(
    server: Server,
    method: str = "GET",
    path: str = "/_local/health",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One request; its `Host` is the server's unless another is given."""
    given = {"host": urlsplit(server.url).netloc, "connection": "close", "content-length": str(len(body))}
    given |= {name.lower(): value for name, value in (headers or {}).items()}
    lines = [f"{name}: {value}" for name, value in given.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return Answer(_exchange(server, head.encode() + body))


def _publish(server: Server, key: str, content: bytes, content_type: str = "text/plain") -> None:
    """An object that can be read without a signature."""
    server.client("s3").put_object(
        Bucket="bucket", Key=key, Body=content, ContentType=content_type, ACL="public-read"
    )


# --- Host ---


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:4566",
        "127.8.9.10:1",
        "localhost",
        "LocalHost:4566",
        "localhost.",
        "localhost.:4566",
        "bucket.localhost:4566",
        "a.b-c_d.localhost",
        "[::1]",
        "[::1]:4566",
        "[0:0:0:0:0:0:0:1]:4566",
        "[::ffff:127.0.0.1]:4566",
    ],
)
def test_every_name_of_loopback_is_a_name_of_the_server(server: Server, host: str) -> None:
    assert _ask(server, headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("evil.example", "evil.example"),
        ("Evil.Example:4566", "evil.example"),
        ("127.0.0.1.evil.example", "127.0.0.1.evil.example"),
        ("localhost.evil.example:4566", "localhost.evil.example"),
        ("evil-localhost", "evil-localhost"),
        ("localhost..", "localhost."),
        ("0.0.0.0:4566", "0.0.0.0"),  # noqa: S104
        ("192.168.1.5:4566", "192.168.1.5"),
        ("[::]:4566", "::"),
        ("[::ffff:10.0.0.1]", "::ffff:10.0.0.1"),
        ("127.1", "127.1"),
        ("2130706433", "2130706433"),
        ("", "NAME"),
        ("localhost@evil.example", "NAME"),
        ("localhost, evil.example", "NAME"),
        ("localhost:80:80", "NAME"),
        ("[::1", "NAME"),
        ("e\u0301.localhost", "NAME"),
    ],
)
def test_a_host_of_another_name_is_refused_with_the_header_its_value_and_the_option(
    server: Server, host: str, message: str
) -> None:
    answer = _ask(server, headers={"Host": host})
    assert answer.status == 403
    error = json.loads(answer.body)["error"]
    assert f"The header Host is {host!r}" in error
    assert f"start the server with --allow-host {message}." in error


def test_a_very_long_host_is_refused_in_few_words(server: Server) -> None:
    answer = _ask(server, headers={"Host": "x" * 60_000})
    assert answer.status == 403
    assert len(answer.body) < 1000


def test_a_request_of_http_1_0_needs_no_host_and_one_of_http_1_1_does(server: Server) -> None:
    _publish(server, "key", b"content")
    for path, content in (("/_local/health", b'{"status": "ok"}'), ("/bucket/key", b"content")):
        old = Answer(_exchange(server, f"GET {path} HTTP/1.0\r\n\r\n".encode()))
        assert (old.status, old.body) == (200, content)
    foreign = Answer(_exchange(server, b"GET /_local/health HTTP/1.0\r\nOrigin: http://HOST\r\n\r\n"))
    assert foreign.status == 403
    new = Answer(_exchange(server, b"GET /_local/health HTTP/1.1\r\n\r\n"))
    assert (new.status, new.text) == (400, "Missing 'Host' header in request.")


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site"])
def test_two_headers_that_could_contradict_each_other_are_refused(server: Server, name: str) -> None:
    values = {"Host": "localhost", "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    lines = [f"{key}: {value}" for key, value in values.items()]
    head = "\r\n".join(["GET /_local/health HTTP/1.1", *lines, f"{name.lower()}: evil.example", "", ""])
    answer = Answer(_exchange(server, head.encode()))
    words = (
        "Duplicate 'Host' header found." if name == "Host" else f"The header {name.lower()} occurs 2 times."
    )
    assert (answer.status, answer.text) == (400, words)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:4566/_local/health", "localhost:4566", 200),
        ("HTTP://LOCALHOST/_local/health?x=/", "localhost", 200),
        ("http://localhost/_local/health", "evil.example", 200),  # the Host counts for nothing, says RFC 9112
        ("http://evil.example/_local/health", "localhost", 403),
        ("http://localhost@evil.example/_local/health", "localhost", 403),
        ("http://evil.example?/_local/health", "localhost", 403),
        ("http:///_local/health", "localhost", 400),
        ("https://localhost/_local/health", "localhost", 400),
        ("localhost:4566", "localhost", 400),
        ("evil", "localhost", 400),
    ],
)
def test_a_request_for_a_whole_address_is_for_the_host_in_it(
    server: Server, target: str, host: str, status: int
) -> None:
    assert _ask(server, "GET", target, {"Host": host}).status == status


def test_a_whole_address_reaches_every_service(server: Server) -> None:
    _publish(server, "key", b"content")
    assert _ask(server, "GET", "http://localhost/bucket/key").body == b"content"
    refused = _ask(server, "POST", "http://localhost/_local/faults", {"Origin": "http://localhost:1"}, FAULT)
    assert refused.status == 403


# --- pages of other origins, at every service ---


def _describe_form(name: str, content: bytes) -> tuple[bytes, str]:
    """The form of an S3 upload, as a page without a script can send it."""
    fields = {"key": name, "file": content.decode()}
    parts = "".join(
        f'--line\r\nContent-Disposition: form-data; name="{each}"\r\n\r\n{value}\r\n'
        for each, value in fields.items()
    )
    return f"{parts}--line--\r\n".encode(), "multipart/form-data; boundary=line"


FORM, FORM_TYPE = _describe_form("evil", b"content")
QUEUE = urlencode({"Action": "CreateQueue", "QueueName": "evil", "Version": "2012-11-05"}).encode()
SIGNED = "AWS4-HMAC-SHA256 Credential=any/20260301/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
#: What a page could do: method, path, headers, body.
ATTACKS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "a training job": ("POST", "/", CREATE, json.dumps(request_for("evil")).encode()),
    "moto's part of SageMaker": (
        "POST",
        "/",
        JSON | {"X-Amz-Target": "SageMaker.CreateModel", "Authorization": SIGNED.format("sagemaker")},
        b'{"ModelName": "evil", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/SageMakerRole"}',
    ),
    "prices": (
        "POST",
        "/",
        JSON | {"X-Amz-Target": "AWSPriceListService.GetProducts"},
        b'{"ServiceCode": "AmazonSageMaker"}',
    ),
    "an object": ("PUT", "/bucket/evil", {}, b"content"),
    "a form": ("POST", "/bucket", {"Content-Type": FORM_TYPE}, FORM),
    "a form at the bucket's host": (
        "POST",
        "/",
        {"Content-Type": FORM_TYPE, "Host": "bucket.localhost:4566"},
        FORM,
    ),
    "a queue": (
        "POST",
        "/",
        {"Content-Type": "application/x-www-form-urlencoded", "Authorization": SIGNED.format("sqs")},
        QUEUE,
    ),
    "faults": ("POST", "/_local/faults", {"Content-Type": "text/plain"}, FAULT),
    "a reset": ("POST", "/_local/reset", {}, b""),
    "a reset of moto": ("POST", "/moto-api/reset", {}, b""),
}
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", **OPENED},
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_no_service_does_anything_for_a_page_of_another_origin(
    server: Server, foreign: dict[str, str]
) -> None:
    server.put("s3://bucket/own", b"x")
    for name, (method, path, headers, body) in ATTACKS.items():
        answer = _ask(server, method, path, headers | foreign, body)
        assert answer.status == 403, name
        header = next(iter(foreign))
        assert f"The header {header} is " in answer.text, name
        assert "--allow-host" in answer.text, name
        assert not [each for each in answer.headers if each.startswith("access-control")], name
    sagemaker = server.client("sagemaker", retries={"max_attempts": 0})
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
    assert sagemaker.list_models()["Models"] == []
    assert server.keys("") == ["own"]
    assert "QueueUrls" not in server.client("sqs").list_queues()


def test_the_same_requests_do_all_of_it_for_clients(server: Server) -> None:
    """Without the page's headers; or the test before would show nothing."""
    for name, (method, path, headers, body) in ATTACKS.items():
        if "reset" not in name:
            assert _ask(server, method, path, headers, body).status < 300, name
    assert server.control("DELETE", "faults")[0] == 200
    sagemaker = server.client("sagemaker")
    assert [job["TrainingJobName"] for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]] == [
        "evil"
    ]
    assert [model["ModelName"] for model in sagemaker.list_models()["Models"]] == ["evil"]
    assert server.keys("") == ["evil"]
    assert len(server.client("sqs").list_queues()["QueueUrls"]) == 1
    assert _ask(server, "POST", "/moto-api/reset").status == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:4566", "http://localhost:4566", 200),
        ("LOCALHOST:4566", "http://localhost:4566", 200),
        ("localhost", "http://localhost", 200),
        ("[::1]:4566", "http://[::1]:4566", 200),
        ("localhost:4566", "http://localhost:4567", 403),
        ("localhost:4566", "http://127.0.0.1:4566", 403),
        ("localhost:4566", "http://bucket.localhost:4566", 403),
        ("bucket.localhost:4566", "http://localhost:4566", 403),
        ("localhost:4566", "https://localhost:4566", 403),
        ("localhost:4566", "http://localhost:4566.evil.example", 403),
        ("localhost:4566", "http://localhost:4566 http://evil.example", 403),
        ("localhost:4566", "localhost:4566", 403),
        ("localhost:4566", "null", 403),
        ("localhost:4566", "file://", 403),
        ("localhost:4566", "chrome-extension://abcdef", 403),
        ("localhost:4566", "", 403),
    ],
)
def test_an_origin_is_the_servers_own_or_refused(server: Server, host: str, origin: str, status: int) -> None:
    answer = _ask(server, "POST", "/_local/faults", {"Host": host, "Origin": origin}, FAULT)
    assert answer.status == status
    assert server.control("DELETE", "faults")[0] == 200


# --- what a browser loads without an Origin ---


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "anything-new"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate", None])
@pytest.mark.parametrize(
    "path", ["/_local/clock", "/_local/health", "/bucket/key", "/bucket/key?X-Amz-Signature=0", "/"]
)
def test_a_page_of_another_origin_loads_nothing(
    server: Server, site: str, mode: str | None, path: str
) -> None:
    _publish(server, "key", b"secret")
    headers = {"Sec-Fetch-Site": site} | ({"Sec-Fetch-Mode": mode} if mode else {})
    answer = _ask(server, "GET", path, headers)
    assert answer.status == 403
    assert f"The header Sec-Fetch-Site is {site!r}" in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_servers_own_pages_and_addresses_that_people_type_are_served(server: Server, site: str) -> None:
    _publish(server, "key", b"content")
    for path in ("/_local/", "/_local/clock", "/bucket/key"):
        assert _ask(server, "GET", path, {"Sec-Fetch-Site": site}).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_link_from_anywhere_opens_the_pages_for_people(server: Server, site: str, method: str) -> None:
    for path, status in (
        ("/_local/", 200),
        ("/_local/?x", 200),
        ("/_local", 301),
        ("/_local/logs/job", 404),
        ("/_local/objects/bucket", 404),
    ):
        answer = _ask(server, method, path, {"Sec-Fetch-Site": site, **OPENED})
        assert answer.status == status
        assert bool(answer.body) == (method == "GET" and status != 301)
        assert int(answer.headers["content-length"]) or status == 301


@pytest.mark.parametrize(
    ("method", "path", "changed"),
    [
        ("POST", "/_local/", {}),
        ("DELETE", "/_local/", {}),
        ("GET", "/_local/", {"Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/_local/", {"Sec-Fetch-Mode": "websocket"}),
        ("GET", "/_local/", {"Sec-Fetch-Dest": "iframe"}),
        ("GET", "/_local/", {"Sec-Fetch-Dest": "object"}),
        ("GET", "/_local/logs", {}),
        ("GET", "/_local/objects", {}),
        ("GET", "/_local//", {}),
        ("GET", "/_local/reset", {}),
        ("GET", "/_LOCAL/", {}),
    ],
)
def test_a_link_opens_nothing_else(server: Server, method: str, path: str, changed: dict[str, str]) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", **OPENED} | changed
    assert _ask(server, method, path, headers).status == 403


def test_no_page_can_frame_the_page_for_people(server: Server) -> None:
    assert "frame-ancestors 'none'" in _ask(server, "GET", "/_local/").headers["content-security-policy"]


# --- CORS ---


def test_no_answer_lets_a_page_of_another_origin_read_it(server: Server) -> None:
    rule = {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    server.client("s3").put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": [rule]})
    _publish(server, "key", b"content")
    own = {"Origin": server.url}
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-target"}
    for headers in ({}, own, own | asks, asks):
        for method, path in (
            ("GET", "/bucket/key"),
            ("OPTIONS", "/bucket/key"),
            ("OPTIONS", "/bucket"),
            ("OPTIONS", "/"),
            ("OPTIONS", "*"),
            ("GET", "/_local/health"),
            ("GET", "/moto-api/data.json"),
        ):
            answer = _ask(server, method, path, headers)
            assert not [each for each in answer.headers if each.startswith("access-control")], (method, path)


def test_the_question_of_a_browser_whether_it_may_is_refused(server: Server) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-amz-target"}
    for path in ("/", "/bucket/key", "/_local/reset"):
        assert _ask(server, "OPTIONS", path, asks | {"Origin": "https://evil.example"}).status == 403


# --- documents out of buckets ---


@pytest.mark.parametrize(
    ("content_type", "is_sandboxed"),
    [("text/html", True), ("image/svg+xml", True), ("text/plain", True), ("application/pdf", False)],
)
def test_a_document_in_a_bucket_is_opened_in_a_sandbox(
    server: Server, content_type: str, is_sandboxed: bool
) -> None:
    _publish(server, "key", b"x", content_type)
    opened = _ask(server, "GET", "/bucket/key", {"Sec-Fetch-Site": "none", **OPENED})
    assert (opened.status, opened.body) == (200, b"x")
    policy = opened.headers.get("content-security-policy", "")
    assert policy.startswith("sandbox ") == is_sandboxed
    assert "allow-same-origin" not in policy
    assert "content-security-policy" not in _ask(server, "GET", "/bucket/key").headers


# --- GET requests that change something ---


@pytest.mark.parametrize(
    "path",
    [
        "/moto-api/recorder/start-recording",
        "/moto-api/recorder/reset-recording",
        "/%6doto-api/recorder/replay-recording",
        "/moto-api//recorder/reset-recording",
        "/moto-api/seed?a=1",
        "/cloudformation_us-east-1/cfnresponse?Action=CreateStack&StackName=evil&TemplateBody={}",
        "/iot%5Fus-east-1/things/evil?Action=CreateThing&thingName=evil",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_get_changes_anything_whatever_sent_it(server: Server, method: str, path: str) -> None:
    answer = _ask(server, method, path)
    assert answer.status == 403
    assert bool(answer.body) == (method == "GET")
    if method == "GET":
        assert "Use POST, or an AWS client" in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/moto-api/", {}),
        ("/moto-api/data.json", {}),
        ("/bucket/under_score/key", {}),
        ("/my_bucket", {}),
        ("/two_under_scores/key", {}),
        ("/us-east-1_pool/.well-known/jwks.json", {}),
        ("/my_bucket/key", {"authorization": "AWS4-HMAC-SHA256 ..."}),
    ],
)
def test_what_only_reads_goes_through(path: str, headers: dict[str, str]) -> None:
    assert find_change("GET", path, headers) is None


def test_what_changes_something_goes_through_as_a_post() -> None:
    assert find_change("POST", "/moto-api/seed", {}) is None
    assert find_change("PUT", "/cloudformation_us-east-1/cfnresponse", {}) is None


# --- the connection after a refusal ---

RESET = b"POST /_local/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n"


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 0\r\n\r\n" + RESET, 403),
        (b"Content-Length: %d\r\n\r\n" % len(RESET) + RESET, 403),
        (b"Content-Length: 5\r\n\r\n" + RESET, 400),  # what follows is no request
        (b"Content-Length: 99999999999\r\n\r\n" + RESET, 403),
        (b"Content-Length: many\r\n\r\n" + RESET, 400),
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(RESET) + RESET + b"\r\n0\r\n\r\n", 403),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + RESET, 403),
        (b"Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\n" + RESET, 403),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + RESET, 400),
        (b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(RESET) + RESET, 403),
        (b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", 403),
    ],
)
def test_nothing_after_a_refusal_is_taken_for_a_request(server: Server, rest: bytes, status: int) -> None:
    server.client("sagemaker").create_training_job(**request_for())
    received = _exchange(server, REFUSED + rest)
    answer = Answer(received)
    assert answer.status == status
    assert len(re.findall(rb"HTTP/1\.\d \d", received)) == 1
    assert status == 400 or answer.headers["connection"] == "close"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert len(server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]) == 1


def test_a_refusal_ends_a_connection_that_served_before(server: Server) -> None:
    good = b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = _exchange(server, good + good + REFUSED + b"\r\n" + good)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"200", b"403"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_client_that_sends_much_can_read_why_it_is_refused(server: Server, is_chunked: bool) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    block = b"x" * 1_000_000
    body: Any = (block for _ in range(40)) if is_chunked else block * 40
    connection.request(
        "PUT", "/bucket/large", body=body, headers={"Host": "evil.example"}, encode_chunked=is_chunked
    )
    answer = connection.getresponse()
    assert answer.status == 403
    assert b"--allow-host evil.example" in answer.read()
    connection.close()
    assert server.keys("") == []


# --- AWS clients ---


def test_an_aws_client_says_which_option_allows_its_host(server: Server) -> None:
    def rename(request: Any, **_: Any) -> None:
        request.headers["Host"] = "local-sagemaker:4566"

    calls = {
        "sagemaker": ("describe_training_job", {"TrainingJobName": "job"}),
        "s3": ("list_buckets", {}),
        "sqs": ("list_queues", {}),
        "sts": ("get_caller_identity", {}),
        "lambda": ("list_functions", {}),
    }
    for service, (operation, parameters) in calls.items():
        client = server.client(service, retries={"max_attempts": 0})
        client.meta.events.register("before-send", rename)
        with pytest.raises(ClientError, match="--allow-host local-sagemaker") as caught:
            getattr(client, operation)(**parameters)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_bucket_has_a_host_of_its_own(server: Server) -> None:
    host = f"bucket.localhost:{urlsplit(server.url).port}"
    assert _ask(server, "PUT", "/key", {"Host": host}, b"content").status == 200
    assert server.get("s3://bucket/key") == b"content"


# --- the option ---


def test_allowed_names_are_names_of_the_server_too(tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    options = ("--allow-host", "Local-SageMaker.", "--allow-host=*.lan.example", "--allow-host", "10.0.0.7")
    with running_server(*options, errors=errors) as server:
        for host, status in (
            ("local-sagemaker:4566", 200),
            ("LOCAL-SAGEMAKER.", 200),
            ("10.0.0.7:4566", 200),
            ("bucket.lan.example", 200),
            ("localhost", 200),
            ("lan.example", 403),
            ("evil-lan.example", 403),
            ("x.local-sagemaker", 403),
            ("evil.example", 403),
        ):
            assert _ask(server, headers={"Host": host}).status == status, host
        refused = _ask(server, headers={"Host": "evil.example"}).text
        assert "localhost, *.localhost, 127.0.0.1, local-sagemaker, *.lan.example, 10.0.0.7." in refused
        for origin, status in (("http://10.0.0.7:1", 200), ("http://10.0.0.7", 403)):
            assert _ask(server, headers={"Host": "10.0.0.7:1", "Origin": origin}).status == status
    assert "refused 'GET' '/_local/health': The header Host is 'evil.example'" in errors.read_text()


def test_the_address_to_serve_on_is_a_name_of_the_server_and_the_wildcard_is_not() -> None:
    with running_server("--host", "0.0.0.0") as server:  # noqa: S104
        assert _ask(server).status == 200
        assert _ask(server, headers={"Host": "0.0.0.0:1"}).status == 403
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None, socket.AF_INET)
    except OSError:
        pytest.skip("the machine does not know its own name")
    with running_server("--host", name) as server:
        server.client("sagemaker").create_training_job(**on_demand_request_for())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "http://local-sagemaker",
        "local-sagemaker:4566",
        "a/b",
        "a b",
        "*.10.0.0.7",
        "a..b",
        "ä",
    ],
)
def test_what_no_host_can_be_is_refused_before_anything_is_served(text: str) -> None:
    with pytest.raises(HostNameError, match="is not a host name: give a name such as local-sagemaker"):
        parse_host_name(text)
    command = [sys.executable, "-m", "local_sagemaker", "--port", "0", f"--allow-host={text}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert f"argument --allow-host: {text!r} is not a host name" in done.stderr


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Local-SageMaker", "local-sagemaker"),
        ("my_service.", "my_service"),
        ("*.Example.com", "*.example.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("[FE80::1]", "fe80::1"),
        ("fe80:0::1", "fe80::1"),
    ],
)
def test_an_allowed_name_is_compared_as_browsers_and_clients_write_it(text: str, name: str) -> None:
    assert parse_host_name(text) == name
    host = name.replace("*", "any")
    host = f"[{host}]" if ":" in host else host
    access = Access([parse_host_name(text)])
    assert access.find_refusal("GET", "/", {"host": f"{host}:4566"}) is None
    assert access.find_refusal("GET", "/", {"host": "evil.example"})
