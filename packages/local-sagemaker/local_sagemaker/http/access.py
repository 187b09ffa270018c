"""Decides which requests are refused because a web page may have sent them.

A training job runs programs as the user of this server, and any page that a developer opens can send requests
to loopback. Three headers, which no page can set, distinguish such requests from those of AWS clients:

- `Host` is another site's name after DNS rebinding, when the name of a page leads to this machine;
- `Origin` is the page's origin, or `null`, with everything but plain GET and HEAD requests;
- `Sec-Fetch-Site` covers those (an `<img>`, a `<script>`, a link). Two ports of localhost are `same-site`.

AWS clients send only `Host`. Over plain HTTP, browsers send `Sec-Fetch-Site` only to loopback and
`*.localhost`, and older browsers never send it. So `find_change` refuses a GET that changes something, too.

Sources: https://fetch.spec.whatwg.org/#origin-header, https://w3c.github.io/webappsec-fetch-metadata/.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from html import escape

from local_sagemaker.control import PREFIX as CONTROL_PREFIX
from local_sagemaker.reply import Reply, error_reply

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+?)\.?)(?::[0-9]{0,5})?")
_HOSTS_REMEMBERED = 1024
_CHARACTERS_QUOTED = 200
_NO_OPTION = "No option allows more (--allow-host adds names of this server only): use an AWS client or curl."
_READING = ("GET", "HEAD")
#: Values that only this server's own pages send. AWS clients send none; `none` is an address that a person
#: opened.
_OWN_SITES = frozenset({None, "same-origin", "none"})
#: The buttons and links in Airflow's UI open these, from another origin.
_PAGES = (CONTROL_PREFIX, CONTROL_PREFIX.rstrip("/"))
_LOGS, _OBJECTS = f"{CONTROL_PREFIX}logs/", f"{CONTROL_PREFIX}objects/"
_MOTO_API = "/moto-api"
#: The paths of moto's own API that only read.
_MOTO_READS = frozenset(
    {
        _MOTO_API,
        f"{_MOTO_API}/",
        f"{_MOTO_API}/lib.js",
        f"{_MOTO_API}/data.json",
        f"{_MOTO_API}/config",
        f"{_MOTO_API}/state-manager/get-transition",
        f"{_MOTO_API}/recorder/download-recording",
    }
)
#: Where moto takes requests of any service without a signature: `/cloudformation_us-east-1/...?Action=...`.
_MOTO_SERVICE = re.compile(r"/[^/_]*_[^/_]*/")
#: Except these, which belong to Cognito user pools.
_MOTO_KEYS = ("/.well-known/jwks.json", "/.well-known/openid-configuration")


class HostNameError(ValueError):
    """A name that no `Host` header can have. The text says what to give."""


class Access:
    """Decides which requests are refused.

    `allowed_hosts` are names as `parse_host_name` returns them. Loopback addresses, `localhost` and the names
    below it are always allowed.
    """

    def __init__(self, allowed_hosts: Iterable[str] = ()) -> None:
        self._allowed = tuple(dict.fromkeys(allowed_hosts))
        self._is_ours = lru_cache(maxsize=_HOSTS_REMEMBERED)(self._is_allowed)

    def find_refusal(self, method: str, target: str, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused, or None. Header names are in lower case."""
        host = headers.get("host")
        if host is not None and not self._is_ours(host):
            return self._describe_host(host)
        origin = headers.get("origin")
        if origin is not None and (host is None or origin.lower() != f"http://{host}".lower()):
            return (
                f"The header Origin is {_quote(origin)}, and this server is http://{_cut(host or 'HOST')}: "
                f"it answers no web page of another origin. {_NO_OPTION}"
            )
        site = headers.get("sec-fetch-site")
        if site not in _OWN_SITES and not _opens_page(method, target, headers):
            return (
                f"The header Sec-Fetch-Site is {_quote(site or '')}: a web page of another origin sent this "
                f"request, and may only link to {CONTROL_PREFIX}, {_LOGS}JOB and {_OBJECTS}BUCKET/KEY. "
                f"{_NO_OPTION}"
            )
        return None

    def _is_allowed(self, host: str) -> bool:
        name = _name_in(host)
        if name is None:
            return False
        if name == "localhost" or name.endswith(".localhost") or _is_loopback_address(name):
            return True
        return any(name.endswith(each[1:]) if each[0] == "*" else name == each for each in self._allowed)

    def _describe_host(self, host: str) -> str:
        allowed = "".join(f", {name}" for name in self._allowed)
        return (
            f"The header Host is {_quote(host)}, which is not a name of this server. Its names are loopback "
            f"addresses, localhost, *.localhost{allowed}. If this name is yours, start the server with "
            f"--allow-host {_cut(_name_in(host) or 'NAME')}."
        )


def parse_host_name(text: str) -> str:
    """A host name or address as `Access` compares it. `*.NAME` means every name below NAME.

    Raises HostNameError.
    """
    given = text.strip().lower()
    below = given.startswith("*.")
    name = given.removeprefix("*.").removesuffix(".")
    try:
        address = str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        address = ""
    if address and not below:
        return address
    if address or not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
        raise HostNameError(
            f"{text!r} is not a host name: give a name such as local-sagemaker, *.example.com for every name "
            "below it, or an address, without scheme and port"
        )
    return f"*.{name}" if below else name


def find_change(method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """Why a GET or HEAD must not reach moto: it would change something. `path` is without escapes."""
    if method not in _READING:
        return None
    if path.startswith(_MOTO_API):
        is_change = path not in _MOTO_READS
    else:
        is_change = (
            _MOTO_SERVICE.match(path) is not None
            and "authorization" not in headers
            and not path.rstrip("/").endswith(_MOTO_KEYS)
        )
    if not is_change:
        return None
    return (
        f"{method} {_quote(path)} may change something, and any web page can make a browser send it. "
        "Use POST, or an AWS client, which signs its requests."
    )


def make_refusal(text: str, *, path: str, content_type: str) -> Reply:
    """A 403 in the form in which the client of this path reads errors."""
    if f"{path}/".startswith(CONTROL_PREFIX):
        return Reply(status=403, body=json.dumps({"error": text}).encode(), content_type="application/json")
    if "json" in content_type:
        return error_reply("AccessDeniedException", 403, text)
    body = (
        "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
        f"<Message>{escape(text, quote=False)}</Message></Error></ErrorResponse>"
    )
    return Reply(status=403, body=body.encode(), content_type="text/xml; charset=utf-8")


def _opens_page(method: str, target: str, headers: Mapping[str, str]) -> bool:
    """Whether a person follows a link to a page that only reads. An image or a frame is no such link."""
    path = target.partition("?")[0]
    return (
        method in _READING
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
        and (path in _PAGES or path.startswith((_LOGS, _OBJECTS)))
    )


def _name_in(host: str) -> str | None:
    """The name in a `Host` header, in lower case, without port, brackets and a trailing dot."""
    match = _HOST.fullmatch(host.lower())
    return match and (match["address"] or match["name"])


def _is_loopback_address(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS_QUOTED else f"{text[:_CHARACTERS_QUOTED]}..."


def _quote(value: str) -> str:
    return repr(_cut(value))
