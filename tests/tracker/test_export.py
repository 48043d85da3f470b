"""Lists of datasets as files: odd contents harm nobody, and making them keeps nobody waiting."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.site import Site


def test_a_wide_sheet_and_a_header_that_is_a_formula_harm_nobody(tmp_path: Path):
    import csv
    import io

    from otn_dagster.telemetry.files.container import read_sheets
    from otn_dagster.telemetry.files.refusals import BadFile
    from otn_dagster.tracker import export

    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(["animal_id", "tag_type", "tag_model", *[f"c{n}" for n in range(600)]]) + "\n")
    with pytest.raises(BadFile, match="more than 500 columns"):
        read_sheets(wide)
    (header,) = csv.reader(io.StringIO(export.as_csv(["=cmd|'/C calc'!A0"], [])))
    assert header[0].startswith("'=")


def test_an_instrument_is_answered_while_somebody_exports(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Pages are made in threads of their own: health is answered in between."""
    import threading
    import time

    from otn_dagster.tracker import export

    def slow(*_: Any) -> bytes:
        time.sleep(1.5)
        return b"PK"

    monkeypatch.setattr(export, "as_xlsx", slow)
    ann = site.person("ann@example.net", "analyst")
    order: list[str] = []

    def exporting() -> None:
        ann.get("/tracker?format=xlsx")
        order.append("export")

    thread = threading.Thread(target=exporting)
    thread.start()
    time.sleep(0.3)
    assert site.visitor().get("/healthz").status_code == 200
    order.append("health")
    thread.join()
    assert order == ["health", "export"]
