"""The mark of simulated time, from a real local SageMaker and from servers that are none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from spot_training.sagemaker.local_cloud import describe_clock
from tests.cloud import SPEED, Cloud


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server that answers each request with `server.answer`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.answer)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.asked, server.status, server.answer = [], 200, b""  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _said_by(server: HTTPServer, answer: bytes, status: int = 200) -> str | None:
    server.answer, server.status = answer, status  # type: ignore[attr-defined]
    return describe_clock(f"http://127.0.0.1:{server.server_port}/")


def test_the_local_sagemaker_is_named_with_the_speed_of_its_clock(cloud: Cloud) -> None:
    assert describe_clock(cloud.url) == f"local cloud, clock x{SPEED}"


def test_every_speed_reads_well(server: HTTPServer) -> None:
    assert _said_by(server, b'{"speed": 150.0}') == "local cloud, clock x150"
    assert _said_by(server, b'{"speed": 2.5}') == "local cloud, clock x2.5"
    assert _said_by(server, b'{"speed": 1500000}') == "local cloud, clock x1500000"
    assert _said_by(server, b'{"speed": "max"}') == "local cloud, clock at maximum speed"
    assert server.asked == ["/_local/clock"] * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"7", b"{}", b'{"speed": null}', b'{"speed": true}', b'{"speed": NaN}', b"\xff"],
)
def test_another_server_is_no_local_cloud(server: HTTPServer, answer: bytes) -> None:
    assert _said_by(server, answer) is None


def test_a_refusal_is_no_local_cloud(server: HTTPServer) -> None:
    assert _said_by(server, b'{"speed": 150}', status=404) is None


def test_a_port_where_nothing_listens_is_no_local_cloud() -> None:
    assert describe_clock("http://127.0.0.1:9") is None


@pytest.mark.parametrize(
    "address",
    [
        "https://sagemaker.us-east-1.amazonaws.com",
        "https://vpce-1-2.api.sagemaker.eu-west-1.vpce.amazonaws.com",
        "https://sagemaker.cn-north-1.amazonaws.com.cn",
        "https://api.sagemaker.us-east-1.api.aws",
        "file:///etc/passwd",
        "",
    ],
)
def test_aws_is_not_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(address)

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert describe_clock(address) is None
