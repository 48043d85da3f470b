"""Mails: one for each event and person, none twice, none marked sent that was not, every doubtful one listed."""

import dataclasses
import datetime as dt
import multiprocessing
import random
import time
from collections import Counter
from email.message import Message
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from otn_dagster.telemetry.push import extracts_list
from otn_dagster.tracker.configuration import MailSettings, TrackerSettings
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import notices, outbox, sending
from otn_dagster.tracker.mail.outbox import Draft
from tests.support.effort import times
from tests.support.mailserver import Inbox, MailServer, Moody
from tests.support.node import PAST_PUSH, Node
from tests.support.sender import send_for_ever

MAILS, KILLS = times(150), times(12)


def draft(number: int, **more: Any) -> Draft:
    return Draft(
        **{
            "event": "test",
            "subject": f"thing {number}",
            "recipient": f"person{number}@example.org",
            "title": f"About thing {number}",
            "body_text": f"Thing {number}\n.\n..dots at the start, ünïcode\n",
            "body_html": "<p>thing</p>",
            **more,
        }
    )


def write(node: Node, *drafts: Draft, mode: str = "live") -> list[int]:
    with node.connect() as connection:
        return outbox.write(connection, drafts, mode)


def let_time_pass(node: Node) -> None:
    with node.connect() as connection:
        connection.execute("update platform.outbox set next_at = clock_timestamp() where state = 'pending'")


def send(node: Node, mail: MailServer | None = None, **settings: Any) -> Counter[str]:
    port = mail.port if mail else 1
    return sending.send_due(node.settings, MailSettings(**{"mode": "live", "smtp_port": port, **settings}))


def states(node: Node) -> dict[str, str]:
    return dict(node.rows("select message_id, state from platform.outbox"))


def test_a_sender_that_is_killed_again_and_again_sends_nothing_twice(node: Node):
    inbox, chance = Moody(refuses=0.05, drops=0.03), random.Random(2)
    drafts = [draft(number) for number in range(MAILS)]
    assert len(write(node, *drafts)) == MAILS and not write(node, *drafts)  # every one is written twice
    kills, processes = 0, multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.sender"])
    with MailServer(inbox) as server:
        end = time.monotonic() + 240
        while time.monotonic() < end and {"pending", "sending"} & set(states(node).values()):
            let_time_pass(node)
            hears, says = processes.Pipe()
            sender = processes.Process(target=send_for_ever, args=(node.settings, server.port, says), daemon=True)
            sender.start()
            assert hears.recv() == "ready"
            time.sleep(chance.random() * 0.25 if kills < KILLS else 1)
            kills += 1
            sender.kill()
            sender.join()
            time.sleep(0.05)  # its connection ends
        send(node, server)
        delivered, known = Counter(inbox.ids()), states(node)
    assert kills > 1
    assert max(delivered.values()) == 1, "delivered twice"
    sent = {number for number, state in known.items() if state == "sent"}
    doubtful = {number for number, state in known.items() if state == "uncertain"}
    assert sent <= set(delivered), "marked sent, but not delivered"
    assert set(delivered) - sent <= doubtful, "delivered, but not told"
    assert sent | doubtful == set(known) and len(known) == MAILS
    assert sent and doubtful
    with node.connect() as connection:
        assert {mail.message_id for mail in outbox.newest(connection, "uncertain")} == doubtful


def test_what_is_refused_for_now_is_tried_again_and_what_is_refused_for_good_is_not(node: Node):
    class Strict(Inbox):
        async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
            if address.startswith("person2"):
                return "550 no such person"
            envelope.rcpt_tos.append(address)
            return "250 ok"

    write(node, draft(1), draft(2))
    assert send(node) == Counter(pending=2, uncertain=0)  # nobody listens there
    assert send(node) == Counter(uncertain=0)  # the pause is not over
    let_time_pass(node)
    with MailServer(Strict()) as server:
        assert send(node, server) == Counter(sent=1, failed=1, uncertain=0)
        let_time_pass(node)
        assert send(node, server) == Counter(uncertain=0)
        message = server.inbox.messages[0]
    assert isinstance(message, Message)
    text, html = message.get_payload()  # type: ignore[misc]
    assert text.get_payload(decode=True).decode().replace("\r\n", "\n") == draft(1).body_text  # type: ignore[union-attr]
    assert html.get_content_type() == "text/html"
    assert node.value("select reason from platform.outbox where state = 'failed'").startswith("550")


@pytest.mark.parametrize(
    ("mode", "expected"), [("off", "off"), ("simulate", "simulated"), ("allowlist", "simulated"), ("live", "sent")]
)
def test_modes(node: Node, mode: str, expected: str):
    write(node, draft(1), draft(2, recipient="Boss@Allowed.org"), mode=mode)
    with MailServer() as server:
        send(node, server, mode=mode, allowlist=["@allowed.org"])
    by_person = dict(node.rows("select recipient, state from platform.outbox"))
    assert by_person["person1@example.org"] == expected
    assert by_person["Boss@Allowed.org"] == ("sent" if mode == "allowlist" else expected)
    assert len(server.inbox.messages) == {"off": 0, "simulate": 0, "allowlist": 1, "live": 2}[mode]


def test_a_person_decides_what_is_doubtful(node: Node):
    write(node, draft(1), draft(2))
    with node.connect() as connection:
        for number in (1, 2):
            outbox.set_state(connection, number, "uncertain", "its sender died")
    with node.connect() as connection:
        assert outbox.decide(connection, 1, "delivered", "ada", "it is in the log") == "sent"
        assert outbox.decide(connection, 2, "again", "ada", "it is not in the log") == "pending"
        with pytest.raises(ValueError, match="mail 1 is sent"):
            outbox.decide(connection, 1, "again", "ada", "once more")
    with MailServer() as server:
        assert send(node, server)["sent"] == 1
    assert [message["To"] for message in server.inbox.messages] == ["person2@example.org"]


def test_no_more_than_so_many_go_out_in_a_day(node: Node):
    write(node, *[draft(number) for number in range(5)])
    with MailServer() as server:
        assert send(node, server, most_a_day=3)["sent"] == 3
        assert send(node, server, most_a_day=3)["sent"] == 0
    assert sorted(states(node).values()) == ["pending", "pending", "sent", "sent", "sent"]


def test_an_address_that_is_none_harms_nobody_else(node: Node):
    write(
        node, draft(1, recipient="evil@example.org\nBcc: all@example.org"), draft(2, recipient="ü@ex ample"), draft(3)
    )
    with MailServer() as server:
        assert send(node, server) == Counter(failed=2, sent=1, uncertain=0)
    assert len(server.inbox.messages) == 1


def listed() -> pl.DataFrame:
    rows = [("HFX", 2024, "q"), ("HFX", 2024, "u")]
    columns = {
        "collectioncode": [r[0] for r in rows],
        "year": [r[1] for r in rows],
        "extract_type": [r[2] for r in rows],
    }
    counts = {name: [1, 1] for name in ("added", "changed", "withdrawn")}
    names = [f"{code},{year},{letter}" for code, year, letter in rows]
    return pl.DataFrame({"detection_extract": names, **columns, **counts})


def test_one_digest_for_each_person_and_push_in_the_node_s_own_words(pushed: Node, configured: Path, tmp_path: Path):
    own = configured / "templates" / "mail"
    own.mkdir(parents=True)
    (own / "extracts.title.txt").write_text("Ahoy, {{ name }}: {{ projects | length }} project(s)")
    settings = TrackerSettings(mail=MailSettings(mode="live", roles=["Principal Investigator", "Technician"]))
    with pushed.connect() as connection:
        people = {email for email, _ in notices.people_of(connection, "HFX", settings.mail.roles)}
        first = notices.extracts(connection, settings, "2027-02-18", listed(), tmp_path)
        assert not notices.extracts(connection, settings, "2027-02-18", listed(), tmp_path)
        mails = [outbox.get(connection, number) for number in first]
    assert {mail.recipient for mail in mails} == people and people
    assert all(mail.title.startswith("Ahoy, ") and "qualified 2024" in mail.body_text for mail in mails)
    assert pushed.value("select count(*) from platform.outbox_extracts where push_date = '2027-02-18'") == 2 * len(
        people
    )


def test_extracts_are_completed_only_by_what_the_outbox_did(pushed: Node):
    def marks() -> tuple[int, int]:
        with pushed.connect() as connection:
            done = completion.complete(connection, PAST_PUSH, Actor("test"))
        return done.notified, done.completed

    extracts = pushed.value("select count(*) from obis.detection_extracts_list")
    assert pushed.value("select count(*) from platform.outbox where state = 'given_up'") > 0
    assert marks() == (0, extracts)  # somebody said that nobody needs them; nobody was told
    with pushed.connect() as connection:
        for mail in outbox.newest(connection):
            outbox.decide(connection, mail.mail_no, "again", "ada", "the simulation looked well")
        assert not completion.due(connection)  # they are pending
    assert marks() == (0, 0)
    with MailServer() as server:
        send(pushed, server)
    with pushed.connect() as connection:
        assert [date for date, _ in completion.due(connection)] == [PAST_PUSH]
    assert marks() == (extracts, extracts)
    with pushed.connect() as connection:
        assert not completion.due(connection)
        outbox.set_state(connection, 1, "uncertain", "it turned out otherwise")
    assert marks()[1] < extracts


def test_a_failure_is_told_once_for_each_cause_and_day(node: Node):
    settings = TrackerSettings(mail=MailSettings(mode="live", operators=["ops@example.org", "Ada@example.org"]))
    with node.connect() as connection:
        for day in (1, 1, 2):
            for cause in ("step: BadFile", "step: OSError", "step: BadFile"):
                notices.failure(connection, settings, "load_tags", cause, "text <b>", "run-1", dt.date(2026, 11, day))
    assert node.value("select count(*) from platform.outbox") == 2 * 2 * 2
    assert "text &lt;b&gt;" in node.value("select body_html from platform.outbox limit 1")


def test_doing_a_step_of_a_push_again_keeps_who_was_told(pushed: Node):
    import polars as pl

    with pushed.connect() as connection:
        connection.execute("update obis.detection_extracts_list set completed = true, notified_at = now()")
    folder = pushed.settings.pushes_folder / PAST_PUSH
    listed = pl.read_parquet(folder / extracts_list.LIST_FILE)
    with pushed.connect() as connection:
        extracts_list.record_list(connection, listed, PAST_PUSH, {})
    assert pushed.value("select bool_and(completed and notified_at is not null) from obis.detection_extracts_list")


def test_the_day_s_number_of_mails_starts_no_runs_and_keeps_no_trouble_from_operators(node: Node):
    settings = TrackerSettings(mail=MailSettings(mode="live", operators=["ops@example.org"], most_a_day=1))
    with node.connect() as connection:
        for number in range(3):
            outbox.write(
                connection, [outbox.Draft("extracts", str(number), f"p{number}@example.org", "t", "b", "b")], "live"
            )
    with MailServer() as server:
        from otn_dagster.tracker.mail import sending

        mail = settings.mail.model_copy(update={"smtp_port": server.port})
        assert sending.send_due(node.settings, mail)["sent"] == 1
        with node.connect() as connection:
            assert outbox.due(connection, "live", 1) == 0 and outbox.due(connection, "simulate", 1) == 2
            import datetime as dt

            notices.failure(connection, settings, "job", "cause", "text", "run", dt.date(2026, 11, 21))
        assert sending.send_due(node.settings, mail)["sent"] == 1
    assert [message["To"] for message in server.inbox.messages] == ["p0@example.org", "ops@example.org"]


def test_copies_go_to_nobody_who_is_not_allowed():
    from otn_dagster.tracker.mail import sending

    mail = MailSettings(mode="allowlist", allowlist=["@example.org"], cc=["a@example.org", "b@elsewhere.net"])
    one = outbox.Mail(**dict.fromkeys(outbox.Mail.__dataclass_fields__, None) | {"event": "extracts"})  # type: ignore[arg-type]
    assert sending._copies(mail, one) == ["a@example.org"]
    assert sending._copies(mail, dataclasses.replace(one, event="password")) == []


def test_a_push_is_completed_again_when_a_mail_ends_otherwise(pushed: Node):
    with pushed.connect() as connection:
        assert completion.due(connection) == []
        outbox.decide(connection, outbox.newest(connection)[0].mail_no, "again", "ada", "it was only simulated")
        assert completion.due(connection) == []  # it is pending
        outbox.set_state(connection, outbox.newest(connection)[0].mail_no, "sent", "250")
    with pushed.connect() as connection:
        assert [date for date, _ in completion.due(connection)] == [PAST_PUSH]
