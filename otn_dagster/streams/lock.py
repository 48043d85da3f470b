"""One writer at a time for a store on a local folder, over all processes of the machine.

Belongs here: the lock. Does not belong here: what is done under it.

Icechunk's local storage is not safe for concurrent commits: without this lock it loses commits that it acknowledged. On S3
its conditional writes do the same work, so there no lock is taken. The kernel frees the lock of a process that died.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreBusy(RuntimeError):
    """Another process kept a store's lock for longer than one was willing to wait."""


@contextmanager
def locked(path: Path | None, seconds: float = 3600) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs; None takes no lock."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise StoreBusy(f"another process holds {path} for more than {seconds:.0f} seconds") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
