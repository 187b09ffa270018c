"""Pages of other origins in a real browser: they change nothing and read nothing, and their links open."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium

from .support import Server, request_for, source_archive

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Other names of loopback, as a page of an attacker has one after DNS rebinding.
NAMES = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP friend.localhost 127.0.0.1"

#: Sends everything that a page can: the answers are what it could read, `null` where it could read nothing.
ATTACK = """
async ({target, request, archive, fault}) => {
  const blob = new Blob([Uint8Array.from(atob(archive), (char) => char.charCodeAt(0))]);
  const form = (key) => {
    const data = new FormData();
    data.append("key", key);
    data.append("file", blob);
    return data;
  };
  const calls = {
    form: ["/bucket", {method: "POST", mode: "no-cors", body: form("evil-form")}],
    readableForm: ["/bucket", {method: "POST", body: form("evil-readable-form")}],
    object: ["/bucket/evil-object", {method: "PUT", body: blob}],
    job: ["/", {method: "POST", body: request, headers: {
      "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.CreateTrainingJob"}}],
    faults: ["/_local/faults", {method: "POST", mode: "no-cors", body: fault}],
    reset: ["/_local/reset", {method: "POST", mode: "no-cors"}],
    clock: ["/_local/clock", {}],
    page: ["/_local/", {}],
    secret: ["/bucket/secret", {}],
    changingGet: ["/moto-api/recorder/start-recording", {mode: "no-cors"}],
  };
  const read = {};
  for (const [name, [path, options]] of Object.entries(calls)) {
    try {
      const answer = await fetch(target + path, options);
      read[name] = answer.type === "opaque" ? null : await answer.text();
    } catch { read[name] = null; }
  }
  read.script = await new Promise((done) => {
    const script = document.createElement("script");
    script.src = target + "/bucket/secret";
    script.onload = () => done(window.secret ?? null);
    script.onerror = () => done(null);
    document.head.append(script);
  });
  read.image = await new Promise((done) => {
    const image = new Image();
    image.onload = () => done("loaded");
    image.onerror = () => done(null);
    image.src = target + "/bucket/picture";
  });
  return read;
}
"""
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


class _Page(BaseHTTPRequestHandler):
    """An empty page, with or without a referrer policy that makes the Origin of its forms `null`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if self.path == "/anonymous":
            self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield site.server_port
        site.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(NAMES) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with contextlib.closing(browser.new_context()) as context:
        yield context.new_page()


@pytest.fixture
def stocked(server: Server) -> Server:
    """With what a page would like to read, public as far as S3 is asked."""
    put = server.client("s3").put_object
    for key, content, kind in (
        ("secret", b"var secret = 'secret'", "text/javascript"),
        ("picture", PICTURE, "image/svg+xml"),
    ):
        put(Bucket="bucket", Key=key, Body=content, ContentType=kind, ACL="public-read")
    rule = {"AllowedMethods": ["GET", "PUT", "POST"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    server.client("s3").put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": [rule]})
    return server


def _port(server: Server) -> int:
    return urlsplit(server.url).port or 0


def _attack(page: Page, server: Server, target: str) -> dict[str, str | None]:
    """What the page could read. The job it asks for runs the program that it uploads."""
    parameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "s3://bucket/evil-form",
    }
    request = request_for("evil", Environment=None, HyperParameters=parameters)
    given = {
        "target": target,
        "request": json.dumps(request),
        "archive": base64.b64encode(source_archive("print('evil')")).decode(),
        "fault": json.dumps({"operation": "*", "error": "InternalFailure", "seconds": 600}),
    }
    read: dict[str, str | None] = page.evaluate(ATTACK, given)
    return read


def _assert_untouched(server: Server) -> None:
    client = server.client("sagemaker", retries={"max_attempts": 0})
    assert client.list_training_jobs()["TrainingJobSummaries"] == []
    assert server.keys("") == ["picture", "secret"]


# `same-site` from the first, which is another port of the same host; `cross-site` from the others.
@pytest.mark.parametrize("origin", ["127.0.0.1", "localhost", "friend.localhost", "evil.example"])
@pytest.mark.parametrize("target", ["127.0.0.1", "localhost", "bucket.localhost", "0.0.0.0"])  # noqa: S104
def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(
    stocked: Server, page: Page, elsewhere: int, origin: str, target: str
) -> None:
    page.goto(f"http://{origin}:{elsewhere}/")
    read = _attack(page, stocked, f"http://{target}:{_port(stocked)}")
    assert [name for name, content in read.items() if content is not None] == []
    _assert_untouched(stocked)


def test_a_page_of_a_rebound_name_is_not_even_shown(stocked: Server, page: Page) -> None:
    """Its name leads to the server itself, so that it is same-origin."""
    answer = page.goto(f"http://evil.example:{_port(stocked)}/_local/")
    assert answer is not None
    assert answer.status == 403
    assert "--allow-host evil.example" in answer.text()
    read = _attack(page, stocked, f"http://evil.example:{_port(stocked)}")
    contents = [content for content in read.values() if content is not None]
    assert contents
    assert all("The header Host is" in content for content in contents)
    _assert_untouched(stocked)


@pytest.mark.parametrize("path", ["/", "/anonymous"])
@pytest.mark.parametrize(
    ("action", "kind"),
    [("/bucket", "multipart/form-data"), ("/_local/faults", "text/plain"), ("/_local/reset", "text/plain")],
)
def test_a_form_without_a_script_changes_nothing(
    stocked: Server, page: Page, elsewhere: int, path: str, action: str, kind: str
) -> None:
    page.goto(f"http://127.0.0.1:{elsewhere}{path}")
    page.set_content(
        f'<form method="post" action="{stocked.url}{action}" enctype="{kind}">'
        '<input name="key" value="evil"><textarea name="file">content</textarea><button>Go</button></form>'
    )
    with page.expect_navigation() as sent:
        page.get_by_role("button").click()
    assert sent.value.status == 403
    assert "The header Origin is" in sent.value.text()
    assert f"'{'null' if path == '/anonymous' else f'http://127.0.0.1:{elsewhere}'}'" in sent.value.text()
    _assert_untouched(stocked)


@pytest.mark.parametrize("origin", ["127.0.0.1", "localhost", "evil.example"])
@pytest.mark.parametrize("attributes", ["", 'target="_blank" rel="noreferrer"'])
def test_a_link_of_airflow_opens_the_page_and_the_log(
    server: Server, page: Page, elsewhere: int, origin: str, attributes: str
) -> None:
    server.client("sagemaker").create_training_job(**request_for("first"))
    for path, shown in (("/_local/#job-first", "first"), ("/_local/logs/first", "has no log")):
        page.goto(f"http://{origin}:{elsewhere}/")
        page.set_content(f'<a href="{server.url}{path}" {attributes}>Open</a>')
        if attributes:
            with page.expect_popup() as opened:
                page.get_by_role("link").click()
            target = opened.value
        else:
            page.get_by_role("link").click()
            target = page
        target.get_by_text(shown).first.wait_for()
        target.reload()
        target.get_by_text(shown).first.wait_for()


def test_the_page_that_a_link_opened_follows_along(server: Server, page: Page, elsewhere: int) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    page.set_content(f'<a href="{server.url}/_local">Open</a>')
    page.get_by_role("link").click()
    page.get_by_text("No training jobs yet.").wait_for()
    server.client("sagemaker").create_training_job(**request_for("later"))
    page.get_by_role("heading", name="later").wait_for()


@pytest.mark.parametrize("path", ["/_local/", "/bucket/secret"])
def test_no_page_can_frame_the_server(stocked: Server, page: Page, elsewhere: int, path: str) -> None:
    page.goto(f"http://127.0.0.1:{elsewhere}/")
    with page.expect_response(stocked.url + path) as framed:
        page.set_content(f'<iframe src="{stocked.url}{path}"></iframe>')
    assert framed.value.status == 403


def test_a_document_in_a_bucket_runs_its_scripts_but_not_as_the_server(stocked: Server, page: Page) -> None:
    """A person opens it by its address, so that it would be of this server's origin."""
    stocked.client("s3").put_object(
        Bucket="bucket",
        Key="report.html",
        Body=b"<!doctype html><p id=shown>no script</p><script>shown.textContent = 'script ran'</script>",
        ContentType="text/html",
        ACL="public-read",
    )
    for host in ("127.0.0.1", "localhost"):
        page.goto(f"http://{host}:{_port(stocked)}/bucket/report.html")
        page.get_by_text("script ran").wait_for()
        assert page.evaluate("window.origin") == "null"
        read = _attack(page, stocked, f"http://{host}:{_port(stocked)}")
        assert [name for name, content in read.items() if content is not None] == []
    stocked.client("s3").delete_object(Bucket="bucket", Key="report.html")
    _assert_untouched(stocked)


def test_the_servers_own_page_may_use_it(stocked: Server, page: Page) -> None:
    page.goto(f"{stocked.url}/_local/")
    ask = "async () => (await fetch('/_local/faults', {method: 'DELETE'})).status"
    assert page.evaluate(ask) == 200
