"""Sending what is due, by one sender at a time.

Belongs here: the dialogue with the mail server and what each way in which it can end means. Does not belong here: rows (``outbox.py``).

``sending`` is committed before the dialogue begins, so a sender that dies leaves a mark: the next one finds it and calls the mail
uncertain. Until the last dot of a message is sent, a failure is certain: the server may not deliver what it did not get whole
(RFC 5321, 4.1.1.4). From then until its answer, nobody knows.
"""

import contextlib
import dataclasses
import datetime as dt
import os
import re
import smtplib
import ssl
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr

import psycopg

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.database import OUTBOX_LOCK
from otn_dagster.tracker import people
from otn_dagster.tracker.configuration import MailSettings
from otn_dagster.tracker.mail import outbox
from otn_dagster.tracker.mail.outbox import Mail

SEVEN_BIT = SMTP.clone(cte_type="7bit")
FIRST_PAUSE, LONGEST_PAUSE = dt.timedelta(seconds=30), dt.timedelta(hours=6)
MOST_ATTEMPTS = 20
SECONDS_FOR_AN_ANSWER = 60.0


class NotDelivered(Exception):
    """Certainly not delivered; ``permanent`` where trying again does not help."""

    def __init__(self, text: str, permanent: bool = False):
        """``text`` is what the server said, or what happened."""
        self.permanent = permanent
        super().__init__(text)


class Uncertain(Exception):
    """The message went out whole, and no answer came."""


def send_due(
    settings: Settings, mail: MailSettings, progress: Callable[[str], None] = lambda text: None
) -> Counter[str]:
    """Send what is due; how many mails became what. Returns at once where another sender is at work.

    Safe to repeat and to kill at any moment: no mail is sent twice, and none is marked sent that was not.
    """
    done: Counter[str] = Counter()
    with psycopg.connect(database.ready(database.database_url(settings)), autocommit=True) as connection:
        row = connection.execute("select pg_try_advisory_lock(%s)", [OUTBOX_LOCK]).fetchone()
        if not row or not row[0]:
            return done
        done["uncertain"] += _abandoned(connection)
        server = _Server(mail)
        try:
            while (one := _claim(connection, mail)) is not None:
                state, what, pause = _send(server, mail, one)
                with connection.transaction():
                    outbox.set_state(connection, one.mail_no, state, what, pause)
                done[state] += 1
                progress(f"{one.recipient}: {state}")
        finally:
            server.quit()
    return done


def _abandoned(connection: psycopg.Connection) -> int:
    """Mails that a sender left in the middle: it held the lock that is held now, so it is dead."""
    rows = connection.execute("select mail_no from platform.outbox where state = 'sending'").fetchall()
    for (mail_no,) in rows:
        with connection.transaction():
            outbox.set_state(connection, mail_no, "uncertain", "its sender died while sending")
    return len(rows)


def _claim(connection: psycopg.Connection, mail: MailSettings) -> Mail | None:
    """The next mail that is due, marked before anything is said to a server."""
    with connection.transaction():
        full = mail.mode in ("live", "allowlist") and outbox.sent_today(connection) >= mail.most_a_day
        row = connection.execute(
            "select mail_no from platform.outbox where state = 'pending' and next_at <= clock_timestamp()"
            " and (not %s or event = any(%s)) order by mail_no limit 1 for update",
            [full, list(outbox.UNCOUNTED)],
        ).fetchone()
        if row is None:
            return None
        outbox.set_state(connection, row[0], "sending", f"attempt in mode {mail.mode}")
        one = outbox.get(connection, row[0])
        return _with_code(connection, one) if one.event == "password" and mail.mode in ("live", "allowlist") else one


def _with_code(connection: psycopg.Connection, one: Mail) -> Mail:
    """A mail with a fresh code in its place: it is kept nowhere but as a hash."""
    code = people.code_of(connection, one.recipient) or "(no code: the account has ended)"
    return dataclasses.replace(
        one, body_text=one.body_text.replace(outbox.CODE, code), body_html=one.body_html.replace(outbox.CODE, code)
    )


def _send(server: "_Server", mail: MailSettings, one: Mail) -> tuple[str, str, dt.timedelta | None]:
    """(state, what happened, pause before the next attempt)."""
    if mail.mode == "off":
        return "off", "mails are switched off", None
    if mail.mode == "simulate" or (mail.mode == "allowlist" and not is_allowed(mail, one.recipient)):
        return "simulated", "simulated" if mail.mode == "simulate" else "not on the allowlist", None
    try:
        message = message_of(mail, one)
    except (ValueError, UnicodeError) as error:
        return "failed", f"no mail can be made of it: {error}", None
    try:
        return "sent", server.deliver(message, [one.recipient, *_copies(mail, one)]), None
    except Uncertain as doubt:
        return "uncertain", str(doubt), None
    except NotDelivered as failure:
        if failure.permanent or one.attempts >= MOST_ATTEMPTS:
            return "failed", str(failure), None
        return "pending", str(failure), min(FIRST_PAUSE * 2 ** (one.attempts - 1), LONGEST_PAUSE)


def is_allowed(mail: MailSettings, recipient: str) -> bool:
    """Whether an address, or its whole domain, is on the allowlist."""
    allowed = {entry.lower() for entry in mail.allowlist}
    return recipient.lower() in allowed or f"@{recipient.lower().rpartition('@')[2]}" in allowed


def _copies(mail: MailSettings, one: Mail) -> list[str]:
    """Who gets a copy; of a mail with a code nobody does."""
    if one.event == "password":
        return []
    return [address for address in mail.cc if mail.mode == "live" or is_allowed(mail, address)]


def message_of(mail: MailSettings, one: Mail) -> EmailMessage:
    """The mail as it goes out: text and HTML, an id that stays the same however often it is tried."""
    message = EmailMessage(policy=SMTP)
    message["From"] = mail.sender
    message["To"] = formataddr((one.recipient_name or "", one.recipient))
    if copies := _copies(mail, one):
        message["Cc"] = ", ".join(copies)
    message["Subject"] = one.title
    message["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    message["Message-ID"] = one.message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(one.body_text)
    message.add_alternative(one.body_html, subtype="html")
    return message


class _Server:
    """The link to the mail server: opened for the first mail, opened again after it broke."""

    def __init__(self, mail: MailSettings):
        self.mail = mail
        self.link: smtplib.SMTP | None = None

    def deliver(self, message: EmailMessage, recipients: list[str]) -> str:
        """What the server said when it took the message; raises NotDelivered or Uncertain."""
        try:
            link = self._open()
            self._expect(link.mail(self.mail.sender), 250)
            self._expect(link.rcpt(recipients[0]), 250, 251)
            for copy in recipients[1:]:  # a copy that is refused does not keep the mail from its reader
                link.rcpt(copy)
            self._expect(link.docmd("DATA"), 354)
            body = message.as_bytes(policy=SEVEN_BIT)
            link.send(re.sub(rb"(?m)^\.", b"..", body if body.endswith(b"\r\n") else body + b"\r\n"))
        except NotDelivered:
            self._reset()
            raise
        except UnicodeError as error:
            self.drop()
            raise NotDelivered(f"the address cannot be written: {error}", permanent=True) from error
        except (OSError, smtplib.SMTPException) as error:
            self.drop()
            raise NotDelivered(f"{type(error).__name__}: {error}") from error
        try:
            link.send(b".\r\n")
            code, text = link.getreply()
        except (OSError, smtplib.SMTPException) as error:
            self.drop()
            raise Uncertain(f"no answer to the message: {type(error).__name__}: {error}") from error
        if code == 250:
            return f"{code} {text.decode(errors='replace')}"[:200]
        self._reset()
        raise NotDelivered(f"{code} {text.decode(errors='replace')}"[:300], permanent=code >= 500)

    def _open(self) -> smtplib.SMTP:
        if self.link is None:
            link = smtplib.SMTP(self.mail.smtp_host, self.mail.smtp_port, timeout=SECONDS_FOR_AN_ANSWER)
            try:
                if self.mail.smtp_starttls:
                    link.starttls(context=ssl.create_default_context())
                link.ehlo_or_helo_if_needed()
                if user := os.environ.get("OTN_SMTP_USER"):
                    link.login(user, os.environ.get("OTN_SMTP_PASSWORD", ""))
            except Exception:
                link.close()
                raise
            self.link = link
        return self.link

    def _expect(self, reply: tuple[int, bytes], *codes: int) -> None:
        if reply[0] not in codes:
            text = f"{reply[0]} {reply[1].decode(errors='replace')}"[:300]
            raise NotDelivered(text, permanent=reply[0] >= 500)

    def _reset(self) -> None:
        try:
            if self.link:
                self.link.rset()
        except (OSError, smtplib.SMTPException):
            self.drop()

    def drop(self) -> None:
        """Close without a word."""
        if self.link:
            self.link.close()
        self.link = None

    def quit(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if self.link:
                self.link.quit()
        self.link = None
