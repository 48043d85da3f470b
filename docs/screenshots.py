"""Takes the pictures of the UI that the documents show: `uv run python docs/screenshots.py`, beside a running demo.

Belongs here: which pages are shown and how. Does not belong here: starting the demo (`otn-dagster demo`).
"""

import argparse
import secrets
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.servers import server_of
from otn_dagster.tracker import people

HERE = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
PAGES = {
    "lineage-loading": "/locations/otn_dagster/asset-groups/loading/lineage",
    "lineage-push": "/locations/otn_dagster/asset-groups/push/lineage",
    "checks": "/assets/raw_tags?view=checks",
    "stream": "/assets/stream_store?view=partitions&partition=CE02SHBP-LJ01D-06-CTDBPN106-streamed-ctdbp_no_sample",
    "stream-qc": "/assets/stream_qc?view=partitions&partition=CE02SHBP-LJ01D-06-CTDBPN106-streamed-ctdbp_no_sample",
    "live": "/assets/live_dataset?view=partitions&partition=demo-buoy",
    "report": "/assets/push_report?partition=SHRK%7C2026-10-15",
}

WEB_PAGES = {
    "tracker": "/tracker",
    "tracker-item": "/tracker/items/9",
    "tracker-push": "/tracker/pushes/2026-10-15",
}

# Pages on which a plot is opened, and which of them.
PLOTS = {"stream": 0, "stream-qc": 1, "live": 0}


def take(page: Page, address: str, name: str, path: str) -> None:
    """One picture, when the page has come to rest."""
    page.goto(address + path)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)
    if name in PLOTS:
        page.get_by_text("[Show Markdown]").nth(PLOTS[name]).click()
        page.wait_for_timeout(1500)
    page.screenshot(path=HERE / f"{name}.png")


def sign_in(page: Page, address: str) -> None:
    """An analyst's account of its own, by an invitation."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        code = people.invite(connection, "ada@example.org", "Ada", "analyst", [], "screenshots")
    password = secrets.token_urlsafe(16)
    page.goto(f"{address}/tracker/invitation")
    page.get_by_label("Code of the invitation").fill(code)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Again").fill(password)
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Address").fill("ada@example.org")
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
        browser.close()


if __name__ == "__main__":
    main()
