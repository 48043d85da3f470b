"""Parameters of a request, each checked; what nobody knows is refused, so that a misspelt one is not silently off.

Belongs here: query strings and the header of the key. Does not belong here: bodies.
"""

import re
from collections.abc import Mapping, Sequence

from starlette.requests import Request

from otn_dagster.web.answers import Refused


def token_of(request: Request) -> str | None:
    """The key in the header. A key in the URL is not looked at: URLs are written down everywhere."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def parameters(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters, each once; raises Refused."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            expected = ", ".join(known) or "none"
            raise Refused("bad_parameter", f"found the parameter {name[:60]!r}, expected some of: {expected}")
        if name in found:
            raise Refused("bad_parameter", f"the parameter {name} is given more than once")
        found[name] = value
    return found


def one_of(given: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    """A word."""
    value = given.get(name, default)
    if value not in choices:
        raise Refused("bad_parameter", f"{name}: found {value[:60]!r}, expected one of {', '.join(choices)}")
    return value


def flag(given: Mapping[str, str], name: str) -> bool:
    """Yes or no."""
    return one_of(given, name, ("1", "true", "0", "false"), "0") in ("1", "true")


def whole(text: str, most: int = 10**18) -> int:
    """A number in a path; what is none is not there."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) >= most:
        raise Refused("not_found")
    return int(text)


def number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number."""
    value = given.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
        raise Refused(
            "bad_parameter", f"{name}: found {value[:60]!r}, expected a whole number from {least:,} to {most:,}"
        )
    return int(value)
