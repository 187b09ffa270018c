#!/usr/bin/env python3
"""Build plugins.zip and requirements.txt for an Amazon MWAA environment.

    python deploy/mwaa/build.py --airflow 3.0.6
    python deploy/mwaa/build.py --airflow 3.3.1 --offline

MWAA unpacks `plugins.zip`, and then installs `requirements.txt` with pip. No index has the package, so its
wheel is in `plugins.zip`. With `--offline` the wheels that it needs are there, too, and pip asks no index:
for an environment with a private web server, or in a network without an index.

Needs pip and `packaging`. docs/mwaa.md has the steps before and after.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("requirements.txt")
PACKAGE = "airflow-provider-spot-training"
#: Where MWAA unpacks plugins.zip.
PLUGINS = "/usr/local/airflow/plugins"
CONSTRAINTS = "constraints.txt"
#: MWAA's images are Amazon Linux 2023, which has glibc 2.34. pip takes no platform for another.
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(34, 16, -1)))
#: The same wheels give the same plugins.zip, byte for byte.
_ANY_TIME = (1980, 1, 1, 0, 0, 0)


class BuildFailed(Exception):
    """Nothing was written. The message says why, and what to do."""


class Wheel:
    """The package's wheel: what it needs always, and what an extra adds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            metadata = HeaderParser().parsestr(archive.read(name).decode())
        if canonicalize_name(metadata["Name"]) != PACKAGE:
            raise BuildFailed(f"{path.name} is a wheel of {metadata['Name']}: give one of {PACKAGE}.")
        self._all = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    @property
    def needed_always(self) -> list[Requirement]:
        return [each for each in self._all if _applies(each, "")]

    def added_by(self, extra: str) -> Iterator[Requirement]:
        """What an extra adds, and what the extras add that it names in turn."""
        for each in self._all:
            if _applies(each, "") or not _applies(each, extra):
                continue
            if canonicalize_name(each.name) == PACKAGE:
                for other in each.extras:
                    yield from self.added_by(other)
            else:
                yield Requirement(f"{each.name}{each.specifier}")


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def read_extras(template: str) -> list[str]:
    """Which extras the template installs."""
    for line in template.splitlines():
        if not line.startswith(("#", "-")) and line.strip():
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) == PACKAGE:
                return sorted(requirement.extras)
    raise BuildFailed(f"{TEMPLATE} does not name {PACKAGE}.")


def read_pins(constraints: str) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def check_versions(needed: Sequence[Requirement], pins: dict[str, str], airflow: str) -> None:
    """Refuse what pip would refuse on MWAA: there it is a line in a log, and the package is missing."""
    pins = {**pins, "apache-airflow": airflow}
    refused = [
        f"{each} (is {pins[name]})"
        for each in needed
        if (name := canonicalize_name(each.name)) in pins
        and not each.specifier.contains(pins[name], prereleases=True)
    ]
    if refused:
        raise BuildFailed(
            f"the wheel does not fit Airflow {airflow} and its constraints: {', '.join(refused)}. Take a "
            "release of the package for that Airflow, or an MWAA environment with a later Airflow."
        )


def write_requirements(
    template: str, wheel: Wheel, *, extras: Sequence[str], airflow: str, offline: bool
) -> str:
    """The template for this Airflow. It names the file, so that pip takes no other package of that name."""
    ours = f"{PACKAGE}[{','.join(extras)}] @ file://{PLUGINS}/{wheel.path.name}"
    text = re.sub(rf"^{PACKAGE}\[.*$", ours, template, flags=re.MULTILINE)
    text = re.sub(r"/constraints-[\d.]+/", f"/constraints-{airflow}/", text)
    if offline:
        text = re.sub(
            r"^--constraint .*$", f'--constraint "{PLUGINS}/{CONSTRAINTS}"', text, flags=re.MULTILINE
        )
        text = text.replace("--find-links", "--no-index\n--find-links")
    return text


def write_plugins(path: Path, files: Sequence[Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # wheels are compressed already
        for file in sorted(files, key=lambda each: each.name):
            archive.writestr(zipfile.ZipInfo(file.name, _ANY_TIME), file.read_bytes())


def build_wheel(folder: Path) -> Path:
    _run_pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def download(requirements: Sequence[Requirement], constraints: Path, *, python: str, folder: Path) -> None:
    platforms = [f"--platform={each}" for each in PLATFORMS]
    choice = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    wanted = [str(each) for each in requirements]
    _run_pip("download", "--quiet", *choice, f"--constraint={constraints}", f"--dest={folder}", *wanted)


def _run_pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise BuildFailed(f"pip {arguments[0]} failed:\n{done.stderr.strip()}")


def read_constraints(given: Path | None, template: str, airflow: str) -> str:
    """Airflow's constraints: from a file, or from the address in the template."""
    if given is not None:
        return given.read_text()
    (address,) = re.findall(r"^--constraint \"(https://[^\"]+)\"", template, re.MULTILINE)
    address = re.sub(r"/constraints-[\d.]+/", f"/constraints-{airflow}/", address)
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - https, by the template
            return str(answer.read().decode())
    except OSError as error:
        raise BuildFailed(f"{address} cannot be read ({error}): give a copy with --constraints.") from error


def build(options: argparse.Namespace) -> list[Path]:
    """Write the two files. Returns what plugins.zip holds."""
    template = TEMPLATE.read_text()
    extras = read_extras(template)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        wheel = Wheel(options.wheel or build_wheel(scratch))
        constraints = scratch / CONSTRAINTS
        constraints.write_text(read_constraints(options.constraints, template, options.airflow))
        added = [*(each for extra in extras for each in wheel.added_by(extra)), *options.add]
        check_versions([*wheel.needed_always, *added], read_pins(constraints.read_text()), options.airflow)
        files = [wheel.path]
        if options.offline:
            (scratch / "wheels").mkdir()
            download(added, constraints, python=options.python, folder=scratch / "wheels")
            files += [constraints, *(scratch / "wheels").glob("*.whl")]
        requirements = write_requirements(
            template, wheel, extras=extras, airflow=options.airflow, offline=options.offline
        )
        options.out.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{each}\n" for each in options.add)
        (options.out / "requirements.txt").write_text(requirements + lines)
        write_plugins(options.out / "plugins.zip", files)
        return files


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--airflow", required=True, metavar="VERSION", help="Airflow of the environment")
    parser.add_argument("--python", default="3.12", metavar="VERSION", help="Python of its image (3.12)")
    parser.add_argument("--offline", action="store_true", help="put all wheels into plugins.zip")
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        type=Requirement,
        metavar="PACKAGE",
        help="another package to install, such as s3fs; can be given more than once",
    )
    parser.add_argument("--wheel", type=Path, help="the package's wheel; built from this checkout by default")
    parser.add_argument("--constraints", type=Path, help="Airflow's constraints; fetched by default")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "mwaa", help="a folder (dist/mwaa)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_options(arguments)
    try:
        files = build(options)
    except BuildFailed as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    size = (options.out / "plugins.zip").stat().st_size / 1e6
    print(f"{options.out / 'plugins.zip'} ({size:.1f} MB): {', '.join(each.name for each in files)}")
    print(options.out / "requirements.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
