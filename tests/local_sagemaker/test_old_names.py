"""`include.local_sagemaker`, the old name: its imports, its commands and its pytest plugin still work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .support import ROOT

PACKAGE = ROOT / "packages" / "local-sagemaker"
#: Every module of the two packages, without those that only run.
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for package in ("local_sagemaker", "spot_drill")
    for path in (PACKAGE / package).glob("*.py")
    if path.name not in {"__main__.py", "launcher.py"}
)


def _old_name(module: str) -> str:
    if module == "spot_drill.pytest_plugin":
        return "include.local_sagemaker.pytest_plugin"
    package, _, rest = module.partition(".")
    old = "include.local_sagemaker" if package == "local_sagemaker" else "include.local_sagemaker.drill"
    return f"{old}.{rest}" if rest else old


def _run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
