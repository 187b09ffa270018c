"""Which files are read, in which encoding, and what is said of the others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from spot_training.check.checked import check
from spot_training.check.files import find, write

from .support import DAG, codes_of, fixed


def _put(folder: Path, *names: str, text: str = DAG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _found(folder: Path, syntax: str = "glob") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in find([folder], ignore_syntax=syntax).paths)


def test_python_files_are_read_and_notebooks_and_environments_are_not(tmp_path: Path) -> None:
    _put(tmp_path, "a.py", "team/b.py", "team/c.ipynb", "d.sql", ".venv/e.py", "__pycache__/f.py")
    _put(tmp_path, "env/pyvenv.cfg", "env/lib/g.py")
    assert _found(tmp_path) == ["a.py", "team/b.py"]


@pytest.mark.parametrize(
    "patterns",
    [
        "ignored.py",
        "team/",
        "team",
        "*.py\n!keep.py",
        "/root.py",
        "team/*.py",
        "**/deep.py",
        "team/**",
        "# all\n\nteam/sub  # a comment",
        "[ab].py",
        "[!ab].py",
        "te?m/",
        "sub/deep.py",
        "/",
        "*",
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pathspec's, in Airflow
def test_airflowignore_is_read_as_airflow_reads_it(tmp_path: Path, patterns: str) -> None:
    from airflow._shared.module_loading.file_discovery import find_path_from_directory

    names = ("a.py", "b.py", "c.py", "root.py", "keep.py", "ignored.py")
    _put(
        tmp_path, *names, *(f"{folder}/{name}" for folder in ("team", "team/sub", "other") for name in names)
    )
    _put(tmp_path, "team/sub/deep.py", "other/sub/deep.py")
    (tmp_path / ".airflowignore").write_text(patterns)
    (tmp_path / "other" / ".airflowignore").write_text("c.py")
    expected = find_path_from_directory(tmp_path, ".airflowignore")
    assert _found(tmp_path) == sorted(str(Path(path).relative_to(tmp_path)) for path in expected)


@pytest.mark.parametrize("patterns", ["team", r"^team/.*\.py$", "b.py|c.py", "["])
def test_airflowignore_with_regular_expressions(tmp_path: Path, patterns: str) -> None:
    from airflow._shared.module_loading.file_discovery import find_path_from_directory

    _put(tmp_path, "a.py", "b.py", "team/b.py", "team/sub/c.py")
    (tmp_path / ".airflowignore").write_text(patterns)
    expected = find_path_from_directory(tmp_path, ".airflowignore", "regexp")
    assert _found(tmp_path, "regexp") == sorted(str(Path(path).relative_to(tmp_path)) for path in expected)


def test_what_is_ignored_is_listed(tmp_path: Path) -> None:
    _put(tmp_path, "a.py", "old/b.py")
    (tmp_path / ".airflowignore").write_text("old/")
    assert check([tmp_path]).found.ignored == [tmp_path / "old"]


def test_a_syntax_error_is_said_and_the_other_files_are_checked(tmp_path: Path) -> None:
    _put(tmp_path, "a.py")
    _put(tmp_path, "b.py", text="from sagemaker import (\nx = = 1\n")
    checked = check([tmp_path])
    ((problem,), ids) = (checked.found.not_parsed, [task.task_id for _, task in checked.tasks])
    assert problem.path.name == "b.py"
    assert "syntax error" in problem.reason
    assert ids == ["train"]
    assert checked.status == 2


def test_a_file_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("# sagemaker: Übung\n".encode("latin-1"))
    (tmp_path / "b.py").write_bytes(b"# -*- coding: nonsense -*-\nimport sagemaker\n")
    (tmp_path / "c.py").write_bytes(b"import sagemaker\0\n")
    problems = {problem.path.name: problem for problem in check([tmp_path]).found.not_parsed}
    assert problems.keys() == {"a.py", "b.py", "c.py"}
    assert problems["a.py"].line == 1
    assert "utf-8" in problems["a.py"].reason


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-8"])
def test_a_change_keeps_encoding_line_ends_and_permissions(tmp_path: Path, encoding: str) -> None:
    text = f"# -*- coding: {encoding.removesuffix('-sig')} -*-\n# Übung\n{DAG}".replace("\n", "\r\n")
    path = tmp_path / "dag.py"
    path.write_bytes(text.encode(encoding))
    path.chmod(0o640)
    link = tmp_path / "link.py"
    link.symlink_to(path)
    ((source, change),) = check([link]).plans
    write(source.path, change.text, source.encoding)
    new = path.read_bytes().decode(encoding)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert "Übung" in new
    assert new.count("\n") == new.count("\r\n") == text.count("\n") - 1
    assert "SpotTrainingOperator(" in new
    assert sorted(os.listdir(tmp_path)) == ["dag.py", "link.py"]  # noqa: PTH208 - nothing else is left


def test_a_zip_file_is_said_to_be_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "dags.zip").write_bytes(b"PK")
    checked = check([tmp_path])
    assert checked.found.packed == [tmp_path / "dags.zip"]
    assert checked.status == 1
    assert check([tmp_path], ignored=frozenset({"SPOT099"})).status == 0


def test_a_subclass_of_another_file_is_known(tmp_path: Path) -> None:
    _put(
        tmp_path,
        "company/operators/training.py",
        text="from airflow.providers.amazon.aws.operators import sagemaker\n\n\n"
        "class CompanyTraining(sagemaker.SageMakerTrainingOperator):\n    pass\n",
    )
    _put(
        tmp_path,
        "dag.py",
        text="from company.operators.training import CompanyTraining\n"
        "from airflow.sdk import DAG\n"
        "with DAG('d'):\n"
        "    CompanyTraining(task_id='t', config={'TrainingJobName': 'x'}, print_log=False)\n",
    )
    _put(
        tmp_path,
        "company/operators/special.py",
        text="from .training import CompanyTraining\n\n\nclass Special(CompanyTraining):\n    pass\n",
    )
    _put(
        tmp_path,
        "other.py",
        text="from company.operators import special\nspecial.Special(task_id='s', config={})\n",
    )
    checked = check([tmp_path])
    found = {task.called: finding.code for _, finding in checked.findings for task in [finding.task]}
    assert {"t", "s"} <= found.keys()
    assert "SPOT001" in codes_of(checked)
    assert not checked.changes


def test_a_class_that_another_file_imports_first_is_known(tmp_path: Path) -> None:
    _put(tmp_path, "company/ops.py", text="\n".join(DAG.splitlines()[1:2]))
    _put(
        tmp_path,
        "dag.py",
        text=DAG.replace("airflow.providers.amazon.aws.operators.sagemaker", "company.ops"),
    )
    checked = check([tmp_path])
    assert codes_of(checked) == {"SPOT003", "SPOT004", "SPOT013"}
    assert not checked.changes


def test_a_class_of_ones_own_with_the_providers_name_is_not_the_providers(tmp_path: Path) -> None:
    own = "class SageMakerTrainingOperator:\n    pass\n"
    _put(tmp_path, "dag.py", text=own + DAG.split("\n", 2)[2])
    assert check([tmp_path]).tasks == []


def test_what_is_nested_too_deeply_is_said(tmp_path: Path) -> None:
    _put(tmp_path, "dag.py", text=f"import sagemaker\nx = {'-' * 50000}1\n")
    checked = check([tmp_path])
    assert checked.status == 2
    assert len(checked.found.not_parsed) == 1


@pytest.mark.slow
def test_thousands_of_lines_take_seconds(tmp_path: Path) -> None:
    """A generated Dag file with 600 tasks, 3,000 lines."""
    task = "".join(DAG.splitlines(keepends=True)[5:])
    tasks = "".join(
        task.replace('"train"', f'"train_{number}"').replace('"job"', f'"job-{number}"')
        for number in range(600)
    )
    text = "".join(DAG.splitlines(keepends=True)[:5]) + tasks
    started = time.process_time()
    new = fixed(tmp_path, text)
    assert time.process_time() - started < 5
    assert new.count("SpotTrainingOperator(") == 600
    assert "SageMaker" not in new
