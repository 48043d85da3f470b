"""Fetching one file over HTTP, HTTPS or FTP, only where it changed.

Belongs here: the protocols, what tells that a file is the same, limits of size and time. Does not belong here: what is in it.

HTTP is asked with ETag and Last-Modified, FTP by MDTM and SIZE. A server that says neither is fetched, and the hash decides.
"""

import contextlib
import ftplib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from otn_dagster.live.configuration import RemoteSource

CONNECT_SECONDS = 20
MOST_REDIRECTS = 5


class CannotFetch(RuntimeError):
    """A source that could not be read; says why."""


class TooSlow(CannotFetch):
    """A source that needs more time than there is now."""


@dataclass(frozen=True)
class Known:
    """What is known of the file that was taken last."""

    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A file, spooled under its hash, or the news that it is the same."""

    unchanged: bool
    why: str
    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    path: Path | None = None


def fetch(source: RemoteSource, known: Known, folder: Path, seconds: float) -> Fetched:
    """Fetch a source if it changed, within some seconds. Raises TooSlow, CannotFetch.

    Safe to repeat and to kill: the file is written aside and renamed to its hash.
    """
    with _Spool(source, folder, time.monotonic() + seconds) as spool:
        try:
            if source.url.startswith("ftp://"):
                return _ftp(source, known, spool)
            return _http(source, known, spool)
        except httpx.TimeoutException:
            raise CannotFetch(f"{where(source)} did not answer in time") from None
        except httpx.LocalProtocolError:  # its text would show a header
            raise CannotFetch(f"{where(source)}: a header of this source cannot be sent") from None
        except (httpx.HTTPError, httpx.InvalidURL, ftplib.Error, EOFError, OSError) as error:
            raise CannotFetch(f"{where(source)}: {type(error).__name__}: {error}") from None


class _Spool:
    """A file that grows aside, within limits, and takes its hash as its name when it is whole."""

    def __init__(self, source: RemoteSource, folder: Path, end: float):
        self.source, self.folder, self.end = source, folder, end
        self.hash, self.size = hashlib.sha256(), 0

    def __enter__(self) -> "_Spool":
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", dir=self.folder)
        self.aside, self.file = Path(name), os.fdopen(descriptor, "wb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.aside.unlink(missing_ok=True)

    def add(self, block: bytes) -> None:
        """One more block; raises where it is too much or too late."""
        self.size += len(block)
        if self.size > self.source.most_mb * 1_000_000:
            raise CannotFetch(f"{where(self.source)} has more than {self.source.most_mb:g} MB (most_mb)")
        if time.monotonic() > self.end:
            raise TooSlow(f"{where(self.source)} needs longer than a look may take; a run fetches it")
        self.hash.update(block)
        self.file.write(block)

    def keep(self, etag: str | None, last_modified: str | None) -> Fetched:
        """The whole file."""
        self.file.flush()
        os.fsync(self.file.fileno())
        sha256 = self.hash.hexdigest()
        path = self.folder / sha256
        self.aside.rename(path)
        return Fetched(False, f"fetched {self.size:,} bytes", etag, last_modified, self.size, sha256, path)


def _http(source: RemoteSource, known: Known, spool: _Spool) -> Fetched:
    headers = {name: _secret(variable) for name, variable in source.headers_from_environment.items()}
    url = httpx.URL(source.url)
    with httpx.Client(timeout=CONNECT_SECONDS) as client:
        for _ in range(MOST_REDIRECTS + 1):
            mine = headers if _same_place(url, httpx.URL(source.url)) else {}  # secrets are for the source alone
            with client.stream("GET", url, headers={**mine, **_conditions(known)}) as answer:
                if answer.next_request is None:
                    return _answered(source, known, spool, answer)
                url = answer.next_request.url
    raise CannotFetch(f"{where(source)} redirects more than {MOST_REDIRECTS} times")


def _conditions(known: Known) -> dict[str, str]:
    """As it is: what comes compressed could be anything when it is unpacked."""
    found = {"Accept-Encoding": "identity"}
    found |= {"If-None-Match": known.etag} if known.etag else {}
    return found | ({"If-Modified-Since": known.last_modified} if known.last_modified else {})


def _same_place(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _answered(source: RemoteSource, known: Known, spool: _Spool, answer: httpx.Response) -> Fetched:
    if answer.status_code == 304:
        why = "the source says: not modified"
        return Fetched(True, why, known.etag, known.last_modified, known.bytes, known.sha256)
    if answer.status_code != 200:
        raise CannotFetch(f"{where(source)} answered {answer.status_code}, expected 200")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise CannotFetch(f"{where(source)} sent a compressed answer, though it was asked for a plain one")
    for block in answer.iter_raw():
        spool.add(block)
    return _same_or(spool.keep(answer.headers.get("etag"), answer.headers.get("last-modified")), known)


def _ftp(source: RemoteSource, known: Known, spool: _Spool) -> Fetched:
    parts = urlsplit(source.url)
    user = _secret(source.user_from_environment) if source.user_from_environment else "anonymous"
    password = _secret(source.password_from_environment) if source.password_from_environment else "anonymous@"
    with ftplib.FTP(timeout=CONNECT_SECONDS) as ftp:
        ftp.connect(parts.hostname or "", parts.port or 21)
        ftp.login(user, password)
        path = unquote(parts.path)
        modified = _asked(lambda: ftp.sendcmd(f"MDTM {path}").split()[-1])
        ftp.voidcmd("TYPE I")
        size = _asked(lambda: ftp.size(path))
        if modified and modified == known.last_modified and size == known.bytes:
            return Fetched(True, "same time and size", None, modified, size, known.sha256)
        ftp.retrbinary(f"RETR {path}", spool.add, blocksize=1 << 16)
    if size is not None and spool.size != size:
        raise CannotFetch(f"{where(source)} broke off: {spool.size:,} of {size:,} bytes came")
    return _same_or(spool.keep(None, modified), known)


def _same_or(got: Fetched, known: Known) -> Fetched:
    if got.sha256 != known.sha256:
        return got
    return Fetched(True, "same bytes", got.etag, got.last_modified, got.bytes, got.sha256, got.path)


def _asked[Value](ask: Callable[[], Value]) -> Value | None:
    with contextlib.suppress(ftplib.error_perm):
        return ask()
    return None


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        raise CannotFetch(
            f"the environment variable {variable} is not set, or no plain text; it holds a secret of this source"
        )
    return value


def where(source: RemoteSource) -> str:
    """The source without what may be secret in its URL."""
    parts = urlsplit(source.url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
