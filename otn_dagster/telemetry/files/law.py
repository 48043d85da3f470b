"""The law of a file, in words: its rows and what became of each.

Belongs here: the one sentence. Does not belong here: counting.
"""

from collections.abc import Mapping
from typing import Any

OUTCOMES = ("loaded", "usable", "repeated", "refused", "waiting")


def sentence(law: Mapping[str, Any]) -> str:
    """``424 rows of the file = 420 loaded + 2 repeated + 1 refused + 1 not data (header 1)``; empty where nothing was counted."""
    if "rows of the file" not in law:
        return ""
    parts = [f"{law[name] or 0:,} {name}" for name in OUTCOMES if name in law and (law[name] or name != "waiting")]
    aside = law.get("not data") or {}
    why = ", ".join(f"{reason} {rows:,}" for reason, rows in aside.items())
    parts.append(f"{sum(aside.values()):,} not data" + (f" ({why})" if why else ""))
    return f"{law['rows of the file']:,} rows of the file = " + " + ".join(parts)
