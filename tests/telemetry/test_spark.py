"""The same expressions on Spark give the same rows: how a larger network runs a push."""

import shutil

import polars as pl
import pytest

from benchmarks.network import make_snapshot
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import matching

pytestmark = pytest.mark.end_to_end
if shutil.which("java") is None:
    pytest.skip("there is no Java on this machine", allow_module_level=True)
pyspark = pytest.importorskip("pyspark", reason="the dependency group spark is not installed (uv sync --group spark)")


def test_spark_says_what_duckdb_says(tmp_path):
    import ibis
    from pyspark.sql import SparkSession

    snapshot = make_snapshot(tmp_path / "snapshot", 20_000)
    matches = matching.match(snapshot, tmp_path)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    try:
        spark = ibis.pyspark.connect(session)
        places = spark.read_parquet(str(matches.folder / "receiver_timeline.parquet"))
        owners = spark.read_parquet(str(matches.folder / "transmitter_timeline.parquet"))
        detections = spark.read_parquet(str(snapshot.folder / "detections"))
        found = rules.matched(rules.min_lag(rules.assigned(rules.clean(detections), places)), owners, [])
        ours = pl.from_arrow(found.to_pyarrow())
    finally:
        session.stop()
    expected = pl.read_parquet(matches.buckets)
    assert isinstance(ours, pl.DataFrame)
    ours = ours.select(expected.columns).cast(expected.schema).sort("det_key")  # type: ignore[arg-type]
    assert ours.equals(expected.sort("det_key"))
