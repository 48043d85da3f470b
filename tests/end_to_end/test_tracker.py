"""The whole life of a real submission, from a folder to its people, by the sensors alone, watched in a real browser.

Pictures of each stage are kept in ``test-results/tracker/``.
"""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otn_dagster.config import PROJECT_ROOT
from otn_dagster.servers import Dagster, WebService
from otn_dagster.telemetry.push import snapshot, verification
from otn_dagster.tracker import board, flows, items, people
from tests.support.browser import CHROMIUM, ask, wait_for
from tests.support.mailserver import MailServer
from tests.support.node import PAST_PUSH, Node
from tests.support.sheets import tag_sheet
from tests.support.site import PASSWORD, configure

pytestmark = pytest.mark.end_to_end
PICTURES = PROJECT_ROOT / "test-results" / "tracker"
GHOST = {
    "ANIMAL_ID": "Ghost",
    "TAG_CODE_SPACE": "A69-9001",
    "TAG_ID_CODE": "62368",
    "UTC_RELEASE_DATE_TIME": "2022-01-01T00:00:00",
}
MATCHED = 3050  # detections of blue sharks in the published extract


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def platform(
    node: Node, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Node, Dagster, WebService, MailServer]]:
    """Webserver, daemon, web service and mail server, with a clock that stands before a cut-off."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}}\n"
        "run_monitoring: {enabled: true, poll_interval_seconds: 2, start_timeout_seconds: 180}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    node.clock("2026-10-01T00:00:00")
    web_port, dagster_port = free_port(), free_port()
    with MailServer() as mail:
        pushes = configured / "pushes.yaml"
        pushes.write_text(pushes.read_text(encoding="utf-8").replace("stops: []", "stops: [T9]"), encoding="utf-8")
        configure(
            configured,
            web_url=f"http://127.0.0.1:{web_port}",
            dagster_url=f"http://127.0.0.1:{dagster_port}",
            mail={"mode": "live", "smtp_port": mail.port},
        )
        with (
            WebService(web_port, tmp_path / "web.log") as web,
            Dagster(dagster_port, tmp_path / "dagster.log") as dagster,
        ):
            web.wait_until_ready()
            dagster.wait_until_ready()
            yield node, dagster, web, mail


def invite(node: Node, email: str, role: str) -> str:
    with node.connect() as connection:
        return people.invite(connection, email, email.split("@")[0], role, [], "test")


def states(node: Node) -> dict[str, str]:
    with node.connect() as connection:
        return {row["title"]: row["state"] for row in board.items(connection, board.ALL, board.Filter(), None)}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_whole_life_of_a_real_submission(
    platform: tuple[Node, Dagster, WebService, MailServer], real: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import Page, sync_playwright

    node, dagster, web, mail = platform
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    node.drop_tree(real / "hfx-nsbs-2022" / "incoming")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1400, "height": 900})

        def keep(name: str, where: Page = page) -> None:
            where.screenshot(path=PICTURES / f"{name}.png", full_page=True)

        sign_up(page, web.url, invite(node, "ada@example.org", "analyst"), "ada@example.org")

        wait_for(
            lambda: states(node) and set(states(node).values()) == {"verified"}, 420, "loading, as the tracker sees it"
        )
        assert len(states(node)) == 5
        page.goto(f"{web.url}/tracker")
        page.get_by_text("HFX_VUE_export_2022.csv").wait_for()
        keep("1-board-verified")

        # A sheet about which somebody has doubts: it is loaded, held on its page, and stays out of the push. Another has a code that is
        # a shark's of NSBS: nobody sees that before the verification.
        node.drop("OTN/HFX/tags", "doubtful.csv", tag_sheet({}))
        node.drop("OTN/HFX/tags", "ghost.csv", tag_sheet(GHOST))
        wait_for(
            lambda: {states(node).get(f"{name}.csv") for name in ("doubtful", "ghost")} == {"verified"},
            240,
            "both sheets",
        )
        page.reload()
        page.get_by_role("link", name="doubtful.csv").click()
        form = page.locator("form", has=page.get_by_role("button", name="Hold"))
        form.get_by_label("because it").select_option("waiting_data_files")
        form.get_by_label("why").fill("is this tag really theirs?")
        form.get_by_role("button", name="Hold").click()
        page.get_by_text("is this tag really theirs?").first.wait_for()

        node.clock("2026-10-17T00:00:00")
        assert launch_as_the_schedule_does(dagster)
        wait_for(lambda: stopped_by(node) == ["T9"], 240, "the verification, which stops the push")
        page.goto(f"{web.url}/tracker/pushes/{PAST_PUSH}/verification")
        page.get_by_text("It stops the push.").wait_for()
        keep("2-verification")
        number = send_a_fix(page, web.url, tmp_path)
        wait_for(lambda: item(node, number).hold == "second_person", 120, "the list of fixes, shown")
        colleague = browser.new_context().new_page()
        sign_up(colleague, web.url, invite(node, "bob@example.org", "analyst"), "bob@example.org")
        colleague.goto(f"{web.url}/tracker/items/{number}")
        colleague.get_by_text("437 detection(s) change, of 1 animal(s): NSBS-1393342-2021-08-10").wait_for()
        keep("2-fix", colleague)
        answer = colleague.locator("form", has=colleague.get_by_role("button", name="Answer"))
        answer.get_by_label("why").fill("it was never tagged")
        answer.get_by_role("button", name="Answer").click()
        wait_for(lambda: item(node, number).state == "verified", 120, "the fix, applied")
        page.goto(f"{web.url}/tracker/pushes/{PAST_PUSH}")
        page.get_by_text("not in the snapshot yet").wait_for()
        mend = page.locator("form", has=page.get_by_role("button", name="Make its snapshot again"))
        mend.get_by_label("why").fill("HFX-Ghost is no animal")
        mend.get_by_role("button", name="Make its snapshot again").click()
        page.get_by_text("asked for by ada@example.org: HFX-Ghost is no animal").wait_for()
        written = "select count(*) from platform.outbox where event = 'extracts' and state = 'waiting'"
        wait_for(lambda: node.value(written) == 4, 600, "the push, to the mails that wait")
        assert not mail.inbox.messages
        assert states(node).pop("doubtful.csv") == "verified" and set(states(node).values()) == {
            "extracted",
            "verified",
        }
        made = snapshot.read(node.settings, PAST_PUSH)
        assert made.revision == 2 and "HFX-Ghost" not in made.table("animals")["catalognumber"]
        page.goto(f"{web.url}/tracker/pushes/{PAST_PUSH}")
        page.get_by_text("This push waits for its release.").wait_for()
        page.get_by_text("it is on hold (waits for data files): is this tag really theirs?").first.wait_for()
        keep("2-push-before-its-release")
        page.get_by_label("What you looked at").fill("the counts are those of June")
        page.get_by_role("button", name="Release").click()
        page.get_by_text("Released by ada@example.org").wait_for()
        published = {**dict.fromkeys(states(node), "published"), "doubtful.csv": "verified"}
        wait_for(lambda: states(node) == published, 300, "the mails, to the last")

        page.goto(f"{web.url}/tracker")
        keep("3-board-published")
        page.get_by_role("link", name="HFX_VUE_export_2022.csv").click()
        page.get_by_role("heading", name="History").wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        keep("4-item")
        text = page.locator("main").inner_text()
        for word in (*flows.STATES["submission"][:6], "load_detections", "push_3_match", "snapshot"):
            assert word in text, word
        page.goto(f"{web.url}/tracker/pushes/{PAST_PUSH}")
        page.get_by_text("laws kept").wait_for()
        keep("5-push")
        page.goto(f"{web.url}/tracker/outbox")
        keep("6-outbox")

        assert_every_step_has_its_evidence(node)
        assert_people_were_told(node, mail)

        # A researcher follows the link of the mail, signs in, and takes the extract home.
        body = mail.inbox.to("niels.shark@example.org")[0].get_payload()[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
        link = re.findall(r"https?://\S+nsbs_matched\S+\.zip", body)[0]
        other = browser.new_context(accept_downloads=True)
        phone = other.new_page()
        phone.set_viewport_size({"width": 390, "height": 844})
        phone.goto(f"{web.url}/tracker/password")  # as the mail says: nobody made an account by hand
        phone.get_by_label("Address").fill("niels.shark@example.org")
        phone.get_by_role("button", name="Send me a link").click()
        phone.get_by_text("a mail with a link is on its way").wait_for()
        wait_for(lambda: len(mail.inbox.to("niels.shark@example.org")) == 2, 120, "the mail with the link")
        letter = mail.inbox.to("niels.shark@example.org")[1].get_payload()[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
        phone.goto(re.findall(r"https?://\S+/tracker/invitation#\S+", letter)[0])
        phone.get_by_label("Password", exact=True).fill(PASSWORD)
        phone.get_by_label("Again").fill(PASSWORD)
        phone.get_by_role("button", name="Choose").click()
        phone.goto(link)  # not signed in yet: the sign-in page leads back
        phone.get_by_label("Address").fill("niels.shark@example.org")
        phone.get_by_label("Password").fill(PASSWORD)
        with phone.expect_download() as download:
            phone.locator("main").get_by_role("button", name="Sign in").click()
        assert download.value.suggested_filename == "nsbs_matched_detections_2022.zip"
        assert Path(download.value.path()).stat().st_size > 10_000
        phone.goto(f"{web.url}/tracker/projects/NSBS")
        phone.get_by_role("heading", name="NSBS").wait_for()
        keep("7-project-on-a-phone", phone)
        phone.goto(f"{web.url}/tracker")
        keep("8-board-on-a-phone", phone)
        assert phone.get_by_text("HFX_VUE_export_2022.csv").count() == 0  # another project's
        browser.close()


def sign_up(page: Any, url: str, code: str, address: str) -> None:
    """Choose a password by a code, and sign in."""
    page.goto(f"{url}/tracker/invitation")
    page.get_by_label("Code of the invitation").fill(code)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Again").fill(PASSWORD)
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Datasets").wait_for()


def send_a_fix(page: Any, url: str, folder: Path) -> int:
    """An analyst drops a list of fixes on the page, reads what it would change, and submits it; the number of its item."""
    path = folder / "fix.csv"
    path.write_text("catalognumber,delete_reason\nHFX-Ghost,no such animal was tagged\n")
    page.goto(f"{url}/tracker/submit")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_text("It can be loaded").wait_for()
    page.locator("select[name=project]").select_option("HFX")
    page.get_by_role("button", name="Look again").click()
    page.get_by_text("437 detection(s) change").wait_for()
    page.get_by_role("button", name="Submit to HFX as fix").click()
    page.get_by_text("The file is submitted; its number is").wait_for()
    return int(re.findall(r"/items/(\d+)", page.url)[0])


def stopped_by(node: Node) -> list[str]:
    folder = snapshot.push_folder(node.settings, PAST_PUSH)
    return [one["id"] for one in verification.read(folder) if one["stops"] and one["verdict"] == "failed"]


def item(node: Node, number: int) -> items.Item:
    with node.connect() as connection:
        return items.get(connection, number)


def launch_as_the_schedule_does(dagster: Dagster) -> bool:
    """Cron ticks come on their own day only: the run that ``push_at_cutoff`` asks for is launched in its place."""
    tags: list[dict[str, Any]] = [
        {"key": "dagster/partition", "value": PAST_PUSH},
        {"key": "otn/push", "value": "automatic"},
        {"key": "otn/push_date", "value": PAST_PUSH},
    ]
    selector = 'repositoryName: "__repository__", repositoryLocationName: "otn_dagster", jobName: "push_1_freeze"'
    text = ", ".join(f'{{key: "{tag["key"]}", value: "{tag["value"]}"}}' for tag in tags)
    query = f"mutation {{launchRun(executionParams: {{selector: {{{selector}}}, executionMetadata: {{tags: [{text}]}}}}) {{__typename}}}}"
    return ask(dagster.url, query)["launchRun"]["__typename"] == "LaunchRunSuccess"


def assert_every_step_has_its_evidence(node: Node) -> None:
    with node.connect() as connection:
        for row in board.items(connection, board.ALL, board.Filter(), None):
            if row["hold"]:
                continue
            lines = [line for line in items.history(connection, row["item_id"]) if line.what == "move"]
            assert [line.to_state for line in lines] == flows.STATES["submission"][:6], row["title"]
            for line in lines:
                step = flows.step(row["flow"], line.from_state, str(line.to_state))
                assert (
                    step
                    and line.actor
                    and all(line.evidence.get(name) not in (None, "", {}, []) for name in step.needs)
                )
            if row["kind"] == "detections":
                matched = next(line for line in lines if line.to_state == "matched").evidence["detections"]
                assert matched["matched"] == MATCHED, json.dumps(matched)


def assert_people_were_told(node: Node, mail: MailServer) -> None:
    told = sorted(str(message["To"]) for message in mail.inbox.messages)
    assert len(told) == len(set(told)) == 4, told  # a principal investigator and a point of contact of each project
    assert len(set(mail.inbox.ids())) == 4
    open_extracts = node.value(
        "select count(*) from obis.detection_extracts_list where not completed or notified_at is null"
    )
    assert open_extracts == 0
