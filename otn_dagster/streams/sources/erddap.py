"""A table dataset of an ERDDAP server.

Belongs here: what ERDDAP's info and tabledap say. Does not belong here: stores.
"""

from pathlib import Path
from typing import Any

from erddapy import ERDDAP

from otn_dagster.streams import classic, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.plan import Window
from otn_dagster.streams.sources import http
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


class Erddap:
    """One dataset of one server, by tabledap."""

    def __init__(self, url: str, dataset: str):
        """``url`` ends in ``/erddap``."""
        if not url or not dataset:
            raise ValueError("a source of kind erddap needs url (ending in /erddap) and dataset")
        self.url, self.dataset = url.rstrip("/"), dataset

    def news(self, stream: Stream) -> Upstream:
        """The actual range of time, by the dataset's info."""
        answer = http.get(f"{self.url}/info/{self.dataset}/index.json")
        if answer.status_code == 404:
            raise NothingThere(f"{self.url} has no dataset {self.dataset}")
        try:
            rows = answer.json()["table"]["rows"]
        except (ValueError, KeyError) as error:
            raise SourceUnavailable(
                f"{self.url}: the info of {self.dataset} is not JSON: {answer.text[:100]!r}"
            ) from error
        attributes = {(row[1], row[2]): row[4] for row in rows if row[0] == "attribute"}
        start = attributes.get(("NC_GLOBAL", "time_coverage_start"))
        end = attributes.get(("NC_GLOBAL", "time_coverage_end"))
        if not start or not end:
            raise NothingThere(f"{self.dataset} does not say which time it covers")
        return Upstream(_micros(start), _micros(end) + timeaxis.SECOND)

    def bins(self, stream: Stream) -> list[Bin]:
        """ERDDAP does not count."""
        return []

    def deployments(self, stream: Stream) -> list[Deployment]:
        """ERDDAP knows none."""
        return []

    def ask(self, stream: Stream, window: Window) -> Asked:
        """Nothing to order: the URL of the window."""
        server = ERDDAP(server=self.url, protocol="tabledap", response="nc")
        server.dataset_id = self.dataset
        server.constraints = {"time>=": timeaxis.text(window[0]), "time<": timeaxis.text(window[1])}
        return Asked({"url": server.get_download_url(), "name": f"{self.dataset}_{window[0]}_{window[1]}.nc"})

    def look(self, stream: Stream, handle: dict[str, Any]) -> Look:
        """One file, at once."""
        return Complete([RemoteFile(handle["name"], handle["url"])])

    def fetch(self, stream: Stream, file: RemoteFile, folder: Path) -> Path:
        """The window as netCDF-4; ERDDAP serves the classic format. Safe to repeat."""
        path = http.download(file.url, folder, file.name)
        return classic.to_netcdf4(path) if classic.is_classic(path) else path


def _micros(text: str) -> int:
    return timeaxis.micros(timeaxis.parse(text))
