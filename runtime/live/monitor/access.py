"""Who may ask the live page for what: host names, requests of other sites, the token.

    access = Access("127.0.0.1", token=None)
    fault = access.fault(headers, path="/state.json", query="")      # None if it is allowed

A browser sends requests to this server for any page that it shows. The name in ``Host`` must
therefore be one of this machine (a name that somebody else's DNS points to it is refused), and
requests that other sites cause are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Sequence
from email.message import Message
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from trocar.contract.errors import ConfigError

MIN_TOKEN = 12
"""Characters of a token."""


class Fault(NamedTuple):
    """Why a request is refused.

    Attributes:
        status: Status code of HTTP.
        text: What the client is told.
    """

    status: int
    text: str


class Access:
    """Decides which requests are answered.

    Args:
        host: Address that the server listens on.
        token: For addresses other than the loopback; one is generated when none is given.
        names: Further host names under which the page is reached.

    Attributes:
        token: The token; ``None`` on the loopback.

    Raises:
        ConfigError: The token is too short or has characters that no header can carry.
    """

    def __init__(self, host: str, *, token: str | None = None, names: Sequence[str] = ()) -> None:
        if token is not None:
            _check_token(token)
        self.token = token or (None if is_loopback(host) else secrets.token_urlsafe(18))
        self._names = {name.lower().rstrip(".") for name in names}
        self._names |= {"localhost", _bare(host).lower()}
        if not is_loopback(host):
            self._names.add(socket.gethostname().lower())

    def fault(self, headers: Message, *, path: str, query: str, cookie: str = "") -> Fault | None:
        """Why a request is refused; ``None`` if it is allowed.

        Args:
            headers: Headers of the request.
            path: Path of its address.
            query: Query of its address.
            cookie: Name of the cookie that holds the token.
        """
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1:
            return Fault(400, f"got {len(hosts)} Host headers, expected one")
        if not self._is_own(hosts[0]):
            return Fault(
                421, "this server does not go by the name in the address (see --serve-name)"
            )
        if _from_another_site(headers, hosts[0], path):
            return Fault(403, "requests of other sites are refused")
        if self.token is not None and not self._has_token(headers, query, cookie):
            return Fault(401, "a token is needed")
        return None

    def query(self) -> str:
        """The query that carries the token; empty without one."""
        return "" if self.token is None else f"?token={quote(self.token, safe='')}"

    def cookie(self, name: str, *, secure: bool) -> str:
        """The cookie that carries the token; empty without one."""
        if self.token is None:
            return ""
        value = quote(self.token, safe="")
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"

    def _is_own(self, host: str) -> bool:
        name = _bare(host).lower().rstrip(".")
        if name in self._names:
            return True
        address = _address(name)
        # An address is no name: nobody's DNS can point it elsewhere. On the loopback only the
        # loopback is asked for; through a tunnel it has another port.
        return address is not None and (self.token is not None or address.is_loopback)

    def _has_token(self, headers: Message, query: str, cookie: str) -> bool:
        given = [value.encode("utf-8", "replace") for value in parse_qs(query).get("token", [])]
        for line in headers.get_all("Authorization") or []:
            kind, _, value = str(line).partition(" ")
            if kind.lower() == "bearer":
                given.append(value.strip().encode("latin-1", "replace"))
        for line in headers.get_all("Cookie") or []:
            for part in str(line).split(";"):
                key, _, value = part.strip().partition("=")
                if key == cookie:
                    given.append(unquote(value).encode("utf-8", "replace"))
        # All are compared, as hashes: the time tells neither the length nor which one fits.
        wanted = hashlib.sha256((self.token or "").encode()).digest()
        fits = [hmac.compare_digest(hashlib.sha256(one).digest(), wanted) for one in given]
        return any(fits)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    address = _address(_bare(host))
    return address is not None and address.is_loopback


def _check_token(token: str) -> None:
    if len(token) < MIN_TOKEN:
        raise ConfigError(
            f"the token has {len(token)} characters, expected at least {MIN_TOKEN}",
            remedy="leave --token out: one is generated and printed",
        )
    if not token.isprintable():
        raise ConfigError(
            "the token has control characters, expected letters, digits and signs",
            remedy="leave --token out: one is generated and printed",
        )


def _from_another_site(headers: Message, host: str, path: str) -> bool:
    """Whether another site caused the request; following a link to the page is allowed."""
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin"):
        followed = headers.get("Sec-Fetch-Mode") == "navigate"
        return not (path == "/" and followed and headers.get("Sec-Fetch-Dest") == "document")
    origin = headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:  # No address at all: no page of this server.
        return True


_HOST = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::[0-9]*)?")


def _bare(host: str) -> str:
    """A host without its port and brackets; empty for what is no host and port."""
    if host.count(":") > 1 and not host.startswith("["):
        return host if _address(host) is not None else ""
    found = _HOST.fullmatch(host)
    return "" if found is None else found["six"] or found["name"] or ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; IPv6 with its zone, which IPv4 does not have."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None
