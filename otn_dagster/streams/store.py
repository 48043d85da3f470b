"""The record of a stream: an Icechunk repository, one commit for each accepted window.

Belongs here: opening, writing under the lock, commits, branches, rollback, history. Does not belong here: what is written
(``arrays.py``), what may be (``gates.py``), and when old versions go (``retention.py``).

Readers open a snapshot and keep it whatever happens to the store. A refresh is one commit on a branch, amended window by
window, to which ``main`` is moved in one step; so ``main`` has one line of history and "as of a date" always means what a
reader saw then.
"""

from __future__ import annotations

import datetime as dt
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otn_dagster.explained import Explained
from otn_dagster.streams.group import Group
from otn_dagster.streams.location import Location  # first: it quiets Icechunk's warning

from otn_dagster.streams.lock import locked  # isort: skip
from otn_dagster.late import late

if TYPE_CHECKING:
    import icechunk
else:
    icechunk = late("icechunk")

MAIN = "main"
# Strings of executed tests are bytes of fixed length: zarr-python reads them, the format has no words for them yet.
warnings.filterwarnings("ignore", message=".*NullTerminatedBytes.*")


class NoSuchStore(Explained, LookupError):
    """A stream that has no store yet, or none at that time."""


class StoreMoved(RuntimeError):
    """Somebody else committed meanwhile; trying again starts from their version."""


@dataclass(frozen=True)
class Commit:
    """One version of a store: its snapshot, when it was written, and what its writer said of it."""

    snapshot: str
    at: dt.datetime
    message: str
    facts: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows of this version."""
        return int(self.facts.get("rows", 0))


@dataclass(frozen=True)
class StreamStore:
    """The store of one stream."""

    location: Location

    @functools.cached_property
    def repository(self) -> icechunk.Repository:
        """The repository, for everything that only it can do."""
        return icechunk.Repository.open(self.location.icechunk())

    def is_created(self) -> bool:
        """Whether there is a repository, perhaps with nothing but an unfinished refresh."""
        return icechunk.Repository.exists(self.location.icechunk())

    def exists(self) -> bool:
        """Whether there is a repository with at least one commit of data."""
        return self.is_created() and bool(self.history(limit=1))

    def create(self) -> None:
        """Make the repository where there is none. Safe to repeat and to race: the lock, or S3's own check, lets one in."""
        with self._lock():
            if not self.is_created():
                icechunk.Repository.create(self.location.icechunk())

    def history(self, branch: str = MAIN, limit: int | None = None) -> list[Commit]:
        """Commits with data, newest first."""
        commits = []
        for info in self.repository.ancestry(branch=branch):
            if "rows" in info.metadata:
                commits.append(Commit(info.id, info.written_at, info.message, dict(info.metadata)))
                if limit and len(commits) >= limit:
                    break
        return commits

    def head(self, branch: str = MAIN) -> Commit | None:
        """The newest commit with data."""
        found = self.history(branch, 1)
        return found[0] if found else None

    def commit_as_of(self, moment: dt.datetime) -> Commit:
        """What readers saw at a moment; raises NoSuchStore where there was nothing, or it was expired."""
        for commit in self.history():
            if commit.at <= moment:
                return commit
        raise NoSuchStore(f"{self.location.url} has no version as old as {moment:%Y-%m-%d %H:%M:%S}")

    def read(self, snapshot: str | None = None, branch: str = MAIN) -> Group:
        """A version, read-only; it stays what it is. Default is the newest of the branch."""
        session = (
            self.repository.readonly_session(snapshot_id=snapshot)
            if snapshot
            else self.repository.readonly_session(branch)
        )
        return Group.open(session.store, "r")

    @contextmanager
    def writing(self, branch: str = MAIN) -> Iterator[icechunk.Session]:
        """A session to write in, alone where the storage needs it. Nothing is visible until it is committed."""
        with self._lock():
            yield self.repository.writable_session(branch)

    def commit(self, session: icechunk.Session, message: str, facts: dict[str, Any], amend: bool = False) -> str:
        """Commit; the caller holds the lock. A crash before it leaves nothing; after it the commit stands.

        Raises StoreMoved where somebody else committed since the session began.
        """
        try:
            return session.amend(message, metadata=facts) if amend else session.commit(message, metadata=facts)
        except icechunk.ConflictError as error:
            raise StoreMoved(f"{self.location.url} was committed to by another writer meanwhile; try again") from error

    def start_branch(self, branch: str) -> None:
        """A branch from the newest version. Safe to repeat: a branch that is there stays as it is."""
        with self._lock():
            if branch not in self.repository.list_branches():
                self.repository.create_branch(branch, self.repository.lookup_branch(MAIN))

    def drop_branch(self, branch: str) -> None:
        """Forget a branch. Safe to repeat."""
        with self._lock():
            if branch in self.repository.list_branches():
                self.repository.delete_branch(branch)

    def switch_to(self, branch: str, expected: str) -> None:
        """Move ``main`` to a branch in one step, if it still is at ``expected``; then forget the branch.

        Safe to repeat: a main that is there already stays. Raises StoreMoved where it is somewhere else.
        """
        with self._lock():
            if branch in self.repository.list_branches():
                self._move(self.repository.lookup_branch(branch), expected)
                self.repository.delete_branch(branch)

    def roll_back(self, snapshot: str, now: dt.datetime) -> str:
        """Make an earlier version the newest again; the one that was stays under a tag, whose name is returned.

        Safe to repeat: where the version is the newest already, nothing happens.
        """
        with self._lock():
            head = self.repository.lookup_branch(MAIN)
            if head == snapshot:
                return ""
            tag = f"before-rollback-{now:%Y%m%dT%H%M%S}"
            self.repository.create_tag(tag, head)
            self._move(snapshot, head)
            return tag

    def tag(self, name: str, snapshot: str) -> None:
        """Name a version, which keeps it for ever. Safe to repeat; raises ValueError where the name means another version."""
        with self._lock():
            if name not in self.repository.list_tags():
                self.repository.create_tag(name, snapshot)
            elif self.repository.lookup_tag(name) != snapshot:
                raise ValueError(f"tag {name} of {self.location.url} names another version already")

    def bytes_stored(self) -> int:
        """Bytes of all chunks of all versions."""
        return self.repository.chunk_storage_stats().native_bytes

    def _move(self, snapshot: str, expected: str) -> None:
        if self.repository.lookup_branch(MAIN) == snapshot:
            return
        try:
            self.repository.reset_branch(MAIN, snapshot, from_snapshot_id=expected)
        except icechunk.ConflictError as error:
            raise StoreMoved(f"{self.location.url} is no longer at {expected}") from error

    def _lock(self):
        return locked(self.location.lock_file())
