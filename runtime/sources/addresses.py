"""Addresses of streams: which places are streams, and what may be shown of an address.

redacted("rtsp://bob:p@ss@camera/1?token=x")     # rtsp://***@camera/1?token=***
"""

from __future__ import annotations

import re

REDACTED = "***"
"""What `redacted` writes in place of a secret."""

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILE_URLS = ("file://",)
# An address within a text, up to white space or a quotation mark.
_IN_TEXT = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s"'<>`]+)""")
_HOST_AND_PORT = re.compile(r"^(\[[0-9a-fA-F:.%]+\]|[^\s:/?#@]*)(:\d*)?$")
_SECRET_NAME = (
    r"[A-Za-z0-9.\-]*?(?:pass|psw|pwd|pas|token|key|secret|auth|sig|cred|login|user|usr|account"
    r"|session|streamid|nonce)[A-Za-z0-9.\-]*"
)
# name=value in a query or, as cameras have it, in a path: up to the next separator, or to the next
# "_name=" of forms such as user=admin_password=x_channel=1.
_PARAMETER = re.compile(rf"(?i)(?<![A-Za-z0-9])({_SECRET_NAME}|pw)=(.*?)(?=[&;?#/]|_[A-Za-z]+=|$)")
_LONE_KEY = re.compile(r"(?=[A-Za-z0-9-]*[0-9])(?=[A-Za-z0-9-]*[A-Za-z])[A-Za-z0-9-]{16,}")
_TRAILING = ".,:;)]}"


def is_stream(place: str) -> bool:
    """Whether a place is a live stream or a camera, not a file."""
    is_url = bool(_URL.match(place)) and not place.startswith(_FILE_URLS)
    return is_url or place.startswith("/dev/video")


def is_fetched(place: str) -> bool:
    """Whether an address is one from which files are fetched; those of live protocols are not."""
    return place.partition("://")[0].lower() in {"http", "https", "ftp", "sftp"}


def redacted(text: str) -> str:
    """The text with ``***`` in place of every secret of the addresses in it.

    Secrets are user names and passwords before the host (passwords may hold ``@``, ``:`` and
    ``/``), values of parameters whose names speak of passwords, users, keys or tokens (in the query
    or, as some cameras have it, in the path), stream keys of RTMP (all that follows the application
    name) and path segments of 16 or more mixed letters and digits. Where an address can be read in
    two ways, more is hidden.
    """
    return _IN_TEXT.sub(lambda match: match[1] + _without_secrets(match[1], match[2]), text)


def _without_secrets(scheme: str, address: str) -> str:
    stripped = address.rstrip(_TRAILING)
    tail = address[len(stripped) :]
    user, host, rest = _split(stripped)
    if scheme.lower().startswith("file"):
        return address
    rest = _PARAMETER.sub(rf"\1={REDACTED}", rest)
    path, mark, query = rest.partition("?")
    if scheme.lower().startswith("rtmp"):
        path = _without_stream_key(path)
    path = "/".join(REDACTED if _LONE_KEY.fullmatch(part) else part for part in path.split("/"))
    return f"{REDACTED + '@' if user else ''}{host}{path}{mark}{query}{tail}"


def _split(address: str) -> tuple[str, str, str]:
    """User part, host with port, and the rest that begins with ``/``, ``?`` or ``#``."""
    before_query = re.split(r"[?#]", address, maxsplit=1)[0]
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    if "@" in authority or not _HOST_AND_PORT.match(authority):
        # A password may hold any of the separators: the last @ ends it.
        searched = before_query if "@" in before_query else address
    elif not _is_plain_host(authority):
        searched = before_query
    else:
        searched = ""
    user, at, _ = searched.rpartition("@")
    after = address[len(user) + len(at) :]
    host = re.split(r"[/?#]", after, maxsplit=1)[0]
    return user, host, after[len(host) :]


def _is_plain_host(authority: str) -> bool:
    """Whether it names a host for certain: a dotted name or number, an IPv6 one, or with a port."""
    return any(mark in authority for mark in ".[:") or authority == "localhost"


def _without_stream_key(path: str) -> str:
    """RTMP: ``/application/key``; the key is whatever follows the application."""
    parts = path.split("/")
    return "/".join(parts[:2]) + (f"/{REDACTED}" if any(parts[2:]) else "")
