"""A local OOINet: the M2M API, the THREDDS catalog and the asynchronous results, with faults that can be switched on.

Belongs here: answering as OOINet does. Does not belong here: what the instruments measure (``ocean.py``).

It answers on loopback only. Estimates, requests, ``status.txt`` after the last file, ``status.json`` by sub-job, failures
written where success is expected, end times cut to the millisecond: as the real one does.
"""

import base64
import datetime as dt
import json
import re
import tempfile
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from otn_dagster.demo.ocean import Instrument, Quirks, write_file
from otn_dagster.streams import timeaxis

USER, TOKEN = "demo", "demo"
JSON, XML, HTML, NETCDF = "application/json", "application/xml", "text/html", "application/x-netcdf"
_INVENTORY = re.compile(r"^/api/m2m/12576/sensor/inv/([^/]+)/([^/]+)/([^/]+)(/.*)?$")
_DEPLOYMENTS = re.compile(r"^/api/m2m/12587/events/deployment/inv/([^/]+)/([^/]+)/([^/]+)/?$")


@dataclass
class Upstream:
    """What OOINet holds of one stream: the times of each deployment, and how its files are."""

    instrument: Instrument
    deployments: dict[int, np.ndarray]
    quirks: dict[int, Quirks] = field(default_factory=dict)

    def within(self, start: int, end: int) -> dict[int, np.ndarray]:
        """Times from start to end, both included, by deployment."""
        cut = {n: t[(t >= start) & (t <= end)] for n, t in self.deployments.items()}
        return {n: t for n, t in cut.items() if len(t)}

    @property
    def times(self) -> np.ndarray:
        """All times."""
        return np.concatenate(list(self.deployments.values()))


@dataclass
class Faults:
    """What goes wrong, for requests made while it is set."""

    looks_until_ready: int = 1
    refuse_requests: int = 0  # with this status
    maintenance: bool = False
    failure_in_status: bool = False
    never_ready: bool = False
    list_only: int | None = None  # files listed of all that were announced
    status_json_failure: bool = False
    files_of_each_deployment: int = 1
    share_boundary_stamp: bool = False
    shuffle: bool = False
    ancillary: bool = False
    cut_off: bool = False  # a file shorter than its Content-Length
    broken_annotations: tuple[str, ...] = ()


@dataclass
class Job:
    """One asynchronous request."""

    folder: Path
    files: list[str]
    faults: Faults
    looks: int = 0


class FakeOOINet:
    """The server; use it as a context manager."""

    def __init__(self, upstreams: list[Upstream], port: int = 0):
        """Serve these streams on loopback; port 0 takes a free one."""
        self.streams = {u.instrument.key: u for u in upstreams}
        self.faults = Faults()
        self.jobs: dict[str, Job] = {}
        self.requests: list[dict[str, Any]] = []
        self.annotations: dict[str, list[dict[str, Any]]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="ooinet-")
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.host}/api/m2m"

    def __enter__(self) -> "FakeOOINet":
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and remove what was made."""
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def reply(self, path: str, query: dict[str, str]) -> tuple[int, str, Any]:
        """(status, content type, body) of a GET."""
        if path.startswith("/async_results/") or path.startswith("/thredds/"):
            return self._results(path)
        if self.faults.maintenance:
            return 200, HTML, "<html><head><title>OOINet is down for maintenance</title></head><body/></html>"
        if path == "/api/m2m/12576/sensor/inv/toc":
            return (
                200,
                JSON,
                {
                    "instruments": [self._toc(u) for u in self.streams.values()],
                    "parameters_by_stream": {},
                    "parameter_definitions": [],
                },
            )
        if path == "/api/m2m/12580/anno/find":
            return self._annotations(query["refdes"])
        if path.startswith("/api/m2m/12575/stream/byname/"):
            return self._stream_row(path.rsplit("/", 1)[1])
        if found := _DEPLOYMENTS.match(path):
            return self._deployment_events("-".join(found.groups()))
        if found := _INVENTORY.match(path):
            return self._inventory("-".join(found.groups()[:3]), found.group(4) or "", query)
        return 404, JSON, {"message": {"status": f"no such path {path}"}}

    def _inventory(self, refdes: str, rest: str, query: dict[str, str]) -> tuple[int, str, Any]:
        if rest == "/metadata/times":
            upstreams = [u for u in self.streams.values() if u.instrument.refdes == refdes]
            return 200, JSON, [row for u in upstreams for row in _times(u, query.get("partition") == "true")]
        method, name = rest.strip("/").split("/")
        upstream = self.streams.get(f"{refdes}-{method}-{name}")
        if upstream is None:
            return 404, JSON, {"message": {"status": f"no stream {refdes} {method} {name}"}}
        if self.faults.refuse_requests:
            return self.faults.refuse_requests, JSON, {"message": {"status": "the request failed"}}
        start, end = (timeaxis.micros(timeaxis.parse(query[key])) for key in ("beginDT", "endDT"))
        within = upstream.within(start, end)
        rows = sum(len(t) for t in within.values())
        if not rows:
            return 404, JSON, {"message": {"status": "No data found for the given request"}}
        estimate = {
            "requestUUID": str(uuid.uuid4()),
            "sizeCalculation": rows * 63,
            "timeCalculation": 60,
            "numberOfSubJobs": max(1, len(within)),
        }
        if query.get("estimate_only") == "true":
            return 200, JSON, estimate
        self.requests.append(
            {"stream": upstream.instrument.key, "begin": query["beginDT"], "end": query["endDT"], "rows": rows}
        )
        return 200, JSON, {**estimate, **self._start_job(upstream, within)}

    def _start_job(self, upstream: Upstream, within: dict[int, np.ndarray]) -> dict[str, Any]:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%f")[:18] + "Z"
        name = f"{stamp}-{upstream.instrument.key}-{len(self.jobs)}"
        folder, files = Path(self._folder.name) / name, []
        for number, times in within.items():
            pieces = np.array_split(times, self.faults.files_of_each_deployment)
            for index, piece in enumerate(pieces):
                if self.faults.share_boundary_stamp and index:
                    piece = np.concatenate([pieces[index - 1][-1:], piece])
                if self.faults.shuffle:
                    piece = np.random.default_rng(1).permutation(piece)
                if len(piece):
                    files.append(
                        write_file(folder, upstream.instrument, number, piece, upstream.quirks.get(number)).name
                    )
        if self.faults.ancillary:
            other = Instrument(
                upstream.instrument.refdes.rsplit("-", 1)[0] + "-CTDBPN999",
                upstream.instrument.method,
                "ctdbp_no_sample",
            )
            files.append(write_file(folder, other, 1, next(iter(within.values()))[:50]).name)
        self.jobs[name] = Job(folder, files, Faults(**vars(self.faults)))
        return {
            "outputURL": f"{self.host}/thredds/catalog/ooi/{USER}/{name}/catalog.html",
            "allURLs": [
                f"{self.host}/thredds/catalog/ooi/{USER}/{name}/catalog.html",
                f"{self.host}/async_results/{USER}/{name}",
            ],
        }

    def _results(self, path: str) -> tuple[int, str, Any]:
        parts = path.strip("/").split("/")
        job = self.jobs.get(parts[2] if parts[0] == "async_results" else parts[4])
        if job is None:
            return 404, HTML, "no such job"
        listed = job.files[: job.faults.list_only]
        ready = job.looks >= job.faults.looks_until_ready and not job.faults.never_ready
        if parts[-1] == "status.txt":
            job.looks += 1
            if job.looks < job.faults.looks_until_ready or job.faults.never_ready:
                return 404, HTML, "not yet"
            failure = json.dumps({"code": 500, "message": "Aggregation failed for the following reason: out of memory"})
            return 200, "text/plain", failure if job.faults.failure_in_status else "complete\n"
        if parts[-1] == "status.json":
            bad = {"code": 500, "message": "sub-job failed"}
            return (
                200,
                JSON,
                {
                    f"{i:02d}": bad if job.faults.status_json_failure and i == 0 else "complete"
                    for i in range(len(job.files))
                },
            )
        if parts[-1] == "catalog.xml":
            return 200, XML, _catalog(job, listed, ready)
        file = job.folder / parts[-1]
        if parts[-1] in listed and file.exists():
            return 200, NETCDF, file.read_bytes()[: -100 if job.faults.cut_off else None]
        return 404, HTML, "no such file"

    def _annotations(self, refdes: str) -> tuple[int, str, Any]:
        if refdes in self.faults.broken_annotations:
            return 500, HTML, "<html><title>500</title></html>"
        return 200, JSON, self.annotations.get(refdes, [])

    def _toc(self, upstream: Upstream) -> dict[str, Any]:
        site, node, *_ = upstream.instrument.refdes.split("-")
        return {"reference_designator": upstream.instrument.refdes, "platform_code": site, "mooring_code": node,
                "instrument_code": "-".join(upstream.instrument.refdes.split("-")[2:]), "streams": _times(upstream, False)}  # fmt: skip

    def _stream_row(self, name: str) -> tuple[int, str, Any]:
        parameters = [{"id": 7, "name": "time", "netcdf_name": "time", "unit": {"value": "seconds since 1900-01-01"}, "description": "time",
                       "standard_name": "time", "data_level": None, "data_product_type": None, "data_product_identifier": None}]  # fmt: skip
        known = any(u.instrument.stream == name for u in self.streams.values())
        row = {
            "id": 1,
            "name": name,
            "binsize_minutes": 1440,
            "stream_type": {"value": "Science"},
            "stream_content": {"value": name},
            "parameters": parameters,
        }
        return (200, JSON, row) if known else (404, JSON, {"message": {"status": "no such stream"}})

    def _deployment_events(self, refdes: str) -> tuple[int, str, Any]:
        events = []
        for upstream in self.streams.values():
            if upstream.instrument.refdes == refdes:
                for number, times in upstream.deployments.items():
                    events.append({"deploymentNumber": number, "eventStartTime": _unix_ms(times[0]), "eventStopTime": _unix_ms(times[-1]) + 1000,
                                   "referenceDesignator": refdes})  # fmt: skip
        return 200, JSON, events


def _times(upstream: Upstream, by_bin: bool) -> list[dict[str, Any]]:
    times = np.sort(upstream.times)
    groups = [times] if not by_bin else np.split(times, np.flatnonzero(np.diff(times // timeaxis.DAY)) + 1)
    head = {"stream": upstream.instrument.stream, "method": upstream.instrument.method}
    return [{**head, "count": len(g), "beginTime": _to_ms(g[0]), "endTime": _to_ms(g[-1])} for g in groups if len(g)]


def _catalog(job: Job, listed: list[str], ready: bool) -> str:
    names = [*listed, *(["status.txt"] if ready else [])]
    rows = []
    for name in names:
        size = (job.folder / name).stat().st_size if (job.folder / name).exists() else 9
        rows.append(
            f'<dataset name="{name}" ID="{name}" urlPath="ooi/{name}"><dataSize units="Kbytes">{size / 1000:.1f}</dataSize></dataset>'
        )
    space = 'xmlns="http://www.unidata.ucar.edu/namespaces/thredds/InvCatalog/v1.0"'
    return f'<?xml version="1.0"?><catalog {space}><dataset name="job">{"".join(rows)}</dataset></catalog>'


def _to_ms(time: int) -> str:
    return timeaxis.text(int(time) // 1000 * 1000)[:-4] + "Z"


def _unix_ms(time: int) -> int:
    return int(timeaxis.instant(int(time)).timestamp() * 1000)


def _handler(server: FakeOOINet) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            if url.path.startswith("/api/") and self.headers.get("Authorization") != expected:
                status, kind, body = 401, JSON, {"message": {"status": "unauthorized"}}
            else:
                status, kind, body = server.reply(url.path, query)
            data = body if isinstance(body, bytes) else (json.dumps(body) if kind == JSON else str(body)).encode()
            announced = len(data) + (100 if kind == NETCDF and server.faults.cut_off else 0)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(data)
            if announced != len(data):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
