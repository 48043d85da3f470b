"""A process that appends, repairs, refreshes, publishes and collects in one store, step after step, until it is killed.

What a step does depends on its number alone, so what the store must hold after it is known (``times_after``).
"""

import datetime as dt
import sys
from pathlib import Path

import numpy as np

from otn_dagster.demo.ocean import Instrument, write_file
from otn_dagster.streams import ingest, published, refresh, retention, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.store import StreamStore

INSTRUMENT = Instrument("CE04OSPS-SF01B-4F-PCO2WA102", "streamed", "pco2w_a_sami_data_record", "pco2w")
STREAM = Stream(
    instrument=INSTRUMENT.refdes,
    stream={"method": INSTRUMENT.method, "name": INSTRUMENT.stream},  # type: ignore[arg-type]
)
START = timeaxis.micros(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
ROWS, STEP = 50, 60 * timeaxis.SECOND
LATE_BY = 2


def block(number: int) -> np.ndarray:
    """Times of one block."""
    return START + (number * ROWS + np.arange(ROWS, dtype=np.int64)) * STEP


def is_late(number: int) -> bool:
    """Whether a block arrives some steps after its turn."""
    return number % 7 == 0


def arrived(step: int) -> list[int]:
    """Blocks that arrived up to a step, in order of time."""
    return [n for n in range(1, step + 1) if not is_late(n) or step >= n + LATE_BY]


def times_after(step: int) -> np.ndarray:
    """What the store holds after a step."""
    return np.concatenate([block(n) for n in arrived(step)]) if step else np.empty(0, np.int64)


def do(step: int, root: Path) -> None:
    """One step, safe to repeat."""
    store = StreamStore(Location(str(root / "store")))
    blocks = [] if is_late(step) else [step]
    blocks += [step - LATE_BY] if step > LATE_BY and is_late(step - LATE_BY) else []
    for part, number in enumerate(blocks, start=1):
        times = block(number)
        path = write_file(root / "files" / str(step), INSTRUMENT, 1, times)
        ingest.ingest(store, Answer(STREAM, step * 10, part, "append", (int(times[0]), int(times[-1]) + 1)), [path])
    if step % 6 == 0:
        _refresh(store, step, root)
    published.publish(store, Location(str(root / "view")), dt.timedelta(0))
    if step % 4 == 0:
        retention.collect(store, dt.timedelta(seconds=3), dt.timedelta(seconds=3))


def _refresh(store: StreamStore, step: int, root: Path) -> None:
    """Everything again, in two windows, compared and switched; recognised when it was done."""
    number = step * 10 + 9
    if any(commit.facts["request"] == number for commit in store.history()):
        store.drop_branch(ingest.refresh_branch(number))
        return
    head = store.head()
    assert head is not None
    times = times_after(step)
    for part, piece in enumerate(np.array_split(times, 2), start=1):
        path = write_file(root / "files" / f"{step}-refresh", INSTRUMENT, 1, piece)
        ingest.ingest(store, Answer(STREAM, number, part, "refresh", (int(piece[0]), int(piece[-1]) + 1)), [path])
    refresh.compare(store, STREAM, number, len(times), [1], set(), [])
    refresh.switch(store, number, head.snapshot)


def main(root: Path, first: int, last: int) -> None:
    """Steps first to last, each acknowledged when it is done."""
    print("ready", flush=True)
    for step in range(first, last + 1):
        do(step, root)
        print(f"done {step}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
