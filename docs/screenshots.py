"""Takes the pictures of the UI that the documents show: `uv run python docs/screenshots.py`, beside a running demo.

Belongs here: which pages are shown and how. Does not belong here: starting the demo (`otn-dagster demo`).
"""

import argparse
import re
import secrets
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.demo import files
from otn_dagster.demo.network import make_network
from otn_dagster.servers import server_of
from otn_dagster.tracker import people

HERE = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
PAGES = {
    "lineage-loading": "/locations/otn_dagster/asset-groups/loading/lineage",
    "stream-qc": "/assets/stream_qc?view=partitions&partition=CE02SHBP-LJ01D-06-CTDBPN106-streamed-ctdbp_no_sample",
    "live": "/assets/live_dataset?view=partitions&partition=demo-buoy",
    "report": "/assets/push_report",
}

WEB_PAGES = {
    "tracker": "/tracker",
}

# Pages on which a plot is opened, and which of them.
PLOTS = {"stream-qc": 1, "live": 0, "report": 0}


def take(page: Page, address: str, name: str, path: str) -> None:
    """One picture, when the page has come to rest."""
    page.goto(address + path)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)
    if name in PLOTS:
        page.get_by_text("[Show Markdown]").nth(PLOTS[name]).click()
        page.wait_for_timeout(1500)
    page.screenshot(path=HERE / f"{name}.png")


def submit(page: Page, address: str) -> None:
    """A sheet as somebody might send it, dropped on the page: its findings, and what it would change."""
    network = make_network(7)
    header = list(files.TAG_HEADER)
    rows = [files._tag_cells(tag) for tag in network.tags if tag.project.code == "SHRK"][:8]
    odd = {
        "AGE": "Unknown",
        "LENGTH (m)": "tall",
        "EST_TAG_LIFE": "long",
        "WEIGHT (kg)": "~12 kg",
        "HARVEST_DATE": "soon",
    }
    for row, (name, cell) in zip(rows, odd.items(), strict=False):
        row[header.index(name)] = cell
    rows[-1][header.index("TAG_ID_CODE")] = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "SHRK_tags_from_Toni.csv"
        path.write_bytes(files.sheet_csv(header, rows))
        page.goto(f"{address}/tracker/submit")
        page.get_by_label("Drop a file here").set_input_files(path)
        page.wait_for_url(re.compile("/tracker/submit/.{22}"))
        page.goto(f"{page.url}?kind=tags&project=SHRK")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=HERE / "submit.png")


def sign_in(page: Page, address: str) -> None:
    """An analyst's account of its own, by an invitation."""
    settings, email = load_settings(), f"ada.{secrets.token_hex(3)}@example.org"  # a new one each time
    with server_of(settings), database.connect(settings) as connection:
        code = people.invite(connection, email, "Ada", "analyst", [], "screenshots")
    password = secrets.token_urlsafe(16)
    page.goto(f"{address}/tracker/invitation")
    page.get_by_label("Code of the invitation").fill(code)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Again").fill(password)
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Address").fill(email)
    page.get_by_label("Password").fill(password)
    page.locator("main").get_by_role("button", name="Sign in").click()


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="http://127.0.0.1:3000")
    parser.add_argument("--web", default="http://127.0.0.1:3001")
    parser.add_argument("--only", nargs="*", help="only these pictures")
    arguments = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        for name, path in PAGES.items():
            if arguments.only and name not in arguments.only:
                continue
            take(page, arguments.address, name, path)
        wanted = {name: path for name, path in WEB_PAGES.items() if not arguments.only or name in arguments.only}
        if wanted:
            sign_in(page, arguments.web)
        for name, path in wanted.items():
            take(page, arguments.web, name, path)
        if not arguments.only or "submit" in arguments.only:
            if not wanted:
                sign_in(page, arguments.web)
            submit(page, arguments.web)
        browser.close()


if __name__ == "__main__":
    main()
