"""Files that are there whole or not at all, and their hashes.

Belongs here: writing aside, flushing, renaming; SHA-256. Does not belong here: what is in a file.

Whoever is killed while writing leaves a name that begins with a dot, and never half a file under the name that others read.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0o077)  # it can only be read by setting it, which is not for threads to do
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; where the block ends well, it is flushed to the disk and becomes ``path``.

    Safe to repeat, to race and to kill: readers see the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    os.close(descriptor)
    aside = Path(name)
    try:
        yield aside
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.chmod(0o666 & ~_UMASK)  # a temporary file is its owner's alone
        aside.replace(path)
        _flush(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to write into; where the block ends well, it becomes ``path``.

    Safe to repeat and to kill, not to race: what an earlier try left is removed. Not flushed: what is written as a folder can be
    made again from what it was made of.
    """
    aside = path.with_name(f".{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    shutil.rmtree(path, ignore_errors=True)
    aside.rename(path)


def remove_folder(path: Path) -> None:
    """A folder and what is in it, if it is there. Safe to repeat."""
    shutil.rmtree(path, ignore_errors=True)


def write(path: Path, content: str | bytes) -> Path:
    """A small file, whole or not at all; text as UTF-8."""
    with replacing(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """A name is durable when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
