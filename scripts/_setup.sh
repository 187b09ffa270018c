# shellcheck shell=bash
# Sourced by scripts/demo, scripts/test and scripts/lock; call `spot_setup` and then use $SPOT_PYTHON.
#
# Makes, under the project's root, with nothing but bash and a Python from 3.11 to 3.14:
#   .venv            requirements-dev.lock and this project (editable)
#   .venv-training   requirements-training.lock: what training scripts run with on the local SageMaker
#   .venv-tools      uv, when the machine has none
# `spot_setup_clients` makes, for the tests only:
#   .venv-clients    requirements-clients.lock: AWS's own clients, run against the local SageMaker
#   .venv-clients-v3 requirements-clients-v3.lock: the SageMaker SDK 3.x, which cannot stand beside 2.x
# `spot_setup_provider` makes, for benchmarks/waiting.py only:
#   .venv-provider   requirements-provider.lock: the Amazon provider's trigger, whose aiobotocore pins botocore back
# An environment that is complete and up to date is left alone; one whose making was cut short is made again.
# Package indexes, certificates and proxies are those of the machine's pip configuration.

SPOT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SPOT_TOOLS="$SPOT_ROOT/.venv-tools"
SPOT_UV_VERSION="0.13.9"
SPOT_UV_OLDEST="0.5.0"
# shellcheck disable=SC2034 # for the scripts that source this one
SPOT_PYTHON="$SPOT_ROOT/.venv/bin/python"

spot_say() { printf '[set-up] %s\n' "$*"; }
spot_fail() {
    printf '[set-up] error: %s\n' "$*" >&2
    exit 1
}

# Sets SPOT_BASE_PYTHON: the first interpreter that Airflow and every locked package support.
spot_find_python() {
    local candidate found
    for candidate in "${PYTHON:-}" python3 python3.12 python3.13 python3.11 python3.14 python; do
        [ -n "$candidate" ] || continue
        found="$("$candidate" -c '
import sys
if (3, 11) <= sys.version_info[:2] <= (3, 14) and sys.implementation.name == "cpython":
    print(getattr(sys, "_base_executable", "") or sys.executable)
' 2>/dev/null)" || continue
        if [ -n "$found" ]; then
            SPOT_BASE_PYTHON="$found"
            return
        fi
    done
    spot_fail "no Python from 3.11 to 3.14 on PATH (Airflow 3.3.2 and the locked packages need one of them)." \
        "Install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# One set-up at a time in one folder. The lock is the kernel's where flock exists, else a folder with a pid.
spot_lock() {
    mkdir -p "$SPOT_TOOLS"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$SPOT_TOOLS/setup.lock"
        if ! flock -n 9; then
            spot_say "another set-up is at work in this folder; waiting for it"
            flock 9
        fi
        return
    fi
    local folder="$SPOT_TOOLS/setup.lock.d" holder said=""
    until mkdir "$folder" 2>/dev/null; do
        holder="$(cat "$folder/pid" 2>/dev/null || true)"
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
            rm -rf "$folder"
            continue
        fi
        [ -n "$said" ] || spot_say "another set-up is at work in this folder; waiting for it"
        said=yes
        sleep 0.5
    done
    echo "$$" >"$folder/pid"
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
}

spot_unlock() {
    if command -v flock >/dev/null 2>&1; then
        exec 9>&-
    else
        rm -rf "$SPOT_TOOLS/setup.lock.d"
        trap - EXIT
    fi
}

# Runs a quiet command; says every ten seconds that it is still at it; on failure shows its last lines, with
# the addresses of package indexes left out.
spot_run() {
    local what="$1" started=$SECONDS log="$SPOT_TOOLS/setup.log" status=0 ticker
    shift
    (
        exec >&2 9>&-
        waited=0
        while sleep 1 && kill -0 $$ 2>/dev/null; do
            waited=$((waited + 1))
            [ $((waited % 10)) -ne 0 ] || spot_say "  ... $what: $waited s"
        done
    ) </dev/null &
    ticker=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        spot_say "  $what failed after $((SECONDS - started)) s (exit $status):"
        tail -n 15 "$log" | cut -c 1-300 | sed -E 's#[a-z+]+://[^ /]+#<index>#g; s/^/[set-up]     /'
    fi
    return "$status"
}

spot_make_plain_venv() {
    if ! spot_run "python -m venv" "$SPOT_BASE_PYTHON" -m venv --clear "$1"; then
        rm -rf "$1"
        spot_fail "$SPOT_BASE_PYTHON cannot make a virtual environment." \
            "On Debian and Ubuntu: apt-get install python3-venv. Or put uv on PATH, which needs no venv module."
    fi
}

# Sets SPOT_UV: a program, or "none" when this machine has to do with pip.
spot_get_uv() {
    local version
    if version="$(uv --version 2>/dev/null)" && "$SPOT_BASE_PYTHON" - "$version" "$SPOT_UV_OLDEST" <<'PY'; then
import sys

have, oldest = (tuple(int(part) for part in text.split()[-1 if " " not in text else 1].split(".")[:3]) for text in sys.argv[1:])
sys.exit(0 if have >= oldest else 1)
PY
        SPOT_UV="$(command -v uv)"
    else
        SPOT_UV="$SPOT_TOOLS/uv/bin/uv"
        if [ "$("$SPOT_UV" --version 2>/dev/null | cut -d' ' -f2)" != "$SPOT_UV_VERSION" ]; then
            spot_say "getting uv $SPOT_UV_VERSION into .venv-tools"
            spot_make_plain_venv "$SPOT_TOOLS/uv"
            if ! spot_run "uv" "$SPOT_TOOLS/uv/bin/python" -m pip install -q --disable-pip-version-check \
                "uv==$SPOT_UV_VERSION"; then
                spot_say "no uv to be had: pip does the work, more slowly"
                SPOT_UV="none"
                return
            fi
        fi
    fi
    # uv reads neither pip.conf nor PIP_*: hand it what they say, unless it has been told itself.
    local python="$SPOT_BASE_PYTHON" settings
    [ ! -x "$SPOT_TOOLS/uv/bin/python" ] || python="$SPOT_TOOLS/uv/bin/python"
    settings="$("$python" - <<'PY'
import ast
import os
import shlex
import subprocess
import sys

listed = subprocess.run(
    [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
).stdout
pip: dict[str, list[str]] = {}
for line in listed.splitlines():
    name, _, value = line.partition("=")
    scope, _, option = name.rpartition(".")
    if scope not in {"global", "install", ":env:"}:
        continue
    try:
        words = str(ast.literal_eval(value)).split()
    except (SyntaxError, ValueError):
        continue
    if option in {"extra-index-url", "find-links", "trusted-host"}:
        pip.setdefault(option, []).extend(word for word in words if word not in pip.get(option, []))
    else:
        pip[option] = words
uv = {
    "UV_DEFAULT_INDEX": " ".join(pip.get("index-url", [])),
    "UV_INDEX": " ".join(pip.get("extra-index-url", [])),
    "UV_FIND_LINKS": ",".join(pip.get("find-links", [])),
    "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", [])),
    "UV_NO_INDEX": "1" if pip.get("no-index", ["0"])[0].lower() in {"1", "true", "yes", "on"} else "",
    "UV_HTTP_TIMEOUT": "".join(pip.get("default-timeout", pip.get("timeout", []))),
    "SSL_CERT_FILE": "".join(pip.get("cert", [])),
    # pip takes the best version of all indexes, whichever has it
    "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in pip else "",
}
for name, value in uv.items():
    if value and name not in os.environ:
        print(f"export {name}={shlex.quote(value)}")
PY
)" || settings=""
    eval "$settings"
    export UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never UV_NO_CONFIG=1
    # A cache on another file system cannot be linked from: copy without a warning for each package.
    export UV_LINK_MODE="${UV_LINK_MODE:-$(spot_link_mode)}"
}

spot_link_mode() {
    local cache
    cache="$("$SPOT_UV" cache dir 2>/dev/null)" || cache=""
    mkdir -p "$cache" 2>/dev/null || true
    if [ -d "$cache" ] && [ "$(stat -c %d "$cache" 2>/dev/null)" = "$(stat -c %d "$SPOT_ROOT" 2>/dev/null)" ]; then
        echo hardlink
    else
        echo copy
    fi
}

# What an environment is made of: the lock, the interpreter, the folder it stands in.
spot_stamp() {
    "$SPOT_BASE_PYTHON" - "$SPOT_ROOT" "$@" <<'PY'
import hashlib
import pathlib
import sys

digest = hashlib.sha256(f"{sys.version}\n{sys.base_prefix}\n{sys.argv[1]}\n".encode())
for name in sys.argv[2:]:
    digest.update(pathlib.Path(sys.argv[1], name).read_bytes())
print(digest.hexdigest())
PY
}

# sagemaker-training comes as source with one C file, a host name shim for MPI clusters that nothing here
# loads. A machine without a C compiler builds it with a stand-in that writes an empty file.
spot_stand_in_for_cc() {
    local include
    include="$("$SPOT_BASE_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    if command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1; then
        [ ! -f "$include/Python.h" ] || return 0
    fi
    spot_say "  no C compiler with Python's headers: the host name shim of sagemaker-training stays empty"
    cat >"$SPOT_TOOLS/no-cc" <<'SH'
#!/usr/bin/env bash
while [ "$#" -gt 0 ]; do
    if [ "$1" = "-o" ]; then
        mkdir -p "$(dirname "$2")" && : >"$2"
    fi
    shift
done
SH
    chmod +x "$SPOT_TOOLS/no-cc"
    export CC="$SPOT_TOOLS/no-cc" CXX="$SPOT_TOOLS/no-cc" LDSHARED="$SPOT_TOOLS/no-cc -shared"
}

# spot_environment NAME LOCK [project]
spot_environment() {
    local venv="$SPOT_ROOT/$1" lock="$2" project="${3:-}" started=$SECONDS stamp done_ version
    stamp="$(spot_stamp "$lock" ${project:+pyproject.toml})"
    if [ "$(cat "$venv/.spot-complete" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        spot_say "$1 is up to date"
        return
    fi
    version="$("$SPOT_BASE_PYTHON" -c 'import sys; print(*sys.version_info[:3], sep=".")')"
    spot_say "$1: installing $lock ($(grep -c '==' "$SPOT_ROOT/$lock") packages) with Python $version"
    # Kept and brought up to date only when it is whole and of this very Python.
    if [ -e "$venv/.spot-unfinished" ] ||
        [ "$("$venv/bin/python" -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null)" != "$version" ]; then
        rm -rf "$venv"
    fi
    rm -f "$venv/.spot-complete"
    done_=""
    if [ "$SPOT_UV" != "none" ]; then
        if [ ! -x "$venv/bin/python" ]; then
            spot_run "uv venv" "$SPOT_UV" venv --quiet --python "$SPOT_BASE_PYTHON" "$venv" || mkdir -p "$venv"
        fi
        touch "$venv/.spot-unfinished"
        if (
            spot_stand_in_for_cc
            spot_run "$1" "$SPOT_UV" pip sync --quiet --python "$venv/bin/python" "$SPOT_ROOT/$lock"
        ); then
            done_=yes
            if [ -n "$project" ]; then
                spot_run "spot_training" "$SPOT_UV" pip install --quiet --python "$venv/bin/python" \
                    --no-deps --no-build-isolation --editable "$SPOT_ROOT" || done_=""
            fi
        fi
        [ -n "$done_" ] || spot_say "  uv could not do it; trying pip"
    fi
    if [ -z "$done_" ]; then
        spot_make_plain_venv "$venv"
        touch "$venv/.spot-unfinished"
        (
            spot_stand_in_for_cc
            spot_run "$1" "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
                -r "$SPOT_ROOT/$lock"
        ) || spot_fail "the packages of $lock could not be installed; see .venv-tools/setup.log"
        if [ -n "$project" ]; then
            spot_run "spot_training" "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
                --no-build-isolation --editable "$SPOT_ROOT" || spot_fail "the project could not be installed"
        fi
    fi
    if [ -n "$project" ]; then
        (cd / && "$venv/bin/python" -c 'import include, spot_training') ||
            spot_fail "the project was installed, but spot_training and include do not import"
    fi
    echo "$stamp" >"$venv/.spot-complete"
    rm -f "$venv/.spot-unfinished"
    spot_say "$1 is ready ($((SECONDS - started)) s)"
}

spot_setup() {
    local started=$SECONDS
    spot_find_python
    spot_lock
    # shellcheck disable=SC2046
    if [ "$(cat "$SPOT_ROOT/.venv/.spot-complete" 2>/dev/null)" = "$(spot_stamp requirements-dev.lock pyproject.toml)" ] &&
        [ "$(cat "$SPOT_ROOT/.venv-training/.spot-complete" 2>/dev/null)" = "$(spot_stamp requirements-training.lock)" ] &&
        [ -x "$SPOT_PYTHON" ] && [ -x "$SPOT_ROOT/.venv-training/bin/python" ]; then
        spot_say "both environments are up to date"
        spot_unlock
        return
    fi
    spot_get_uv
    spot_environment .venv requirements-dev.lock project
    spot_environment .venv-training requirements-training.lock
    spot_unlock
    spot_say "done in $((SECONDS - started)) s"
}

# The clients' environments: only the tests use them.
spot_setup_clients() {
    local started=$SECONDS name lock stale=""
    spot_find_python
    spot_lock
    for name in clients clients-v3; do
        lock="requirements-$name.lock"
        [ "$(cat "$SPOT_ROOT/.venv-$name/.spot-complete" 2>/dev/null)" = "$(spot_stamp "$lock")" ] &&
            [ -x "$SPOT_ROOT/.venv-$name/bin/python" ] || stale=yes
    done
    if [ -z "$stale" ]; then
        spot_say "the clients' environments are up to date"
        spot_unlock
        return
    fi
    spot_get_uv
    for name in clients clients-v3; do
        spot_environment ".venv-$name" "requirements-$name.lock"
    done
    spot_unlock
    spot_say "the clients: done in $((SECONDS - started)) s"
}

# The provider's environment: only benchmarks/waiting.py uses it.
spot_setup_provider() {
    spot_find_python
    spot_lock
    spot_get_uv
    spot_environment .venv-provider requirements-provider.lock
    spot_unlock
}
