"""Prints pip's settings as the UV_* variables of the same meaning, in lines for a shell's `eval`.

uv reads neither pip.conf nor PIP_*, and a machine may reach its package index through them alone. A variable
that is set already stays as it is.
"""

import ast
import os
import shlex
import subprocess
import sys

VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}

command = [sys.executable, "-m", "pip", "config", "list"]
listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
# Lines are like global.index-url='...' and :env:.cert='...'; a later scope wins, as in pip.
scopes: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
for line in listed.splitlines():
    name, _, value = line.partition("=")
    scope, _, option = name.rpartition(".")
    if scope in scopes and option in VARIABLES:
        scopes[scope][VARIABLES[option]] = " ".join(str(ast.literal_eval(value)).split())
settings = scopes["global"] | scopes["install"] | scopes[":env:"]
if "UV_FIND_LINKS" in settings:
    settings["UV_FIND_LINKS"] = settings["UV_FIND_LINKS"].replace(" ", ",")
if "UV_INDEX" in settings:
    settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip takes the best version of all indexes, too
for name, value in settings.items():
    if name not in os.environ:
        print(f"export {name}={shlex.quote(value)}")
