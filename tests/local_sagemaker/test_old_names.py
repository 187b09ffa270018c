"""`include.local_sagemaker`, the old name: its imports, its commands and its pytest plugin still work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_sagemaker.old_names import MOVED

from .support import ROOT

PACKAGE = ROOT / "packages" / "local-sagemaker"
#: Every module of the two packages, without those that only run.
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for package in ("local_sagemaker", "spot_drill")
    for path in (PACKAGE / package).rglob("*.py")
    if path.name not in {"__main__.py", "launcher.py"}
)


def _old_name(module: str) -> str:
    if module == "spot_drill.pytest_plugin":
        return "include.local_sagemaker.pytest_plugin"
    package, _, rest = module.partition(".")
    old = "include.local_sagemaker" if package == "local_sagemaker" else "include.local_sagemaker.drill"
    return f"{old}.{rest}" if rest else old


def _run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # This checkout's package, also where another one is installed.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PACKAGE}"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


SAME_MODULES = """
import importlib, sys, warnings

warnings.simplefilter("ignore", DeprecationWarning)
for pair in sys.argv[1:]:
    old_name, new_name = pair.split("=")
    first = importlib.import_module(old_name)
    module = importlib.import_module(new_name)
    assert first is module, pair
    assert module.__name__ == new_name, pair
    assert module.__spec__.name == new_name, pair
    assert importlib.reload(module) is module, pair
"""


def test_a_module_is_the_same_object_under_both_names() -> None:
    pairs = [
        f"{_old_name(module)}={module}"
        for module in MODULES
        if module not in {"local_sagemaker", "spot_drill.pytest_plugin"}
    ]
    assert len(pairs) > 40
    done = _run("-c", SAME_MODULES, *pairs)
    assert done.returncode == 0, done.stderr


#: Every module of `local_sagemaker` before it had folders, and its public names.
BEFORE_FOLDERS = {
    "access": "Access HostNameError find_change make_refusal parse_host_name",
    "account": "forget_account make_client",
    "checkpoints": "CheckpointSync files_being_written processes_of",
    "clock": "Clock DrivenClock JumpingClock SimulatedClock",
    "container": (
        "ContainerContext DEFAULT_CHECKPOINT_PATH Host ScriptWork can_isolate channel_config "
        "channels_of checkpoint_folder container_environment hosts_of input_mode merged pack "
        "write_config"
    ),
    "control": "BadControlRequestError Control Fields PREFIX",
    "engine": (
        "DOWNLOADING ENDINGS Engine INTERNAL_FAILURE INTERRUPTED MAX_PENDING_EXCEEDED "
        "NOTICE_SECONDS NO_CAPACITY_FAILURE NO_SPOT NotInterruptibleError PENDING PREPARING "
        "RESTARTING STARTING STOPPING STOP_GRACE_SECONDS TRAINING UPLOADING"
    ),
    "events": "DETAIL_TYPE SOURCE StateChangeEvents event_of",
    "faults": "EVERY_OPERATION Fault Faults Order WRONG_ANSWERS",
    "gaps": "failure_reply fill",
    "images": "DEFAULT_IMAGES ImageRule Images ImagesFileError Program UnmappedImageError load_images",
    "inputs": "InputError copy_channel name_in_channel",
    "interpreter": "HOW_TO_MAKE PYTHON_VARIABLE find_interpreter",
    "launcher": "NoNamespaceError main",
    "lifecycle": (
        "HOLDING_STATUSES NEXT_STATUSES SecondaryStatus TERMINAL_SECONDARY_STATUSES "
        "TERMINAL_STATUSES TrainingStatus Transition is_legal_move"
    ),
    "logs": "GROUP LogStream MAX_EVENT_CHARACTERS MotoLogs read_log",
    "market": (
        "Changes Interruption Market MarketFileError MarketSpec Origin SCENARIOS Shortage "
        "Timeline TypeRule load_market scenario_names"
    ),
    "memory": "settle_memory",
    "metrics": "AlgorithmMetrics InstanceMetrics NAMESPACE put_metrics",
    "objects": "MotoObjects NoSuchBucketError Objects folder_prefix let_moto_forget split_uri",
    "observer": "ContainerObserver NoObserver",
    "operations": (
        "DEFAULT_PAGE HANDLERS Handler Params add_tags create_training_job delete_tags "
        "delete_training_job describe_training_job description_of is_ours list_tags "
        "list_training_jobs search stop_training_job summary_of update_training_job"
    ),
    "page": "JOBS_SHOWN render_page words",
    "pricing": "PRICES_FILE SERVICE_CODE TARGET_PREFIX answer",
    "process": (
        "ControlError ENVIRONMENT MODULE ServerHandle ServerStartError complaint_in "
        "module_command module_environment serve"
    ),
    "protocol": "CONTENT_TYPE MAX_BODY_BYTES Reply SageMakerProtocol TARGET_PREFIX error_reply request_id",
    "rules": (
        "NOT_FOUND ResourceInUseError ResourceLimitExceededError check_create check_deletable "
        "check_name_is_free check_quota check_stoppable"
    ),
    "search": "search_jobs",
    "server": (
        "BadRequestError LocalSageMaker PRIVATE_MOUNTS_VARIABLE SPEED_HEADER WsgiApp is_loopback "
        "log_transition make_root"
    ),
    "stopping": (
        "ALGORITHMS_WITHOUT_CHECKPOINTS DEFAULT_MAX_RUNTIME_SECONDS MAX_RUNTIME_SECONDS "
        "MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS is_capped_algorithm"
    ),
    "store": "ACCOUNT FinalMetric IllegalMoveError REGION Store TrainingJob arn_of",
    "traces": "Trace TraceError parse_trace",
    "validation": (
        "Accept SerializationError ValidationError about_instance_type acceptor check_types "
        "compile_pattern instance_types operation_names service_model validate"
    ),
    "work": (
        "LOCAL_TRAINING_FAILURE LOCAL_TRAINING_SECONDS PROGRESS_FILE SimulatedWork Site Work work_seconds"
    ),
    "wrong_answers": "UNKNOWN_STATUS bend",
}

IMPORT_BEFORE_FOLDERS = """
import importlib, sys, warnings

for given in sys.argv[1:]:
    name, *members = given.split()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(name)
    for member in members:
        getattr(module, member)
    messages = [str(each.message) for each in caught if each.category is DeprecationWarning]
    if module.__spec__.loader.__class__.__name__ == "_Forward":
        (message,) = messages
        new_name = message.removeprefix(f"{name} is now ")
        assert importlib.import_module(new_name).__name__ == new_name != name
    else:
        assert messages == [], messages
"""


def test_a_module_from_before_there_were_folders_has_all_its_names_and_says_the_new_one() -> None:
    given = [f"local_sagemaker.{name} {members}" for name, members in BEFORE_FOLDERS.items()]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_BEFORE_FOLDERS, *given],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_old_module_name_is_in_the_table_of_moved_ones_or_still_a_module() -> None:
    assert set(MOVED) <= set(BEFORE_FOLDERS)
    kept = set(BEFORE_FOLDERS) - set(MOVED)
    assert kept == {"account", "clock", "control", "market", "memory", "process", "server"}


FROM_IMPORTS = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from include.local_sagemaker import market, engine
from include.local_sagemaker.drill import judge
from include.local_sagemaker.drill.verdict import Verdict
from include.local_sagemaker.process import serve
from include.local_sagemaker.pytest_plugin import DrillNotRunError
import include.local_sagemaker.clock
import local_sagemaker.clock, local_sagemaker.market
import spot_drill.judge, spot_drill.verdict, spot_drill.pytest_plugin
assert include.local_sagemaker.clock is local_sagemaker.clock
assert market is local_sagemaker.market
assert judge is spot_drill.judge
assert Verdict is spot_drill.verdict.Verdict
assert serve is local_sagemaker.serve
assert DrillNotRunError is spot_drill.pytest_plugin.DrillNotRunError
try:
    import include.local_sagemaker.nothing
except ModuleNotFoundError as exc:
    assert exc.name == "include.local_sagemaker.nothing"
else:
    raise AssertionError("a module that does not exist was found")
"""


def test_every_form_of_import_works() -> None:
    done = _run("-c", FROM_IMPORTS)
    assert done.returncode == 0, done.stderr


def test_without_an_installed_package_its_source_in_this_repository_is_used() -> None:
    """-S: no installed package is found."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from include.local_sagemaker import clock\n"
        "print(clock.__name__, clock.__file__)"
    )
    done = _run("-I", "-S", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["local_sagemaker.clock", str(PACKAGE / "local_sagemaker" / "clock.py")]


def test_an_import_gives_one_deprecation_warning_that_says_the_new_names() -> None:
    done = _run(
        "-W", "always", "-c", "import include.local_sagemaker.market\nimport include.local_sagemaker.clock"
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert len(warnings) == 1, done.stderr
    assert warnings[0].startswith("<string>:1: ")
    assert "now local_sagemaker" in warnings[0]
    assert "now spot_drill" in warnings[0]


@pytest.mark.parametrize(
    ("arguments", "new_name"),
    [([], "`local-sagemaker`"), (["drill"], "`spot-drill`")],
    ids=["server", "drill"],
)
def test_an_old_command_says_its_new_name_and_takes_the_same_options(
    arguments: list[str], new_name: str
) -> None:
    helped = _run("-m", "include.local_sagemaker", *arguments, "--help")
    assert helped.returncode == 0
    module = "spot_drill" if arguments else "local_sagemaker"
    assert helped.stdout == _run("-m", module, "--help", folder=PACKAGE).stdout
    assert len(helped.stderr.splitlines()) == 1
    assert new_name in helped.stderr
    refused = _run("-m", "include.local_sagemaker", *arguments, "--no-such-option")
    assert refused.returncode == 2
    assert refused.stdout == ""


def test_the_old_command_serves() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "include.local_sagemaker", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PACKAGE}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("ready: http://127.0.0.1:")
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0


USES_FIXTURES = """
def test_a_server(local_sagemaker):
    assert local_sagemaker.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []

def test_a_drill(spot_drill):
    assert callable(spot_drill)
"""
OLD, NEW = "include.local_sagemaker.pytest_plugin", "spot_drill.pytest_plugin"


@pytest.mark.parametrize("is_installed", [False, True], ids=["by name only", "also found by itself"])
@pytest.mark.parametrize("names", [[OLD], [NEW], [OLD, NEW], [NEW, OLD]], ids=" and ".join)
def test_a_conftest_may_name_the_plugin_under_each_name_and_registers_it_once(
    tmp_path: Path, names: list[str], is_installed: bool
) -> None:
    """The entry point is loaded from metadata as an installer writes it."""
    (tmp_path / "conftest.py").write_text(f"pytest_plugins = {names!r}\n")
    (tmp_path / "test_theirs.py").write_text(USES_FIXTURES)
    # The old name finds the new package by itself; its other names need it on the path.
    paths = [ROOT] if names[0] == OLD and not is_installed else [PACKAGE, ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    if is_installed:
        metadata = tmp_path / "site" / "for_this_test-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: for_this_test\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[pytest11]\n{NEW} = {NEW}\n")
        environment["PYTHONPATH"] += f"{os.pathsep}{metadata.parent}"
    else:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert ("now local_sagemaker" in done.stdout) is (OLD in names)
