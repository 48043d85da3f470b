"""What signed-in people do by forms: actions on an item, decisions about doubtful mails.

Belongs here: forms to actions. Does not belong here: what an action does (``tracker/acting.py``, ``tracker/outbox.py``).
"""

import re

from psycopg import Connection
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.explained import Unusable
from otn_dagster.tracker import acting, mending, release
from otn_dagster.tracker.items import NotAllowed
from otn_dagster.tracker.mail import outbox
from otn_dagster.web.site.pages import item_of, push_date_of
from otn_dagster.web.site.visits import Stop, Visit, page, redirect

LONGEST_REASON = 2_000


@page
async def act(visit: Visit) -> Response:
    """POST an action on an item."""
    person = visit.must_sign_in()
    fields = await visit.form_fields()
    item = await item_of(visit)
    if not person.acts_for(item["node"]):
        raise Stop(403, f"You do not act for the node of {item['title']}.")
    version = fields.get("version", "")
    if not re.fullmatch(r"[0-9]{1,9}", version):
        raise Stop(400, "The form lacks the version of what you looked at.")
    reason, choice = fields.get("reason", "")[:LONGEST_REASON], fields.get("choice", "")
    settings, action = visit.settings, visit.request.path_params["action"]

    def ask(connection: Connection) -> None:
        acting.act(connection, settings, item["item_id"], action, person.email, reason, choice, int(version))

    try:
        await visit.ask(ask)
    except NotAllowed as refused:
        raise Stop(409, str(refused)) from None
    return redirect(f"/tracker/items/{item['item_id']}")


@page
async def decide_mail(visit: Visit) -> Response:
    """POST a decision about a mail, by an analyst."""
    person = visit.must_sign_in()
    fields = await visit.form_fields()
    if person.role != "analyst":
        raise Stop(403, "The outbox is for analysts.")
    number, why = visit.request.path_params["mail_no"], fields.get("reason", "")[:LONGEST_REASON]
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise Stop(404, "There is no such mail.")
    if len(why) < acting.SHORTEST_REASON:
        raise Stop(409, "Say why: the history keeps it.")

    def ask(connection: Connection) -> None:
        outbox.decide(connection, int(number), fields.get("choice", ""), person.email, why)

    try:
        await visit.ask(ask)
    except ValueError as refused:
        raise Stop(409, str(refused)) from None
    return redirect(f"/tracker/outbox/{int(number)}")


@page
async def release_push(visit: Visit) -> Response:
    """POST the release of a push, by an analyst."""
    person, date = visit.must_sign_in(), push_date_of(visit)
    fields = await visit.form_fields()
    if person.role != "analyst":
        raise Stop(403, "A push is released by an analyst.")
    why = fields.get("reason", "")[:LONGEST_REASON]
    if len(why) < acting.SHORTEST_REASON:
        raise Stop(409, "Say what you looked at: the history keeps it.")
    settings = visit.service.settings
    try:
        await visit.ask(lambda connection: release.release(connection, settings, date, person.email, why))
    except Unusable as refused:
        raise Stop(409, str(refused)) from None
    return redirect(f"/tracker/pushes/{date}")


@page
async def revise_push(visit: Visit) -> Response:
    """POST that a push's snapshot is made again, by an analyst."""
    person, date = visit.must_sign_in(), push_date_of(visit)
    fields = await visit.form_fields()
    if person.role != "analyst":
        raise Stop(403, "A push is mended by an analyst.")
    why = fields.get("reason", "")[:LONGEST_REASON]
    if len(why) < acting.SHORTEST_REASON:
        raise Stop(409, "Say why: the snapshot keeps it.")
    settings = visit.service.settings
    try:
        await visit.ask(lambda connection: mending.revise(connection, settings, date, person.email, why))
    except Unusable as refused:
        raise Stop(409, str(refused)) from None
    return redirect(f"/tracker/pushes/{date}")


routes = [
    Route("/tracker/pushes/{push_date}/revise", revise_push, methods=["POST"]),
    Route("/tracker/pushes/{push_date}/release", release_push, methods=["POST"]),
    Route("/tracker/items/{item_id}/{action}", act, methods=["POST"]),
    Route("/tracker/outbox/{mail_no}/decide", decide_mail, methods=["POST"]),
]
