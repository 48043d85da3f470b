"""People who sign in: accounts, invitations, sessions, and what a person may see and do.

Belongs here: who somebody is. Does not belong here: cookies and forms (``web/signing_in.py``).

Passwords are kept as scrypt with a salt of their own (OWASP's parameters); invitations and session tokens as SHA-256. A reader sees the
projects whose people include the reader's address; a manager all of some nodes; an analyst everything.
"""

import base64
import functools
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

from otn_dagster.database import SIGN_IN_LOCKS, Connection, lock_for
from otn_dagster.explained import Unusable


class Role(StrEnum):
    """What a person may do: see the projects that name them, act for some nodes, act for all."""

    READER = "reader"
    MANAGER = "manager"
    ANALYST = "analyst"


INVITATION_DAYS = 7  # by a manager; a link that somebody asked for works for a day
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
MOST_FAILURES, FAILURE_MINUTES = 10, 15
_SCRYPT = (15, 8, 3)  # log2 of N, r, p: OWASP's; kept with each password, so that they can be raised


class BadSignIn(ValueError):
    """Who cannot sign in; the text does not say whether the address is known."""


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in."""

    email: str
    name: str
    role: str
    nodes: tuple[str, ...]

    def acts_for(self, node: str | None) -> bool:
        """Whether they may hold, release, reject and sign items of a node."""
        return self.role == "analyst" or (self.role == "manager" and node is not None and node in self.nodes)

    @property
    def is_staff(self) -> bool:
        """Managers and analysts."""
        return self.role in ("manager", "analyst")


def invite(connection: Connection, email: str, name: str, role: str, nodes: list[str], by: str) -> str:
    """Make an account, or let one choose a new password; the token of the invitation, shown once. Raises ValueError."""
    email = email.strip().lower()
    if role not in set(Role):
        raise Unusable(f"{role!r} is not a role; expected one of {', '.join(Role)}")
    if role == "manager" and not nodes:
        raise Unusable("a manager needs at least one node (--node)")
    if email.count("@") != 1 or any(c.isspace() for c in email):
        raise Unusable(f"{email!r} is not an address")
    token = secrets.token_urlsafe(32)
    connection.execute(
        "insert into platform.people (email, name, role, nodes, made_by, invitation_sha256, invitation_until)"
        " values (%s, %s, %s, %s, %s, %s, clock_timestamp() + make_interval(days => %s))"
        " on conflict (email) do update set name = excluded.name, role = excluded.role, nodes = excluded.nodes, disabled_at = null,"
        " password = case when people.disabled_at is null then people.password end,"
        " made_by = excluded.made_by, invitation_sha256 = excluded.invitation_sha256, invitation_until = excluded.invitation_until",
        [email, name, role, nodes, by, _digest(token), INVITATION_DAYS],
    )
    connection.execute("delete from platform.sign_ins where email = %s", [email])
    return token


def role_of(connection: Connection, email: str) -> Role | None:
    """The role of an account; None for who has none."""
    row = connection.execute("select role from platform.people where email = %s", [email.strip().lower()]).fetchone()
    return Role(row[0]) if row else None


def may_choose(connection: Connection, email: str) -> str | None:
    """The name of whom this address belongs to, where it may choose a password by itself: an account that stands, or somebody whom a
    project's form names; None for everybody else.
    """
    row = connection.execute(
        "select name, disabled_at is null from platform.people where email = %(email)s union all"
        " (select name, true from obis.contacts join obis.contacts_projects using (contact_pk) where lower(email) = %(email)s limit 1)"
        " limit 1",
        {"email": email},
    ).fetchone()
    return row[0] if row and row[1] else None


def code_of(connection: Connection, email: str) -> str | None:
    """A code for choosing a password, for a day; a reader's account is made where there is none. None where that may not be.

    The password and the sessions that there are stay until the code is used; an earlier code ends.
    """
    name = may_choose(connection, email)
    if name is None:
        return None
    token = secrets.token_urlsafe(32)
    connection.execute(
        "insert into platform.people (email, name, role, nodes, made_by, invitation_sha256, invitation_until)"
        " values (%s, %s, 'reader', '{}', 'the person', %s, clock_timestamp() + interval '1 day') on conflict (email) do update"
        " set invitation_sha256 = excluded.invitation_sha256, invitation_until = excluded.invitation_until",
        [email, name, _digest(token)],
    )
    return token


def accept(connection: Connection, token: str, password: str) -> str:
    """Choose a password with an invitation, which is used up then; the address. Ends every session. Raises BadSignIn."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadSignIn(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.")
    row = connection.execute(
        "select email from platform.people where invitation_sha256 = %s and invitation_until > clock_timestamp()"
        " and disabled_at is null for update",
        [_digest(token)],
    ).fetchone()
    if row is None:
        raise BadSignIn("This invitation was used, or is too old. Ask your node manager for another.")
    connection.execute(
        "update platform.people set password = %s, invitation_sha256 = null, invitation_until = null where email = %s",
        [hashed(password), row[0]],
    )
    connection.execute("delete from platform.sign_ins where email = %s", [row[0]])
    return row[0]


def sign_in(connection: Connection, email: str, password: str, hours: float, client: str = "") -> str:
    """The token of a new session. Raises BadSignIn.

    After ten failures for an address from one place it waits a quarter of an hour; from all places together, after a hundred.
    """
    email = email.strip().lower()[:254]
    digest, place = _digest(email), _digest(client)
    connection.execute("set local lock_timeout = '3s'")
    lock_for(connection, SIGN_IN_LOCKS, email)
    connection.execute("delete from platform.failed_sign_ins where at < clock_timestamp() - interval '1 day'")
    failed = connection.execute(
        "select count(*) filter (where client_sha256 = %s), count(*) from platform.failed_sign_ins"
        " where email_sha256 = %s and at > clock_timestamp() - make_interval(mins => %s)",
        [place, digest, FAILURE_MINUTES],
    ).fetchone()
    assert failed is not None
    if failed[0] >= MOST_FAILURES or failed[1] >= 10 * MOST_FAILURES:
        raise BadSignIn(f"Too many attempts. Wait {FAILURE_MINUTES} minutes.")
    row = connection.execute(
        "select password from platform.people where email = %s and disabled_at is null", [email]
    ).fetchone()
    if not opens(row[0] if row else None, password[:LONGEST_PASSWORD]):
        connection.execute(
            "insert into platform.failed_sign_ins (email_sha256, client_sha256) values (%s, %s)", [digest, place]
        )
        connection.commit()
        raise BadSignIn("This address and password do not belong together.")
    connection.execute("delete from platform.failed_sign_ins where email_sha256 = %s", [digest])
    connection.execute("delete from platform.sign_ins where until < clock_timestamp()")
    token = secrets.token_urlsafe(32)
    connection.execute(
        "insert into platform.sign_ins (token_sha256, email, until) values (%s, %s, clock_timestamp() + make_interval(secs => %s))",
        [_digest(token), email, hours * 3600],
    )
    return token


def sign_out(connection: Connection, token: str) -> None:
    """End a session. Safe to repeat."""
    connection.execute("delete from platform.sign_ins where token_sha256 = %s", [_digest(token)])


def of_session(connection: Connection, token: str | None) -> Person | None:
    """Whose session it is, while it lasts and the account does."""
    if not token:
        return None
    row = connection.execute(
        "select p.email, p.name, p.role, p.nodes from platform.sign_ins s join platform.people p using (email)"
        " where s.token_sha256 = %s and s.until > clock_timestamp() and p.disabled_at is null",
        [_digest(token)],
    ).fetchone()
    return Person(row[0], row[1], row[2], tuple(row[3])) if row else None


def disable(connection: Connection, email: str) -> bool:
    """End an account and its sessions; False where there is none. Safe to repeat."""
    email = email.strip().lower()
    connection.execute("delete from platform.sign_ins where email = %s", [email])
    found = connection.execute(
        "update platform.people set disabled_at = coalesce(disabled_at, clock_timestamp()), invitation_sha256 = null where email = %s",
        [email],
    )
    return bool(found.rowcount)


def everybody(connection: Connection) -> list[tuple[str, str, str, list[str], str]]:
    """(address, name, role, nodes, how the account stands)."""
    return connection.execute(
        "select email, name, role, nodes, case when disabled_at is not null then 'disabled' when password is null then"
        " case when invitation_until > clock_timestamp() then 'invited' else 'invitation too old' end else 'active' end"
        " from platform.people order by role, email"
    ).fetchall()


def hashed(password: str) -> str:
    """A password as it is kept: how it was hashed, salt, hash."""
    salt = secrets.token_bytes(16)
    return "$".join(["scrypt", *map(str, _SCRYPT), _text(salt), _text(_scrypt(password, salt, *_SCRYPT))])


@functools.cache
def _nobody() -> str:
    return hashed(secrets.token_hex(8))


def opens(kept: str | None, password: str) -> bool:
    """Whether a password is the one that was kept; takes as long where there is none."""
    _, log_n, r, p, salt, digest = (kept or _nobody()).split("$")
    found = _scrypt(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest)) and kept is not None


def form_token(session: str) -> str:
    """What a form of a session carries: it is known to pages of the session only."""
    return hmac.new(session.encode(), b"form", hashlib.sha256).hexdigest()


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    memory = 128 * 2**log_n * r * 2 + 2**20
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=memory, dklen=32)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
