"""Containers with private mounts: SageMaker's own, what a script cannot reach, and which user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_sagemaker.containers import context
from local_sagemaker.containers.context import ContainerContext, can_isolate
from local_sagemaker.containers.images import Program
from local_sagemaker.containers.isolation import paths_of
from local_sagemaker.containers.users import JOB_USER_VARIABLE, JobUserError, User

from .support import ROOT, Server, on_demand_request_for, running_server, unpack, wait_until

RUN = "from json import *; exec(loads(load(open('/opt/ml/input/config/hyperparameters.json'))['code']))"
FOREVER = "import time; print('up', flush=True); time.sleep(600)"
NOBODY = User(name="nobody", uid=65534, gid=65534)


@pytest.fixture(scope="module", autouse=True)
def _private_mounts(training_python: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not can_isolate(tmp_path_factory.mktemp("root")):
        pytest.skip("this system grants no private mounts")


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give jobs another user")


def _run(server: Server, code: str, name: str = "job", **overrides: Any) -> None:
    """A job with an entrypoint, which starts faster than the toolkit."""
    algorithm = {
        "TrainingImage": "own",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python", "-c", RUN],
    }
    defaults = {
        "AlgorithmSpecification": algorithm,
        "HyperParameters": {"code": json.dumps(code)},
        "Environment": {},
        "StoppingCondition": {"MaxRuntimeInSeconds": 400_000},
    }
    request = on_demand_request_for(name, **(defaults | overrides))
    server.client("sagemaker").create_training_job(**request)


def _report_of(server: Server, name: str = "job") -> Any:
    job = server.wait_for_end(name)
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), server.log_of(name))
    return json.loads(unpack(server.get(job["ModelArtifacts"]["S3ModelArtifacts"]))["report"])


# --- mounts ---

MOUNTS = """
import errno, json, os, shutil, socket
from pathlib import Path
def outcome(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def empty(place):
    while (code := outcome(shutil.rmtree, place)) in ("ENOTEMPTY", "ENOENT"):
        pass  # the server has just made or removed a marker there
    return code
report = {}
places = [Path("/opt/ml", name) for name in
    ("model", "output/data", "input/data/train", "input/data/fast", "saved/here", "code", "output")]
for place in places:
    (place / "folder").mkdir()
    (place / "folder" / "file").touch()
    (place / "file").touch()
for place in places[:5]:
    others = [other for other in places if other != place]
    report[place.relative_to("/opt/ml").as_posix()] = [
        sorted({outcome(os.rename, place / "file", other / "new") for other in others}),
        sorted({outcome(os.rename, place / "folder", other / "new") for other in others}),
        sorted({outcome(os.link, place / "file", other / "new") for other in others}),
        outcome(os.rename, place, place.with_name("renamed")),
        outcome(os.rename, place / "file", place / "new"),
        empty(place),
        [name for name in os.listdir(place) if ".sagemaker-" not in name],
    ]
shutil.move("/opt/ml/code/file", "/opt/ml/model/moved")  # a copy, as between any two mounts
report["plain"] = outcome(shutil.rmtree, "/opt/ml/code/folder")
Path("/opt/ml/output/data", socket.gethostname()).write_text("x")
Path("/opt/ml/saved/here", socket.gethostname()).write_text("x")
Path("/opt/ml/model/report").write_text(json.dumps(report))
"""


def test_the_folders_that_sagemaker_mounts_are_mounts(server: Server) -> None:
    server.put("s3://bucket/data/a.csv", b"1,2,3")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}}
    _run(
        server,
        MOUNTS,
        InputDataConfig=[
            {"ChannelName": "train", "DataSource": source},
            {"ChannelName": "fast", "DataSource": source, "InputMode": "FastFile"},
        ],
        CheckpointConfig={"S3Uri": "s3://bucket/ck", "LocalPath": "/opt/ml/saved/here"},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    report = _report_of(server)
    assert report.pop("plain") == "done"
    mount = [["EXDEV"], ["EXDEV"], ["EXDEV"], "EBUSY", "done", "EBUSY", []]
    assert report == {
        "model": mount,
        "output/data": mount,
        "input/data/train": mount,
        "input/data/fast": mount,
        "saved/here": mount,
    }
    hosts = {"algo-1", "algo-2"}
    assert set(server.keys("ck/")) == {f"ck/{host}" for host in hosts}
    assert unpack(server.get("s3://bucket/models/job/output/output.tar.gz")).keys() == hosts
    assert "moved" in unpack(server.get("s3://bucket/models/job/output/model.tar.gz"))


# --- what a script cannot reach ---

SPY = """
import ctypes, json, os, signal, subprocess
from pathlib import Path
server, state, other = os.environ["SERVER"], Path(os.environ["STATE"]), Path(os.environ["OTHER"])
def outcome(call, *arguments):
    try:
        return repr(call(*arguments))
    except (OSError, subprocess.SubprocessError) as error:
        return type(error).__name__
libc = ctypes.CDLL(None, use_errno=True)
proc = Path("/proc", server)
report = {
    "state": outcome(os.listdir, state),
    "another job": outcome(os.listdir, other),
    "its secret": outcome(Path(other, "algo-1/ml/model/secret").read_text),
    "own folder": [str(p) for p in state.parent.glob("local-sagemaker-*")],
    "its root": outcome(os.listdir, proc / "root" / str(state)[1:]),
    "its environment": outcome((proc / "environ").read_bytes),
    "signal": outcome(os.kill, int(server), 0),
    "processes": [p for p in os.listdir("/proc") if p.isdigit()],
    "descriptors": [n for n in range(3, 256) if os.path.islink(f"/proc/self/fd/{n}")],
    "unmount": [libc.umount2(path.encode(), 2) for path in ("/tmp", "/opt/ml", "/opt/ml/model")],
    "unmount in a new namespace":
        subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "umount", "/tmp"]).returncode != 0,
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd")],
    "shared memory": os.listdir("/dev/shm"),
    "root": [os.getuid(), os.getgid()],
    "environment": {k: v for k, v in os.environ.items() if k not in ("OTHER", "STATE", "SERVER", "PATH")},
}
for folder in ("/tmp", "/dev/shm", "/root", "/opt"):
    Path(folder, "left-behind").write_text("x")
Path("/opt/ml/model/report").write_text(json.dumps(report))
"""


@pytest.mark.parametrize("temporary", ["/tmp", "/var/tmp"])  # noqa: S108
def test_a_script_reaches_neither_the_server_nor_other_jobs(
    monkeypatch: pytest.MonkeyPatch, temporary: str
) -> None:
    """The first folder is the job's own in a container, the second is not."""
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("A_PASSWORD", "secret")
    left = Path("/dev/shm/left-by-the-test")  # noqa: S108
    left.touch()
    try:
        with running_server("--speed", "600") as server:
            server.client("s3").create_bucket(Bucket="bucket")
            _run(server, f"open('/opt/ml/model/secret', 'w').write('x')\n{FOREVER}", "other")
            wait_until(lambda: any("up" in lines for lines in server.log_of("other").values()))
            (state,) = Path(temporary).glob(f"local-sagemaker-{server.pid}-*")
            (other,) = state.glob("other-*")
            assert (other / "algo-1" / "ml" / "model" / "secret").exists()
            environment = {"SERVER": str(server.pid), "STATE": str(state), "OTHER": str(other)}
            _run(server, SPY, Environment=environment)
            report = _report_of(server)
            url = server.url
    finally:
        left.unlink()
    # Elsewhere, the folder is seen, and is empty.
    is_hidden = report.pop("own folder") == []
    assert is_hidden == (temporary == "/tmp")  # noqa: S108
    assert report.pop("state") == ("FileNotFoundError" if is_hidden else "[]")
    assert report == {
        "another job": "FileNotFoundError",
        "its secret": "FileNotFoundError",
        "its root": "FileNotFoundError",
        "its environment": "FileNotFoundError",
        "signal": "ProcessLookupError",
        "processes": ["1"],
        "descriptors": [],
        "unmount": [-1, -1, -1],
        "unmount in a new namespace": True,
        "capabilities": ["00000000a80425fb"],  # those of a container of Docker
        "shared memory": [],
        "root": [0, 0],
        "environment": {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRAINING_JOB_NAME": "job",
            "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        },
    }
    for folder in ("/tmp", "/dev/shm", "/root", "/opt"):  # noqa: S108
        assert not Path(folder, "left-behind").exists()


# --- users ---


def _users_of(server: Server) -> set[int]:
    """Of the programs, not of the launcher."""
    launchers = psutil.Process(server.pid).children()
    return {child.uids().real for launcher in launchers for child in launcher.children(recursive=True)}


WRITER = f"""
import os, pathlib
path = pathlib.Path("/opt/ml/checkpoints/saved")
assert path.read_text() == "before" and path.owner() == "root"
path.write_text("now")
folder = pathlib.Path("/opt/ml/model/private")
folder.mkdir(mode=0o700)
(folder / "file").write_text("x")
(folder / "file").chmod(0)
folder.chmod(0)
print("power outside:", os.access("/etc", os.W_OK), file=open("/dev/stdout", "w"))
{FOREVER}
"""


def _check_a_job_of(server: Server, uid: int, *, has_power: bool = False) -> None:
    """The server gives a job its files, collects what it writes, and removes all of it."""
    server.client("s3").create_bucket(Bucket="bucket")
    server.put("s3://bucket/ck/saved", b"before")
    _run(server, WRITER, CheckpointConfig={"S3Uri": "s3://bucket/ck"})
    wait_until(lambda: any("up" in lines for lines in server.log_of("job").values()))
    assert _users_of(server) == {uid}
    (lines,) = server.log_of("job").values()
    assert f"power outside: {has_power}" in lines
    wait_until(lambda: server.get("s3://bucket/ck/saved") == b"now")
    server.client("sagemaker").stop_training_job(TrainingJobName="job")
    server.wait_for_end("job")
    assert unpack(server.get("s3://bucket/models/job/output/model.tar.gz")) == {"private/file": b"x"}
    (state,) = Path(tempfile.gettempdir()).glob(f"local-sagemaker-{server.pid}-*")
    wait_until(lambda: not list(state.iterdir()))


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("user", "uid"), [(None, 65534), ("root", 0)])
def test_a_server_of_root_gives_its_jobs_a_user_without_power_unless_root_is_named(
    monkeypatch: pytest.MonkeyPatch, user: str | None, uid: int
) -> None:
    if user:
        monkeypatch.setenv(JOB_USER_VARIABLE, user)
    with running_server("--speed", "600") as server:
        _check_a_job_of(server, uid, has_power=uid == 0)


#: A user as in docker-compose.yaml, and Docker's protection of /proc.
_UNPRIVILEGED = "exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all"
_MASKED = ["mount --bind /proc/sys /proc/sys", "mount -o remount,ro,bind /proc/sys"]


def _as_nobody(folder: Path, *steps: str) -> list[str]:
    """A command that runs another as nobody. What it needs of /root is made accessible."""
    needed = dict.fromkeys((sys.base_prefix, sys.prefix, os.path.realpath(sys.prefix), str(ROOT)))
    before, after = [], ["mount -t tmpfs -o mode=755 none /root"]
    for number, path in enumerate(path for path in needed if path.startswith("/root/")):
        before.append(f"mkdir {folder}/{number}; mount --bind {path} {folder}/{number}")
        after.append(f"mkdir -p {path}; mount --bind {folder}/{number} {path}")
    command = "; ".join((*before, *after, *steps, f'{_UNPRIVILEGED} "$@"'))
    return ["unshare", "--mount", "sh", "-euc", command, "sh"]


@pytest.mark.usefixtures("as_root")
def test_a_server_without_root_has_private_mounts_and_collects_what_jobs_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with running_server("--speed", "600", prefix=_as_nobody(tmp_path)) as server:
        assert psutil.Process(server.pid).uids().real == NOBODY.uid
        _check_a_job_of(server, NOBODY.uid)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("steps", "expected"), [([], "True"), (_MASKED, "False")])
def test_without_root_private_mounts_need_a_proc_that_docker_leaves_alone(
    tmp_path: Path, steps: list[str], expected: str
) -> None:
    code = (
        "import pathlib, tempfile; from local_sagemaker.containers.context import can_isolate\n"
        "with tempfile.TemporaryDirectory() as folder: print(can_isolate(pathlib.Path(folder)))"
    )
    command = [*_as_nobody(tmp_path, *steps), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def _context(root: Path, *, isolate: bool = True) -> ContainerContext:
    parts: dict[str, Any] = dict.fromkeys(("objects", "logs", "images", "now", "endpoint_url"))
    return ContainerContext(root=root, isolate=isolate, **parts)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"installs": True, "is_venv": False}, None),
        ({"installs": True}, "it installs packages into .*, which belongs to root"),
        ({"can_run": False}, "nobody cannot run .*/bin/python"),
        ({"isolate": False}, "jobs have no private mounts here"),
    ],
)
def test_a_job_runs_as_root_only_if_it_must_and_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    facts: dict[str, bool],
    reason: str | None,
) -> None:
    facts = {"isolate": True, "installs": False, "is_venv": True, "can_run": True} | facts
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(context, "can_run", lambda *_: facts["can_run"])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/sh")
    if facts["is_venv"]:
        (tmp_path / "pyvenv.cfg").touch()
    shared = _context(tmp_path, isolate=facts["isolate"])
    program = Program(command=(str(tmp_path / "bin" / "python"),))

    def find_user() -> str:
        user = shared.user_for("job", program, installs=facts["installs"])
        return user.name if user else "root"

    assert find_user() == ("root" if reason else "nobody")
    assert bool(caplog.text) is bool(reason)
    assert re.search(
        f"job runs as root, with power over this machine: {reason}." if reason else "", caplog.text
    )
    monkeypatch.setenv(JOB_USER_VARIABLE, "root")
    assert find_user() == "root"
    monkeypatch.setenv(JOB_USER_VARIABLE, "no-such-user")
    with pytest.raises(JobUserError, match="has no user no-such-user: name another"):
        find_user()
    # Who names a user gets this user, or a job that fails.
    monkeypatch.setenv(JOB_USER_VARIABLE, "nobody")
    if facts["isolate"]:
        assert find_user() == "nobody"
    else:
        with pytest.raises(JobUserError, match="is nobody, but jobs have no private mounts here"):
            find_user()


def test_a_server_of_another_user_runs_jobs_as_this_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _context(tmp_path).user_for("job", Program(command=("/bin/sh",)), installs=True) is None


def test_the_paths_of_a_program_include_all_that_its_links_lead_through(tmp_path: Path) -> None:
    base, first, second = (tmp_path / name for name in ("base", "first", "second"))
    for folder in (base, first, second):
        folder.mkdir()
    (base / "python3").symlink_to("/bin/sh")
    (first / "python").symlink_to("../second/python")
    (second / "python").symlink_to(base / "python3")
    (tmp_path / "middle").symlink_to("first")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\nhome = /etc\n")
    program = Program(command=("python", "-c", "/no/path"), bin_folder=str(tmp_path / "link"))
    found = paths_of(program)
    expected = ["link/python", "link", "middle", "first/python", "second/python", "base/python3"]
    assert {str(tmp_path / name) for name in expected} <= set(found)
    assert str(Path("/bin/sh").resolve()) in found
    assert "/etc" in found
    assert "/no/path" not in found
