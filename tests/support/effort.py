"""How hard tests of chance try: ``OTN_EFFORT=10`` is ten times as many kills and examples as a change has to pass."""

import os

EFFORT = float(os.environ.get("OTN_EFFORT", "1"))


def times(usual: int) -> int:
    """So many, by the effort."""
    return max(1, round(usual * EFFORT))
