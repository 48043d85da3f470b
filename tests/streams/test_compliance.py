"""A slice of a store keeps CF and ACDD, by the community's own checker."""

from pathlib import Path

import pytest

from otn_dagster.streams import reading
from tests.support.harvest import CTD, Harvest, every


@pytest.mark.end_to_end
@pytest.mark.parametrize("standard", ["cf:1.11", "acdd:1.3"])
def test_a_slice_passes_the_compliance_checker(harvest: Harvest, tmp_path: Path, standard: str) -> None:
    checker = pytest.importorskip("compliance_checker.runner", reason="compliance-checker is not installed")
    harvest.add(CTD, {1: every(60, 100)})
    harvest.run(CTD.key)
    slice_ = reading.open_version(harvest.harvester.store(CTD.key), "2026-10-01T00:10", "2026-10-01T01:00")
    path = tmp_path / "slice.nc"
    reading.to_netcdf(slice_, path)
    checker.CheckSuite.load_all_available_checkers()
    report = tmp_path / "report.txt"
    passed, errors = checker.ComplianceChecker.run_checker(
        str(path), [standard], verbose=0, criteria="lenient", output_filename=str(report), output_format="text"
    )
    assert not errors and passed, report.read_text()
