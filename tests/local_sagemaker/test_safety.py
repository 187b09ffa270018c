"""What must not happen: files outside a job's folder, strangers on the port, a server anybody can stall."""

from __future__ import annotations

import http.client
import io
import json
import socket
import tarfile
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from local_sagemaker.containers.archives import pack
from local_sagemaker.server import is_loopback

from .support import (
    Server,
    on_demand_request_for,
    request_for,
    running_server,
    unpack,
    wait_until,
)

MANY_JOBS = 10_000
HEADERS = {"Content-Type": "application/x-amz-json-1.1"}
FOREVER = "import time; print('up', flush=True); time.sleep(600)"
SPOIL = "spoiled-by-an-archive"


def _connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=10)


def _is_well(server: Server) -> bool:
    started = time.monotonic()
    return server.control("GET", "health") == (200, {"status": "ok"}) and time.monotonic() - started < 5


def _answer_to(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


# --- archives ---


def _hostile_archive() -> bytes:
    """A script with an archive that also writes above its folder, at the root and through a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:

        def add(name: str, content: bytes = b"x", link_to: str | None = None) -> None:
            member = tarfile.TarInfo(name)
            if link_to is not None:
                member.type, member.linkname = tarfile.SYMTYPE, link_to
                archive.addfile(member)
                return
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("train.py", b"print('ran')\n")
        add(f"../{SPOIL}-1")
        add(f"../../../../../../../../..{tempfile.gettempdir()}/{SPOIL}-2")
        add(f"{tempfile.gettempdir()}/{SPOIL}-3")
        add("way-out", link_to=tempfile.gettempdir())
        add(f"way-out/{SPOIL}-4")
    return buffer.getvalue()


@pytest.mark.parametrize("mounts", ["1", "0"])
@pytest.mark.usefixtures("training_python")
def test_a_source_archive_writes_nothing_outside_its_folder(
    monkeypatch: pytest.MonkeyPatch, mounts: str
) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PRIVATE_MOUNTS", mounts)
    with running_server("--speed", "600") as server:
        server.client("s3").create_bucket(Bucket="bucket")
        server.put("s3://bucket/source.tar.gz", _hostile_archive())
        source = {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": "s3://bucket/source.tar.gz",
        }
        request = on_demand_request_for(
            HyperParameters=source, Environment=None, StoppingCondition={"MaxRuntimeInSeconds": 400_000}
        )
        server.client("sagemaker").create_training_job(**request)
        server.wait_for_end("job")
        assert not list(Path(tempfile.gettempdir()).glob(f"{SPOIL}*"))
        assert not list(Path("/").glob(f"{SPOIL}*"))


def test_a_model_archive_holds_links_as_links_and_not_what_they_lead_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("mine")
    (model / "way-out").symlink_to(secret)
    (model / "folder-out").symlink_to(tmp_path)
    archive = pack(model)
    assert unpack(archive) == {"weights": b"mine"}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        names = opened.getnames()
    assert not [name for name in names if name.startswith(("/", ".."))]


# --- who can reach it ---


@pytest.mark.parametrize(
    ("host", "is_private"),
    [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("no.such.host.", False)],  # noqa: S104
)
def test_only_loopback_counts_as_private(host: str, is_private: bool) -> None:
    assert is_loopback(host) == is_private


def _listening(server: Server) -> set[str]:
    sockets = psutil.Process(server.pid).net_connections(kind="tcp")
    return {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}


def test_it_binds_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    with running_server(errors=errors) as server:
        assert _listening(server) == {"127.0.0.1"}
    assert "WARNING: --host" not in errors.read_text()


def test_an_address_that_others_can_reach_is_warned_about_loudly(tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    with running_server("--host", "0.0.0.0", errors=errors) as server:  # noqa: S104
        assert _listening(server) == {"0.0.0.0"}  # noqa: S104
        assert server.control("GET", "health")[0] == 200
    assert "WARNING: with --host 0.0.0.0, other machines can run programs here" in errors.read_text()


# --- clients that are no good ---


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"X: y\r\n" * 300 + b"\r\n", b"Too many headers"),
        (b"X" * 200_000 + b"\r\n\r\n", b"Got more than 65536 bytes"),
        (b"Content-Length: many\r\n\r\n", b"Invalid character in Content-Length"),
        (b"Content-Length: 99999999999\r\n\r\n", b"The body is too large."),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"Invalid character in chunk size"),
        (b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", b"Invalid character in chunk size"),
        (b"X-Amz-Target: SageMaker.CreateTrainingJob\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
    ],
)
def test_a_request_out_of_all_proportion_is_refused_and_nobody_else_notices(
    server: Server, head: bytes, message: bytes
) -> None:
    with _connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head)
        assert message in _answer_to(connection)
    assert _is_well(server)


def test_clients_that_never_finish_do_not_hold_up_others(server: Server) -> None:
    beginnings = (
        b"POST / HT",
        b"POST / HTTP/1.1\r\nX-Amz-Target: SageMaker.CreateTrainingJob\r\n",
        b"POST / HTTP/1.0\r\nX-Amz-Target: SageMaker.CreateTrainingJob\r\nContent-Length: 1000\r\n\r\n{",
        b"PUT /bucket/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
    )
    slow = [_connect(server) for _ in range(100)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(beginnings[number % len(beginnings)])
        assert _is_well(server)
        server.client("sagemaker").create_training_job(**request_for())
        server.put("s3://bucket/other", b"x")
        assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    finally:
        for connection in slow:
            connection.close()
    process = psutil.Process(server.pid)
    wait_until(lambda: process.num_threads() < 20, describe=lambda: f"{process.num_threads()} threads")


# --- many jobs ---


def _create_many(server: Server, numbers: range) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    headers = HEADERS | {"X-Amz-Target": "SageMaker.CreateTrainingJob"}
    for number in numbers:
        connection.request("POST", "/", body=json.dumps(request_for(f"job-{number}")), headers=headers)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()


def _run_program(server: Server) -> None:
    """On demand, because nobody gets spot here; at a speed that makes its launch short."""
    algorithm = {
        "TrainingImage": "own",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python", "-c", FOREVER],
    }
    request = on_demand_request_for("program", AlgorithmSpecification=algorithm, Environment=None)
    server.client("sagemaker").create_training_job(**request)
    wait_until(lambda: any("up" in lines for lines in server.log_of("program").values()))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.usefixtures("training_python")
def test_ten_thousand_jobs_need_no_thread_each_and_sigterm_ends_them_all_in_seconds() -> None:
    arguments = ("--speed", "60", "--market", "no-capacity", "--log-level", "error")
    with running_server(*arguments) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        process = psutil.Process(server.pid)
        _create_many(server, range(100))
        wait_until(lambda: process.num_threads() <= 5)
        threads = process.num_threads()
        _create_many(server, range(100, MANY_JOBS))
        wait_until(
            lambda: process.num_threads() <= threads, describe=lambda: f"{process.num_threads()} threads"
        )
        _run_program(server)
        children = process.children(recursive=True)
        folders = list(Path(tempfile.gettempdir()).glob(f"local-sagemaker-{server.pid}-*"))
        assert (bool(children), len(folders)) == (True, 1)
        started = time.monotonic()
        process.terminate()
        wait_until(lambda: not any(_is_alive(each) for each in (process, *children)))
        assert time.monotonic() - started < 8
        assert not folders[0].exists()


# --- scripts that are no good ---

HOSTILE = r"""
import os, pathlib, socket
base = pathlib.Path("/opt/ml" if os.path.isdir("/opt/ml/model") else os.environ["SAGEMAKER_BASE_DIR"])
model, checkpoints, output = base / "model", base / "checkpoints", base / "output"
for folder in (model, checkpoints, output / "data"):
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "folder-link").symlink_to("/etc")
    for name in (b"\xff", b"new\nline", b"\x01"):
        pathlib.Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("odd")
    (folder / "closed").mkdir()
    (folder / "closed" / "file").write_text("closed")
    (folder / "closed" / "file").chmod(0)
    (folder / "closed").chmod(0)
    (folder / "last").write_text("x")
os.chdir(model)
for _ in range(300):
    os.mkdir("deep")
    os.chdir("deep")
os.mkfifo(output / "failure")
os.rename(output, base / "moved")
output.symlink_to("/etc")
(base / "input").rename(base / "gone")
print("y" * 1_000_000, flush=True)
os._exit(3)
"""


@pytest.mark.parametrize("mounts", ["1", "0"])
@pytest.mark.usefixtures("training_python")
def test_a_hostile_script_neither_stalls_the_server_nor_makes_it_read_for_it(
    monkeypatch: pytest.MonkeyPatch, mounts: str
) -> None:
    monkeypatch.setenv("LOCAL_SAGEMAKER_PRIVATE_MOUNTS", mounts)
    with running_server("--speed", "600") as server:
        server.client("s3").create_bucket(Bucket="bucket")
        algorithm = {
            "TrainingImage": "own",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [
                "python",
                "-c",
                "import os; exec(os.environ['A'] + os.environ['B'] + os.environ['C'])",
            ],
        }
        third = len(HOSTILE) // 3 + 1
        parts = {name: HOSTILE[at * third : (at + 1) * third] for at, name in enumerate("ABC")}
        request = on_demand_request_for(
            AlgorithmSpecification=algorithm,
            Environment=parts,
            CheckpointConfig={"S3Uri": "s3://bucket/ck"},
            StoppingCondition={"MaxRuntimeInSeconds": 400_000},
        )
        server.client("sagemaker").create_training_job(**request)
        job = server.wait_for_end("job")
        assert job["FailureReason"] == "AlgorithmError: , exit code: 3"
        model = unpack(server.get("s3://bucket/models/job/output/model.tar.gz"))
        assert model.keys() == {"\udcff", "new\nline", "\x01", "closed/file", "last"}
        assert model["closed/file"] == b"closed"
        assert server.keys("ck/") == ["ck/\x01", "ck/closed/file", "ck/last", "ck/new\nline"]
        # The output folder was moved away. What lies in its place is not the job's.
        assert server.keys("models/") == ["models/job/output/model.tar.gz"]
        (lines,) = server.log_of("job").values()
        assert "".join(lines) == "y" * 1_000_000
        (state,) = Path(tempfile.gettempdir()).glob(f"local-sagemaker-{server.pid}-*")
        wait_until(lambda: not list(state.iterdir()))
