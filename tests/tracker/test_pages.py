"""What people see: the board, an item, a push, a project; in every form."""

from tests.support.node import PAST_PUSH
from tests.support.site import Site


def test_pages_show_what_happened(site: Site):
    ada = site.person("ada@example.org", "analyst")
    board = ada.get("/tracker")
    assert board.status_code == 200, board.text
    for path in (
        "/tracker/items/1",
        "/tracker/items/4",
        "/tracker/items/4/rows",
        f"/tracker/pushes/{PAST_PUSH}",
        "/tracker/pushes",
        "/tracker/projects",
        "/tracker/projects/HFX",
        "/tracker/outbox",
        "/tracker/outbox/1",
        "/tracker?q=x&state=published",
    ):
        page = ada.get(path)
        assert page.status_code == 200, (path, page.text)
    for path in (
        "/tracker",
        "/tracker/items/1",
        "/tracker/items/4/rows",
        f"/tracker/pushes/{PAST_PUSH}",
        "/tracker/pushes",
        "/tracker/projects",
        "/tracker/outbox",
    ):
        for form in ("json", "csv", "xlsx"):
            assert ada.get(path, params={"format": form}).status_code == 200, (path, form)
