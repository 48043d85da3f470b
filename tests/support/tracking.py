"""Files as they are received, and what people do with their items."""

import csv
import io
from typing import Any

from otn_dagster.orchestration import headless
from otn_dagster.tracker import acting, board, items, release
from otn_dagster.tracker.configuration import load_tracker
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.items import Actor, Item
from otn_dagster.tracker.mail import outbox, sending
from otn_dagster.tracker.receipt import receipt
from tests.support.node import Node
from tests.support.sheets import tag_sheet

ROWS = 500


def sheet() -> list[list[Any]]:
    """Header and rows of a tag sheet, as csv cells."""
    rows = tag_sheet(
        *[
            {
                "ANIMAL_ID": f"A{n}",
                "TAG_SERIAL_NUMBER": str(10_000 + n),
                "TAG_ID_CODE": str(n),
                "RELEASE_LATITUDE": round(44 + n / 7000, 6),
                "UTC_RELEASE_DATE_TIME": f"2024-06-{1 + n % 28:02d}T12:{n % 60:02d}:00",
                "LENGTH (m)": 1 + n / 100,
            }
            for n in range(ROWS)
        ]
    )
    return list(csv.reader(io.StringIO(rows.decode())))


HEAD = next(n for n, row in enumerate(sheet()) if "ANIMAL_ID" in "".join(row).upper())


def as_csv(rows: list[list[Any]], end: str = "\n") -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    return out.getvalue().encode()


def part(rows: list[list[Any]], some: slice) -> list[list[Any]]:
    return [*rows[: HEAD + 1], *rows[HEAD + 1 :][some]]


def receive(node: Node, name: str, content: bytes, code: str = "HFX", kind: str = "tags") -> items.Item:
    node.drop(f"OTN/{code}/{kind}", name, content)
    receipt.look(node.settings, node.config.tracker.quarantine, {}, wait_for_stillness=False)
    with node.connect() as connection:
        found = [
            row["item_id"]
            for row in board.items(connection, board.ALL, board.Filter(collection=code, kind=kind), None)
            if row["title"] == name
        ]
        return items.get(connection, max(found))


def load(node: Node) -> None:
    headless.load(node.config, settle_seconds=0.1)


def item_of(node: Node, title: str) -> Item:
    with node.connect() as connection:
        (number,) = [
            r["item_id"] for r in board.items(connection, board.ALL, board.Filter(), None) if r["title"] == title
        ]
        return items.get(connection, number)


def way(node: Node, item: Item) -> list[str | None]:
    with node.connect() as connection:
        return [line.to_state for line in items.history(connection, item.item_id) if line.what == "move"]


def act(node: Node, title: str, action: str, choice: str = "", person: str = "ada@example.org") -> Item:
    with node.connect() as connection:
        return acting.act(connection, load_tracker(), item_of(node, title).item_id, action, person, "because", choice)


def finish(node: Node, push_date: str) -> None:
    """Somebody releases a push; its mails are simulated, and waived by name."""
    with node.connect() as connection:
        release.release(connection, node.settings, push_date, "ada@example.org", "looked at it")
    sending.send_due(node.settings, load_tracker().mail)
    with node.connect() as connection:
        outbox.waive(connection, push_date, "ada@example.org", "a test")
        completion.complete(connection, push_date, Actor.person("ada@example.org"))
