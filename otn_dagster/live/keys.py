"""Keys of those who push and read: made once, shown once, kept as a hash.

Belongs here: making, listing, revoking and recognising keys. Does not belong here: how a request carries one.

A key is ``push_<kid>_<secret>``. The secret has 256 random bits, so a plain SHA-256 is enough to keep it. A key is for one
dataset, one author and some rights. An author may hold two live keys for a dataset, so that one can be exchanged without a
refused request.
"""

import datetime as dt
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import LiteralString

from psycopg.rows import class_row

from otn_dagster.database import LIVE_KEY_LOCKS, Connection, lock_for
from otn_dagster.explained import Explained
from otn_dagster.live.log import wait_for_log

RIGHTS = ("push", "delete", "replace", "read")
AUTHOR = re.compile(r"^[A-Za-z][A-Za-z0-9.-]{0,59}$")
MOST_LIVE = 2
COLUMNS = (
    "kid, secret_sha256, author, dataset, rights, made_by, created_at, expires_at, disabled_at, revoked_at,"
    " (select max(last_at) from platform.live_usage u where u.kid = k.kid) as last_used_at"
)


class KeyProblem(Explained, ValueError):
    """A key that cannot be made or found; says what to do."""


@dataclass(frozen=True)
class Key:
    """A key as it is kept."""

    kid: str
    secret_sha256: bytes
    author: str
    dataset: str
    rights: list[str]
    made_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    disabled_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None = None

    @property
    def state(self) -> str:
        """``live``, ``revoked``, ``expired`` or ``disabled``."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= dt.datetime.now(dt.UTC):
            return "expired"
        return "disabled" if self.disabled_at else "live"


def make(
    connection: Connection,
    dataset: str,
    author: str,
    rights: list[str],
    by: str,
    days: float | None = None,
) -> tuple[Key, str]:
    """A new key and its token, which nobody can ever show again. Raises KeyProblem.

    Not to be repeated blindly: each call makes another key, and a third live one of an author is refused.
    """
    if not AUTHOR.match(author):
        raise KeyProblem(f"author {author!r}: expected letters, digits, . and - (no _), a letter first")
    unknown = [right for right in rights if right not in RIGHTS]
    if unknown or not rights:
        raise KeyProblem(f"rights {','.join(rights)!r}: expected some of {','.join(RIGHTS)}")
    lock_for(connection, LIVE_KEY_LOCKS, f"{dataset} {author}")
    live = [key for key in listed(connection, dataset) if key.author == author and key.state in ("live", "disabled")]
    if len(live) >= MOST_LIVE:
        names = " and ".join(key.kid for key in live)
        raise KeyProblem(
            f"{author} has {len(live)} keys for {dataset} ({names}); revoke one with `otn-dagster keys revoke`"
        )
    kid, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days) if days is not None else None
    connection.execute(
        "insert into platform.live_keys (kid, secret_sha256, author, dataset, rights, made_by, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        [kid, _hash(secret), author, dataset, rights, by, expires],
    )
    key = find(connection, kid)
    assert key is not None
    return key, f"push_{kid}_{secret}"


def listed(connection: Connection, dataset: str | None = None) -> list[Key]:
    """All keys, newest last; never their secrets."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            f"select {COLUMNS} from platform.live_keys k where %s::text is null or dataset = %s order by created_at, kid",  # noqa: S608
            [dataset, dataset],
        ).fetchall()


def find(connection: Connection, kid: str) -> Key | None:
    """The key with this id."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(f"select {COLUMNS} from platform.live_keys k where kid = %s", [kid]).fetchone()  # noqa: S608


def revoke(connection: Connection, kid: str) -> None:
    """End a key for ever, from this transaction's commit on. Safe to repeat."""
    _change(
        connection,
        "update platform.live_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where kid = %s",
        kid,
    )


def disable(connection: Connection, kid: str, on: bool) -> None:
    """Suspend a key, or take it again. Safe to repeat."""
    statement: LiteralString = (
        "update platform.live_keys set disabled_at = coalesce(disabled_at, clock_timestamp()) where kid = %s"
        if on
        else "update platform.live_keys set disabled_at = null where kid = %s"
    )
    _change(connection, statement, kid)


def _change(connection: Connection, statement: LiteralString, kid: str) -> None:
    wait_for_log(connection)
    if connection.execute(statement, [kid]).rowcount == 0:
        raise KeyProblem(f"there is no key {kid!r}; `otn-dagster keys list` shows them")


def split(token: str) -> tuple[str, str] | None:
    """Key id and secret of a token, or None where it is none."""
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != "push" or not re.fullmatch(r"[0-9a-f]{12}", parts[1]):
        return None
    return parts[1], parts[2]


def opens(key: Key, secret: str) -> bool:
    """Whether a secret is the key's, in constant time."""
    return hmac.compare_digest(_hash(secret), key.secret_sha256)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
