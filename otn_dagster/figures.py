"""Figures as small PNG pictures, and pictures as Dagster's pages show them.

Belongs here: making and encoding figures. Does not belong here: drawing (``telemetry/plots.py``, ``streams/pictures.py``).
"""

import base64
import io
from typing import Any

BLUE, GREY, ORANGE, RED = "#1f6f9c", "#9aa5ad", "#d9822b", "#b3382c"


def figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches, and its axes."""
    # Imported here, and without pyplot: half a second that only the steps with a picture pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made, made.subplots(rows, squeeze=rows == 1)


def png(made: Any) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def markdown(picture: bytes, title: str) -> str:
    """A picture as Dagster's metadata shows it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture).decode()})"
