"""A push is mended while it is under way: a correction is let in, and its snapshot is made again, before it is released."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.orchestration import headless
from otn_dagster.telemetry.push import matching, snapshot
from otn_dagster.telemetry.push.extracts_list import LIST_FILE
from otn_dagster.tracker import mending
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.once import Once, copied, made_once
from tests.support.sheets import fill, tag_sheet, vue
from tests.support.site import configure
from tests.support.tracking import act, finish, item_of, load

SECOND = {"ANIMAL_ID": "B", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "2"}


def _begin(node: Node) -> None:
    node.clock("2026-10-01T00:00:00")
    fill(node)
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"UTC_RELEASE_DATE_TIME": "2024-07-02T12:00:00"}))
    load(node)
    node.clock("2026-10-17T00:00:00")


@pytest.fixture(scope="module")
def begun(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, _begin)


@pytest.fixture
def under_way(
    begun: Once, server: EmbeddedServer, home: Path, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
    """A node whose cut-off is past; a wrong release date costs two of its three matches."""
    return copied(begun, server, tmp_path, monkeypatch)


def key_of(node: Node, name: str) -> str:
    return node.value(
        "select submission_key from platform.submissions where file_name = %s order by submission_no desc limit 1", name
    )


def matches_of(node: Node, date: str = PAST_PUSH) -> int:
    return matching.read(snapshot.push_folder(node.settings, date)).counts.get("matched_own", 0)


def drop_late(node: Node) -> None:
    """The correction, and two files that are the next push's."""
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    node.drop("OTN/HFX/tags", "second.csv", tag_sheet(SECOND))
    node.drop("OTN/HFX/detections", "b.csv", vue(*[f"2024-07-1{d}T10:00:00 VR2W-111 A69-1602-200" for d in (1, 2)]))
    load(node)


def mend(node: Node) -> snapshot.Snapshot:
    with node.connect() as connection:
        assert mending.admit(connection, key_of(node, "tags.csv"), "ada", "the release date was wrong") == PAST_PUSH
    load(node)
    assert (item_of_newest(node).state, str(item_of_newest(node).push_date)) == ("verified", PAST_PUSH)
    with node.connect() as connection:
        for _ in range(2):  # asked twice before it was made, it is one
            assert mending.revise(connection, node.settings, PAST_PUSH, "ada", "tags.csv was corrected") == 2
    outcome = headless.push(node.settings, PAST_PUSH)
    assert outcome.good, outcome.error
    return snapshot.read(node.settings, PAST_PUSH)


def item_of_newest(node: Node):
    from otn_dagster.tracker import flows, items

    with node.connect() as connection:
        found = items.find(connection, flows.SUBMISSION, key_of(node, "tags.csv"))
    assert found
    return found


@pytest.mark.parametrize("unlocked", [False, True], ids=["while loading is locked", "after it was opened again"])
def test_a_correction_is_let_in_and_nothing_else(under_way: Node, unlocked: bool):
    """Late files are the next push's, whether they still wait or were loaded since."""
    if unlocked:
        assert headless.push(under_way.settings, PAST_PUSH).good and matches_of(under_way) == 1
        first = bytes_of(under_way, "snapshot")
        certificate = (snapshot.push_folder(under_way.settings, PAST_PUSH) / "certificate.json").read_bytes()
        drop_late(under_way)
        assert item_of(under_way, "second.csv").state == "verified"
    else:
        drop_late(under_way)
        with under_way.connect() as connection:
            snapshot.freeze(connection, under_way.settings, PAST_PUSH)
        first, certificate = bytes_of(under_way, "snapshot"), None
        assert item_of(under_way, "second.csv").hold == "push_freeze"
    frozen = mend(under_way)
    folder = snapshot.push_folder(under_way.settings, PAST_PUSH)
    assert frozen.revision == 2 and frozen.manifest["revisions"][0]["why"] == "tags.csv was corrected"
    assert frozen.table("tags")["catalognumber"].to_list() == ["HFX-A"] and frozen.rows == 3 == matches_of(under_way)
    assert json.loads((folder / "certificate.json").read_text())["revision"] == 2 and frozen.left_out == []
    assert bytes_of(under_way, "snapshot.1") == first
    if certificate:
        assert (folder / "certificate.1.json").read_bytes() == certificate
    (added,) = pl.read_parquet(folder / LIST_FILE)["added"].to_list()
    assert added == 3
    bodies = under_way.rows("select body_text, state from platform.outbox where event = 'extracts'")
    assert bodies and {state for _, state in bodies} == {"waiting"} and all("3" in text for text, _ in bodies)
    finish(under_way, PAST_PUSH)
    assert item_of_newest(under_way).state == "published"
    load(under_way)
    under_way.clock("2027-02-20T00:00:00")
    assert headless.push(under_way.settings, NEXT_PUSH).good and matches_of(under_way, NEXT_PUSH) == 5


def bytes_of(node: Node, name: str) -> dict[str, bytes]:
    folder = snapshot.push_folder(node.settings, PAST_PUSH) / name
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_that_is_killed_while_a_revision_takes_its_place_is_caught_up_with(under_way: Node):
    assert headless.push(under_way.settings, PAST_PUSH).good
    drop_late(under_way)
    done = mend(under_way)
    folder = snapshot.push_folder(under_way.settings, PAST_PUSH)
    whole = bytes_of(under_way, "snapshot")
    done.folder.rename(folder / ".snapshot-old-1")  # killed between the two renames
    with under_way.connect() as connection:
        again = snapshot.freeze(connection, under_way.settings, PAST_PUSH)
    assert again.revision == 2 and bytes_of(under_way, "snapshot") == whole


def test_what_cannot_be_mended_is_said(under_way: Node):
    drop_late(under_way)
    with under_way.connect() as connection:
        with pytest.raises(Unusable, match="is not frozen"):
            mending.revise(connection, under_way.settings, PAST_PUSH, "ada", "x")
        with pytest.raises(Unknown, match="no submission 'nope'"):
            mending.admit(connection, "nope", "ada", "x")
        with pytest.raises(Unusable, match="loaded before its cut-off"):
            mending.admit(connection, key_of(under_way, "a.csv"), "ada", "x")
    assert headless.push(under_way.settings, PAST_PUSH).good
    finish(under_way, PAST_PUSH)
    with under_way.connect() as connection:
        with pytest.raises(Unusable, match="is released"):
            mending.revise(connection, under_way.settings, PAST_PUSH, "ada", "x")
        with pytest.raises(Unusable, match="no push of OTN is under way"):
            mending.admit(connection, key_of(under_way, "tags.csv"), "ada", "x")


def test_what_a_revision_leaves_out_is_published_with_the_push_that_has_it(under_way: Node):
    assert headless.push(under_way.settings, PAST_PUSH).good
    assert item_of(under_way, "a.csv").state == "extracted"
    act(under_way, "a.csv", "hold", "needs_researcher")
    with under_way.connect() as connection:
        mending.revise(connection, under_way.settings, PAST_PUSH, "ada", "a.csv is doubtful")
    assert headless.push(under_way.settings, PAST_PUSH).good
    assert snapshot.read(under_way.settings, PAST_PUSH).rows == 0
    finish(under_way, PAST_PUSH)
    act(under_way, "a.csv", "release")
    under_way.catch_up()
    assert (item_of(under_way, "a.csv").state, str(item_of(under_way, "a.csv").push_date)) == ("verified", NEXT_PUSH)


def test_what_is_let_in_has_the_rows_that_a_late_file_gave_first(under_way: Node):
    assert headless.push(under_way.settings, PAST_PUSH).good
    for name, days in (("late.csv", (11, 12)), ("needed.csv", (11, 12, 15))):
        under_way.drop(
            "OTN/HFX/detections", name, vue(*[f"2024-07-{day}T10:00:00 VR2W-111 A69-1602-100" for day in days])
        )
        load(under_way)
    with under_way.connect() as connection:
        mending.admit(connection, key_of(under_way, "needed.csv"), "ada", "the push needs it")
        mending.revise(connection, under_way.settings, PAST_PUSH, "ada", "needed.csv")
    assert headless.push(under_way.settings, PAST_PUSH).good
    assert snapshot.read(under_way.settings, PAST_PUSH).rows == 6


def test_what_was_signed_after_the_cut_off_is_let_in(under_way: Node, configured: Path):
    """It was loaded in time and left out, because nobody had signed it."""
    configure(configured, second_look=["tags"])
    with under_way.connect() as connection:
        connection.execute("delete from platform.drill_clock")
    under_way.clock("2026-10-02T00:00:00")
    under_way.drop("OTN/HFX/tags", "second.csv", tag_sheet(SECOND))
    load(under_way)
    under_way.clock("2026-10-17T00:00:00")
    assert headless.push(under_way.settings, PAST_PUSH).good
    assert [one["file_name"] for one in snapshot.read(under_way.settings, PAST_PUSH).left_out] == ["second.csv"]
    with under_way.connect() as connection:
        assert mending.admit(connection, key_of(under_way, "second.csv"), "ada", "it is signed now") == PAST_PUSH
    act(under_way, "second.csv", "sign", person="ben@example.org")
    under_way.catch_up()
    assert (item_of(under_way, "second.csv").state, str(item_of(under_way, "second.csv").push_date)) == (
        "verified",
        PAST_PUSH,
    )
    with under_way.connect() as connection:
        mending.revise(connection, under_way.settings, PAST_PUSH, "ada", "second.csv was signed")
    assert headless.push(under_way.settings, PAST_PUSH).good
    assert (
        snapshot.read(under_way.settings, PAST_PUSH).left_out == []
        and item_of(under_way, "second.csv").state == "extracted"
    )
