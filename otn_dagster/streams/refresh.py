"""The end of a refresh: what was built on its branch is compared with main, and main is switched to it in one step.

Belongs here: the comparison and the switch. Does not belong here: building (``ingest.py``).
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from otn_dagster.streams import arrays, gates, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.gates import Gate, GateFailed
from otn_dagster.streams.group import Group
from otn_dagster.streams.ingest import SchemaChanged, refresh_branch
from otn_dagster.streams.layout import TIME, changes
from otn_dagster.streams.store import StreamStore

DEPLOYMENT = "deployment"
_BLOCK = 1 << 22


def compare(
    store: StreamStore,
    stream: Stream,
    request_no: int,
    announced: int | None,
    deployments: Iterable[int],
    accepted_changes: set[str],
    accepted_gates: Iterable[str],
) -> list[Gate]:
    """Every gate between a refresh's branch and main; raises SchemaChanged or GateFailed for what nobody accepted."""
    built = store.read(branch=refresh_branch(request_no))
    head = store.head()
    before = store.read(head.snapshot) if head else None
    if before is not None:
        found = [
            c
            for c in changes(arrays.layout_of(before), [("refresh", arrays.layout_of(built))])
            if c.key not in accepted_changes
        ]
        if found:
            raise SchemaChanged(found)
    head_of_branch = store.head(refresh_branch(request_no))
    assert head_of_branch is not None
    received = sum(part["rows"] + part["repeats"] + part["conflicts"] for part in head_of_branch.facts["parts"])
    least = stream.tolerances.least_share_of_announced
    result = [gates.at_least("announced_rows", received, announced, least), *_gates(before, built, stream, deployments)]
    if bad := gates.failed(result, accepted_gates):
        raise GateFailed(bad)
    return result


def _gates(before: Group | None, built: Group, stream: Stream, deployments: Iterable[int]) -> list[Gate]:
    tolerances, rows = stream.tolerances, arrays.rows_of(built)
    old, new = rows_of_deployments(before), rows_of_deployments(built)
    result = [gates.every_deployment(new, deployments)]
    if before is None:
        return result
    short = {
        n: f"{new[n]} of {rows}"
        for n, rows in sorted(old.items())
        if new[n] < int(rows * tolerances.least_share_of_before)
    }
    was, now = span(before), span(built)
    return [
        *result,
        gates.at_least("rows_before", rows, arrays.rows_of(before), tolerances.least_share_of_before),
        Gate(
            "rows_of_deployments",
            not short,
            str(short or dict(sorted(new.items()))),
            "as many as before in each deployment",
        ),
        Gate(
            "span",
            now[0] <= was[0] and now[1] >= was[1],
            f"{timeaxis.text(now[0])} to {timeaxis.text(now[1])}",
            f"at least {timeaxis.text(was[0])} to {timeaxis.text(was[1])}",
        ),
    ]


def rows_of_deployments(group: Group | None) -> Counter[int]:
    """How many rows each deployment has; empty where there are no deployment numbers."""
    counted: Counter[int] = Counter()
    if group is None or DEPLOYMENT not in group:
        return counted
    array = arrays.array_of(group, DEPLOYMENT)
    for start in range(0, array.shape[0], _BLOCK):
        numbers, counts = np.unique(np.asarray(array[start : start + _BLOCK]), return_counts=True)
        counted.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    return counted


def span(group: Group) -> tuple[int, int]:
    """First and last time."""
    time = arrays.array_of(group, TIME)
    return int(time[0]), int(time[time.shape[0] - 1])  # type: ignore[arg-type]


def switch(store: StreamStore, request_no: int, base: str) -> str:
    """Make the refresh the newest version, if main still is what the refresh began from; the snapshot that main is at then.

    Safe to repeat: a switch that was done is left. Raises StoreMoved where somebody committed to main meanwhile.
    """
    branch = refresh_branch(request_no)
    store.switch_to(branch, base)
    return store.repository.lookup_branch("main")
