# shellcheck shell=bash
# Sourced by the scripts here and by .ci/run. It makes the environments they use, with uv:
#   spot_setup            .venv (locks/dev.lock and this project, editable; $SPOT_PYTHON) and .venv-training
#   spot_setup_clients    .venv-clients and .venv-clients-v3: AWS's own clients, for the tests
#   spot_setup_frameworks .venv-frameworks: PyTorch and other frameworks, for scripts/test-frameworks
#   spot_setup_airflow    .venv-airflow-VERSION: an earlier version of Airflow
#   spot_setup_docs       .venv-docs: builds the documentation site
#   spot_setup_audit      .venv-audit: looks for known vulnerabilities
#   spot_setup_provider   .venv-provider: the Amazon provider's own trigger, for benchmarks/waiting.py
# A machine needs bash, a Python from 3.11 to 3.14 and a package index.

SPOT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SPOT_TOOLS="$SPOT_ROOT/.venv-tools"
# shellcheck disable=SC2034 # for the scripts that source this one
SPOT_PYTHON="$SPOT_ROOT/.venv/bin/python"
# Some images set it. Without bytecode, each process compiles all that it imports: seconds of CPU for Airflow.
unset PYTHONDONTWRITEBYTECODE

spot_say() { printf '[set-up] %s\n' "$*"; }
spot_fail() { spot_say "error: $*" >&2 && exit 1; }

# spot_find_python [NEWEST]: sets SPOT_BASE_PYTHON and SPOT_BASE_VERSION, the first interpreter that Airflow and every
# locked package support. NEWEST is the 12 of 3.12.
spot_find_python() {
    local candidate newest="${1:-14}" code
    code='import os, sys
if (3, 11) <= sys.version_info[:2] <= (3, '"$newest"') and sys.implementation.name == "cpython":
    print(sys.version.split()[0], os.path.realpath(sys._base_executable))'
    for candidate in "${PYTHON:-}" python3 python3.12 python3.13 python3.11 python3.14 python; do
        read -r SPOT_BASE_VERSION SPOT_BASE_PYTHON <<<"$("${candidate:-false}" -c "$code" 2>/dev/null)"
        [ -z "$SPOT_BASE_PYTHON" ] || return 0
    done
    spot_fail "no Python from 3.11 to 3.$newest on PATH. Install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# spot_alone COMMAND...: one at a time in this folder, because uv locks an environment while it installs, but not while
# it is replaced. The lock belongs to the open file, so it outlives the Python that takes it and ends with the command.
spot_alone() {
    local lock='import fcntl; fcntl.flock(9, fcntl.LOCK_EX'
    mkdir -p "$SPOT_TOOLS"
    (
        if ! "$SPOT_BASE_PYTHON" -c "$lock | fcntl.LOCK_NB)" 2>/dev/null; then
            spot_say "another set-up is at work in this folder; waiting for it"
            "$SPOT_BASE_PYTHON" -c "$lock)"
        fi
        "$@"
    ) 9>"$SPOT_TOOLS/setup.lock"
}

# spot_run WHAT COMMAND...: no output. A failure shows the last lines, without the addresses of package indexes.
spot_run() {
    local what="$1" log="$SPOT_TOOLS/setup.log" why=""
    ! "${@:2}" >"$log" 2>&1 </dev/null || return 0
    tail -n 15 "$log" | cut -c 1-300 |
        sed -E "s#[a-z+]+://[^ /]+#<index>#g; s#host='[^']*'#host=<index>#g; s/^/[set-up]     /" >&2
    ! grep -qiE 'error sending request|dns error|connection error|failed to establish|timed out' "$log" ||
        why=": no package index answers. Check the network and pip's configuration (index-url, proxy, cert)"
    spot_fail "$what could not be installed$why. All of the output is in .venv-tools/setup.log"
}

# Sets SPOT_UV: the machine's uv if pyproject.toml takes its version, else one of our own, which pip finds wherever it
# finds the other packages. The one in .venv does not count: it may go with .venv.
spot_get_uv() {
    local python="$SPOT_BASE_PYTHON" lock="$SPOT_ROOT/locks/tools.lock"
    SPOT_UV="$(command -v uv || true)"
    if [ "$SPOT_UV" = "$SPOT_ROOT/.venv/bin/uv" ] ||
        ! "${SPOT_UV:-false}" --directory "$SPOT_ROOT" cache dir >/dev/null 2>&1; then
        SPOT_UV="$SPOT_TOOLS/uv/bin/uv" python="$SPOT_TOOLS/uv/bin/python"
        if ! cmp -s "$lock" "$SPOT_TOOLS/uv/tools.lock" || ! "$SPOT_UV" --version >/dev/null 2>&1; then
            spot_say "getting uv into .venv-tools"
            "$SPOT_BASE_PYTHON" -m venv --clear "$SPOT_TOOLS/uv" >"$SPOT_TOOLS/setup.log" 2>&1 || spot_fail \
                "python -m venv fails. On Debian and Ubuntu: apt-get install python3-venv. Or put uv on PATH."
            spot_run uv "$python" -m pip install --disable-pip-version-check --require-hashes -r "$lock"
            cp "$lock" "$SPOT_TOOLS/uv/tools.lock"
        fi
    fi
    eval "$("$python" "$SPOT_ROOT/scripts/_pip_settings.py")"
}

# sagemaker-training comes as source with one C file, a host name shim for MPI clusters that nothing here loads.
# Without a C compiler and Python's headers, scripts/_no_cc writes an empty file.
spot_stand_in_for_cc() {
    local headers='import os, sysconfig; exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
    if { command -v cc || command -v gcc; } >/dev/null && "$SPOT_BASE_PYTHON" -c "$headers"; then return; fi
    spot_say "no C compiler with Python's headers: the host name shim of sagemaker-training stays empty"
    export PATH="$SPOT_ROOT/scripts:$PATH" CC=_no_cc CXX=_no_cc LDSHARED="_no_cc -shared"
}

spot_is_current() { [ -x "$1/bin/python" ] && [ "$(cat "$1/.spot-complete" 2>/dev/null)" = "$2" ]; }

# spot_sync VENV LOCK...: exactly what the locks say. PyTorch's CPU wheels are where pip's settings find them, else in
# PyTorch's own index, which uv knows.
spot_sync() {
    local lock sync=("$SPOT_UV" pip sync --require-hashes --python "$1/bin/python")
    for lock in "${@:2}"; do sync+=("$SPOT_ROOT/locks/$lock.lock"); done
    # Jobs may run as a user who cannot write here, and would compile everything at each start.
    case "$2" in training | frameworks) sync+=(--compile-bytecode) ;; esac
    if [ "${*: -1}" = torch-cpu ] && ! "${sync[@]}" --dry-run >/dev/null 2>&1; then
        sync+=(--torch-backend cpu)
    fi
    spot_run "locks/$2.lock" "${sync[@]}"
}

# spot_make VENV STAMP LOCK...: the stamp goes first and comes back last. An environment without one, as an interrupted
# set-up leaves it, is made again, and so is one of another place or Python (the stamp's first line).
spot_make() {
    local name="${1##*/}" project editable=() started=$SECONDS
    if spot_is_current "$1" "$2"; then return; fi
    spot_get_uv
    case "$name" in .venv-training | .venv-frameworks) spot_stand_in_for_cc ;; esac
    spot_say "$name: installing locks/$3.lock with Python $SPOT_BASE_VERSION (the first time, a minute or two)"
    if [ ! -x "$1/bin/python" ] || [ "$(head -n 1 "$1/.spot-complete" 2>/dev/null)" != "${2%%$'\n'*}" ]; then
        rm -rf "$1"
        spot_run "$name" "$SPOT_UV" venv --no-project --python "$SPOT_BASE_PYTHON" "$1"
    fi
    rm -f "$1/.spot-complete"
    spot_sync "$1" "${@:3}"
    if [ "$name" = .venv ]; then
        for project in "$SPOT_ROOT"/pyproject.toml "$SPOT_ROOT"/packages/*/pyproject.toml; do
            [ ! -e "$project" ] || editable+=(--editable "${project%/*}")
        done
        spot_run "this project" "$SPOT_UV" pip install --no-deps --no-build-isolation --python "$1/bin/python" \
            "${editable[@]}"
    fi
    printf '%s\n' "$2" >"$1/.spot-complete"
    spot_say "$name is ready ($((SECONDS - started)) s)"
}

# spot_environment VENV LOCK...: made unless its stamp says that it is what the locks and the projects' metadata ask for.
spot_environment() {
    local lock stamp sources=()
    for lock in "${@:2}"; do sources+=("$SPOT_ROOT/locks/$lock.lock"); done
    [ -n "${SPOT_BASE_PYTHON:-}" ] || spot_find_python
    [ "$1" != .venv ] || sources+=("$SPOT_ROOT"/pyproject.toml "$SPOT_ROOT"/packages/*/pyproject.toml)
    stamp="$SPOT_ROOT $SPOT_BASE_VERSION $SPOT_BASE_PYTHON"$'\n'"$(cat "${sources[@]}" 2>/dev/null | cksum)"
    if ! spot_is_current "$SPOT_ROOT/$1" "$stamp"; then
        spot_alone spot_make "$SPOT_ROOT/$1" "$stamp" "${@:2}"
    fi
}

spot_setup() { spot_environment .venv dev && spot_environment .venv-training training; }
spot_setup_clients() { spot_environment .venv-clients clients && spot_environment .venv-clients-v3 clients-v3; }
spot_setup_frameworks() { spot_environment .venv-frameworks frameworks torch-cpu; }
spot_setup_airflow() (
    case "$1" in 3.0.*) spot_find_python 12 ;; 3.1.*) spot_find_python 13 ;; esac
    spot_environment ".venv-airflow-$1" "airflow-$1"
)
spot_setup_provider() { spot_environment .venv-provider provider; }
spot_setup_docs() { spot_environment .venv-docs docs; }
spot_setup_audit() { spot_environment .venv-audit audit; }
