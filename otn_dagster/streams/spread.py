"""A window's blocks written by many workers: Dask, with Icechunk's cooperative sessions.

Belongs here: handing blocks to workers and merging what they wrote. Does not belong here: what a block holds
(``arrays.py``).

Blocks are aligned to chunks, so no two workers touch the same one; each works in a fork of the one session, and only the
coordinator commits. A worker that dies is replaced by Dask and its blocks are written again, with the same values. Workers
must see the answer's files and the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otn_dagster.late import late
from otn_dagster.streams import arrays, netcdf
from otn_dagster.streams.arrays import Block, Merge
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.group import Group
from otn_dagster.streams.ingest import Spread
from otn_dagster.streams.plan import Plan
from otn_dagster.streams.store import StreamStore

if TYPE_CHECKING:
    import icechunk
else:
    icechunk = late("icechunk")

if TYPE_CHECKING:
    from distributed import Client

BLOCKS_A_TASK = 8


def with_dask(client: Client) -> Spread:
    """A spread over the workers of a Dask client."""

    def spread(
        session: icechunk.Session, store: StreamStore, base: str | None, plan: Plan, merge: Merge, blocks: list[Block]
    ) -> None:
        fork = session.fork()
        shares = [blocks[i : i + BLOCKS_A_TASK] for i in range(0, len(blocks), BLOCKS_A_TASK)]
        shared = client.scatter((fork, StreamStore(store.location), base, plan, merge), broadcast=True)
        futures = client.map(_write_share, shares, work=shared, pure=False)
        session.merge(*client.gather(futures))  # type: ignore[arg-type]

    return spread


def spread_of(stream: Stream) -> Spread | None:
    """The spread that a stream's configuration chooses: None is this process."""
    if stream.spread == "none":
        return None
    from distributed import Client  # here, because most processes never spread anything

    def spread(
        session: icechunk.Session, store: StreamStore, base: str | None, plan: Plan, merge: Merge, blocks: list[Block]
    ) -> None:
        # Without a scheduler, as many processes as this machine has CPUs, and no longer than the work.
        with (
            Client(stream.dask_scheduler)
            if stream.dask_scheduler
            else Client(processes=True, dashboard_address=None) as client
        ):
            with_dask(client)(session, store, base, plan, merge, blocks)

    return spread


def _write_share(
    share: list[Block], work: tuple[icechunk.ForkSession, StreamStore, str | None, Plan, Merge]
) -> icechunk.ForkSession:
    fork, store, base_snapshot, plan, merge = work
    target = Group.open(fork.store, "a")
    base = store.read(base_snapshot) if base_snapshot else None
    try:
        for block in share:
            arrays.write_block(target, base, plan, merge, block)
    finally:
        netcdf.close_all()
    return fork
