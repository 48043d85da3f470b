"""OOINet's M2M API: asynchronous requests for netCDF.

Belongs here: OOINet's paths, its JSON, and how it says that something is complete. Does not belong here: requests as
records (``requests.py``).

Complete means: ``status.txt`` says ``complete`` and nothing else, every sub-job of ``status.json`` does, and every netCDF
file of this very stream that THREDDS lists is there. A failure is written into the same ``status.txt``. Files of other
streams lie in the same folder and are left alone.
"""

import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from otn_dagster.streams import timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.plan import Window
from otn_dagster.streams.sources import http
from otn_dagster.streams.sources.base import (
    Asked,
    Bin,
    Complete,
    Deployment,
    Failed,
    Look,
    NothingThere,
    RemoteFile,
    SourceUnavailable,
    Upstream,
    Waiting,
)

_CATALOG = "{http://www.unidata.ucar.edu/namespaces/thredds/InvCatalog/v1.0}"
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)
# Times that OOINet states are cut to the millisecond: without this the last sample would never be asked for.
PAD_MICROSECONDS = timeaxis.SECOND


class OOINet:
    """OOINet by its M2M API."""

    def __init__(self, url: str, auth: tuple[str, str] | None = None):
        """Credentials default to OOI_USERNAME and OOI_TOKEN of the environment."""
        self.url = url.rstrip("/")
        self._auth = auth

    def news(self, stream: Stream) -> Upstream:
        """Begin, end and count by ``metadata/times``."""
        rows = self._times(stream, {})
        if not rows:
            raise NothingThere(f"OOINet lists no {stream.stream.method} {stream.stream.name} of {stream.instrument}")
        row = rows[0]
        return Upstream(_micros(row["beginTime"]), _micros(row["endTime"]) + PAD_MICROSECONDS, int(row["count"]))

    def bins(self, stream: Stream) -> list[Bin]:
        """Counts by OOINet's own bins."""
        rows = self._times(stream, {"partition": "true"})
        return [Bin(_micros(r["beginTime"]), _micros(r["endTime"]) + 1000, int(r["count"])) for r in rows]

    def deployments(self, stream: Stream) -> list[Deployment]:
        """Deployments by asset management."""
        site, node, sensor = _three(stream.instrument)
        rows = self._json(f"12587/events/deployment/inv/{site}/{node}/{sensor}")
        found = {}
        for row in rows if isinstance(rows, list) else []:
            end = row.get("eventStopTime")
            found[int(row["deploymentNumber"])] = Deployment(
                int(row["deploymentNumber"]), _from_unix_ms(row["eventStartTime"]), _from_unix_ms(end) if end else None
            )
        return [found[number] for number in sorted(found)]

    def ask(self, stream: Stream, window: Window) -> Asked:
        """Estimate, then the real request."""
        site, node, sensor = _three(stream.instrument)
        path = f"12576/sensor/inv/{site}/{node}/{sensor}/{stream.stream.method}/{stream.stream.name}"
        parameters = {
            "beginDT": timeaxis.text(window[0]),
            "endDT": timeaxis.text(window[1] - 1),
            "format": "application/netcdf",
            "limit": "-1",
            "execDPA": "true",
            "include_provenance": "true",
            "email": "None",
        }
        self._order(path, {**parameters, "estimate_only": "true"})
        real = self._order(path, {**parameters, "estimate_only": "false"})
        urls = real.get("allURLs") or []
        thredds = next((u for u in urls if "/thredds/" in u), None)
        results = next((u for u in urls if "/async_results/" in u), None)
        if not thredds or not results:
            raise SourceUnavailable(f"OOINet accepted the request but named no results: {json.dumps(real)[:300]}")
        handle = {"request_uuid": real["requestUUID"], "thredds": thredds, "results": results.rstrip("/"),
                  "parameters": parameters, "sub_jobs": real.get("numberOfSubJobs")}  # fmt: skip
        return Asked(handle, real.get("sizeCalculation"), dt.timedelta(seconds=real.get("timeCalculation") or 60))

    def look(self, stream: Stream, handle: dict[str, Any]) -> Look:
        """What ``status.txt``, ``status.json`` and the listing say."""
        status = http.get(f"{handle['results']}/status.txt")
        if status.status_code == 404:
            return Waiting("status.txt is not there yet")
        if status.status_code != 200:
            return Waiting(f"status.txt answers {status.status_code}")
        if status.text.strip() != "complete":
            return Failed(f"OOINet says: {_reason(status.text)}")
        if failure := self._failed_sub_job(handle):
            return Failed(failure)
        files, listed = self._listing(stream, handle)
        if not files:
            return Failed(f"complete, but no file of {stream.key} is listed (of {listed} in all)")
        return Complete(files)

    def fetch(self, stream: Stream, file: RemoteFile, folder: Path) -> Path:
        """One netCDF file."""
        return http.download(file.url, folder, file.name)

    def annotations(self, refdes: str) -> list[dict[str, Any]]:
        """All annotations of an instrument."""
        found = self._json("12580/anno/find", {"refdes": refdes})
        if not isinstance(found, list):
            raise SourceUnavailable(f"annotations of {refdes}: found {str(found)[:200]}, expected a list")
        return found

    def inventory(self) -> dict[str, Any]:
        """The table of contents: instruments and their streams."""
        return self._json("12576/sensor/inv/toc")

    def stream_row(self, name: str) -> dict[str, Any]:
        """A stream's own description, with its parameters."""
        return self._json(f"12575/stream/byname/{name}")

    def _failed_sub_job(self, handle: dict[str, Any]) -> str | None:
        answer = http.get(f"{handle['results']}/status.json")
        if answer.status_code == 404:  # jobs of one part have none
            return None
        try:
            parts = answer.json()
        except ValueError:
            return f"status.json is not JSON: {answer.text[:100]!r}"
        bad = {name: state for name, state in parts.items() if state != "complete"}
        return f"sub-jobs are not complete: {json.dumps(bad)[:300]}" if bad else None

    def _listing(self, stream: Stream, handle: dict[str, Any]) -> tuple[list[RemoteFile], int]:
        answer = http.get(re.sub(r"\.html$", ".xml", handle["thredds"]))
        try:
            root = ElementTree.fromstring(answer.content)
        except ElementTree.ParseError as error:
            raise SourceUnavailable(f"the THREDDS catalog is not XML: {error}") from error
        mine = re.compile(rf"^deployment\d{{4}}_{re.escape(stream.key)}_\d{{8}}T[\d.]+-\d{{8}}T[\d.]+\.nc$")
        names = [node.get("name", "") for node in root.iter(f"{_CATALOG}dataset")]
        return [RemoteFile(n, f"{handle['results']}/{n}") for n in sorted(names) if mine.match(n)], len(names)

    def _order(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._json(path, parameters, missing_is_nothing=True)
        if "requestUUID" not in answer:
            raise SourceUnavailable(f"OOINet gave no requestUUID: {json.dumps(answer)[:300]}")
        return answer

    def _times(self, stream: Stream, parameters: dict[str, str]) -> list[dict[str, Any]]:
        site, node, sensor = _three(stream.instrument)
        rows = self._json(f"12576/sensor/inv/{site}/{node}/{sensor}/metadata/times", parameters)
        if not isinstance(rows, list):
            raise SourceUnavailable(f"metadata/times of {stream.instrument}: found {str(rows)[:200]}, expected a list")
        return [row for row in rows if (row["stream"], row["method"]) == (stream.stream.name, stream.stream.method)]

    def _json(self, path: str, parameters: dict[str, str] | None = None, missing_is_nothing: bool = False) -> Any:
        answer = http.get(f"{self.url}/{path}", self._credentials(), parameters)
        if "html" in answer.headers.get("content-type", ""):
            title = _TITLE.search(answer.text)
            raise SourceUnavailable(f"OOINet answers with a page: {title.group(1) if title else answer.text[:100]!r}")
        if answer.status_code in (401, 403):
            raise SourceUnavailable("OOINet refuses the credentials; set OOI_USERNAME and OOI_TOKEN")
        if answer.status_code != 200:
            kind = NothingThere if answer.status_code == 404 and missing_is_nothing else SourceUnavailable
            raise kind(f"OOINet answers {answer.status_code}: {_reason(answer.text)}")
        try:
            return answer.json()
        except ValueError as error:
            raise SourceUnavailable(f"{path}: not JSON: {answer.text[:100]!r}") from error

    def _credentials(self) -> tuple[str, str]:
        if self._auth:
            return self._auth
        user, token = os.environ.get("OOI_USERNAME"), os.environ.get("OOI_TOKEN")
        if not user or not token:
            raise SourceUnavailable("no credentials for OOINet; set OOI_USERNAME and OOI_TOKEN")
        return user, token


def _reason(text: str) -> str:
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]
    return str(message.get("status", message) if isinstance(message, dict) else message)


def _three(refdes: str) -> tuple[str, str, str]:
    site, node, port, sensor = refdes.split("-")
    return site, node, f"{port}-{sensor}"


def _micros(text: str) -> int:
    return timeaxis.micros(timeaxis.parse(text))


def _from_unix_ms(milliseconds: int) -> int:
    return timeaxis.micros(dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC))
