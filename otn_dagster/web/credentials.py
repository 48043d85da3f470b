"""Keys and sessions that were looked up a moment ago.

Belongs here: remembering them for some seconds. Does not belong here: whether they are good (``live/keys.py``, ``tracker/people.py``).
"""

import time

from otn_dagster.live import keys
from otn_dagster.live.keys import Key
from otn_dagster.web.answers import Refused
from otn_dagster.web.doors import Doors

KEY_SECONDS = 5.0
MOST_SESSIONS = 10_000


class Keys:
    """Keys by their ids; what is known is some seconds old, and the log looks again."""

    def __init__(self, doors: Doors):
        """``doors`` to look them up."""
        self._doors = doors
        self._known: dict[str, tuple[Key | None, float]] = {}

    async def of(self, token: str) -> Key:
        """The live key of a token; raises Refused."""
        parts = keys.split(token)
        if parts is None:
            raise Refused("bad_key")
        kid, secret = parts
        known = self._known.get(kid)
        if known is None or known[1] < time.monotonic():
            found = await self._doors.query(lambda connection: keys.find(connection, kid))
            known = (found, time.monotonic() + KEY_SECONDS)
            if found is not None:  # what strangers make up is not remembered
                self._known[kid] = known
        key = known[0]
        if key is None or not keys.opens(key, secret) or key.state != "live":
            raise Refused("bad_key")
        return key

    def forget(self) -> None:
        """Look every key up again."""
        self._known.clear()


class Sessions:
    """Sessions that were good a moment ago: who has one does not share what strangers may ask."""

    def __init__(self) -> None:
        """None is known."""
        self._good: dict[str, float] = {}

    def knows(self, token: str | None) -> bool:
        """Whether it was good."""
        return token is not None and self._good.get(token, 0.0) > time.monotonic()

    def remember(self, token: str | None, good: bool) -> None:
        """What was found when it was looked up."""
        if token and good:
            if len(self._good) > MOST_SESSIONS:
                self._good.clear()
            self._good[token] = time.monotonic() + KEY_SECONDS
        elif token:
            self._good.pop(token, None)
