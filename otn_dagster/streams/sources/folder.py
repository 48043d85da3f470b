"""A folder or bucket of netCDF files.

Belongs here: listing files and what times they span. Does not belong here: reading their values (``netcdf.py``).

What is new is known by the newest time in the files; a file that brings older data, or corrects some, is found by the
comparison of counts (``gaps.py``), because each file is a time bin of its own.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
from scipy.io import netcdf_file

from otn_dagster.files import replacing
from otn_dagster.streams import classic, timeaxis
from otn_dagster.streams.configuration import Place, Stream
from otn_dagster.streams.plan import Window
from otn_dagster.streams.sources.base import (
    Asked,
    Bin,
    Complete,
    Deployment,
    Look,
    NothingThere,
    RemoteFile,
    SourceUnavailable,
    Upstream,
)


@dataclass(frozen=True)
class Span:
    """What one file spans."""

    name: str
    url: str
    size: int
    first: int
    last: int
    rows: int


class Folder:
    """Files under a path or URL that match a pattern, each with a time axis."""

    def __init__(self, url: str, pattern: str = "*.nc", place: Place | None = None):
        """``place`` names region, endpoint and anonymous reading of a bucket."""
        place = place or Place()
        options: dict[str, Any] = {}
        if url.startswith("s3://"):
            options = {
                "anon": place.anonymous,
                "endpoint_url": place.endpoint,
                "client_kwargs": {"region_name": place.region or "us-east-1"},
            }
        self._files, self._root = fsspec.core.url_to_fs(url, **options)
        self._pattern, self.url = pattern, url

    def news(self, stream: Stream) -> Upstream:
        """Begin, end and count over all readable files."""
        spans, problems = self._spans()
        if not spans:
            raise NothingThere(
                f"no netCDF file {self._pattern} in {self.url}" + (f" ({'; '.join(problems[:3])})" if problems else "")
            )
        return Upstream(
            min(s.first for s in spans),
            max(s.last for s in spans) + timeaxis.SECOND,
            sum(s.rows for s in spans),
            problems=tuple(problems),
        )

    def bins(self, stream: Stream) -> list[Bin]:
        """Each file is a bin; none where files overlap, because their rows cannot be added then."""
        spans = sorted(self._spans()[0], key=lambda span: span.first)
        if any(a.last >= b.first for a, b in itertools.pairwise(spans)):
            return []
        return [Bin(span.first, span.last + 1, span.rows) for span in spans]

    def deployments(self, stream: Stream) -> list[Deployment]:
        """A folder knows none."""
        return []

    def ask(self, stream: Stream, window: Window) -> Asked:
        """Nothing to order: the files are there."""
        if not self._overlapping(window):
            raise NothingThere(f"no file in {self.url} spans {timeaxis.text(window[0])} to {timeaxis.text(window[1])}")
        return Asked({"folder": self.url, "window": list(window)})

    def look(self, stream: Stream, handle: dict[str, Any]) -> Look:
        """All files that overlap the window."""
        window = handle["window"]
        return Complete(
            [RemoteFile(span.name, span.url, span.size) for span in self._overlapping((window[0], window[1]))]
        )

    def fetch(self, stream: Stream, file: RemoteFile, folder: Path) -> Path:
        """A copy of one file; classic netCDF is made into netCDF-4. Safe to repeat: written beside and moved."""
        path = folder / Path(file.name).name
        if path.exists():
            return path
        with replacing(path) as aside:
            try:
                self._files.get_file(file.url, str(aside))
            except OSError as error:
                raise SourceUnavailable(f"{file.url}: {error}") from error
            if classic.is_classic(aside):
                classic.to_netcdf4(aside)
        return path

    def _overlapping(self, window: Window) -> list[Span]:
        return [span for span in self._spans()[0] if span.first < window[1] and span.last >= window[0]]

    def _spans(self) -> tuple[list[Span], list[str]]:
        """(what the readable files span, what is wrong with the others)."""
        self._files.invalidate_cache()
        spans, problems = [], []
        for path, info in sorted(self._files.glob(f"{self._root.rstrip('/')}/{self._pattern}", detail=True).items()):
            try:
                first, last, rows = _span(
                    self._files, path, int(info["size"]), str(info.get("mtime") or info.get("ETag"))
                )
            except (OSError, KeyError, ValueError) as error:
                problems.append(f"{Path(path).name}: {error}")
                continue
            spans.append(Span(Path(path).name, path, int(info["size"]), first, last, rows))
        return spans, problems


@lru_cache(maxsize=10_000)
def _span(files: Any, path: str, size: int, version: str) -> tuple[int, int, int]:
    """First and last time and the rows of a file; remembered for as long as size and version stay."""
    with files.open(path, "rb") as handle:
        magic = handle.read(3)
        handle.seek(0)
        if magic == classic.MAGIC:
            with netcdf_file(handle, mmap=False) as file:
                values, units = np.array(file.variables["time"].data), file.variables["time"].units.decode()
        else:
            with h5py.File(handle, "r") as file:
                time: Any = file["time"]
                values, units = time[:], time.attrs["units"]
                units = units.decode() if isinstance(units, bytes) else str(units)
    times = timeaxis.decode(values, units)
    times = times[times != timeaxis.MISSING]
    if not len(times):
        raise ValueError("no row with a time")
    return int(times.min()), int(times.max()), len(times)
