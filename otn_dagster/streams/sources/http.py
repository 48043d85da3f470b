"""HTTP as sources need it: time limits, no redirects to other schemes, downloads that are whole or not there.

Belongs here: bytes over HTTP. Does not belong here: what they mean.
"""

from pathlib import Path
from typing import Any

import httpx

from otn_dagster.files import replacing
from otn_dagster.streams.sources.base import SourceUnavailable

TIME_LIMIT = httpx.Timeout(60, connect=15)
_BLOCK = 1 << 20


def get(
    url: str, auth: tuple[str, str] | None = None, params: dict[str, Any] | None = None, seconds: float | None = None
) -> httpx.Response:
    """A GET's answer, whatever its status; raises SourceUnavailable where there is none, or a server's own failure."""
    try:
        answer = httpx.get(url, auth=auth, params=params, timeout=seconds or TIME_LIMIT, follow_redirects=True)
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"GET {_bare(url)}: {type(error).__name__}: {error}") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise SourceUnavailable(f"GET {_bare(url)}: status {answer.status_code} {answer.text[:200]}")
    return answer


def download(url: str, folder: Path, name: str, auth: tuple[str, str] | None = None) -> Path:
    """A file in a folder, whole: written beside and moved when its length is what was announced.

    Safe to repeat: a file that is there is whole. Raises SourceUnavailable where the transfer broke off.
    """
    if Path(name).name != name or name.startswith("."):
        raise SourceUnavailable(f"a file named {name!r} was offered, expected a plain name")
    path = folder / name
    if path.exists():
        return path
    try:
        with (
            replacing(path) as aside,
            httpx.stream("GET", url, auth=auth, timeout=TIME_LIMIT, follow_redirects=True) as answer,
            aside.open("wb") as out,
        ):
            if answer.status_code != 200:
                raise SourceUnavailable(f"GET {_bare(url)}: status {answer.status_code}")
            for block in answer.iter_bytes(_BLOCK):
                out.write(block)
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"GET {_bare(url)}: {type(error).__name__}: {error}") from error
    return path


def _bare(url: str) -> str:
    return url.split("?", 1)[0]
