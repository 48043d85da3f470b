"""The event log with kept connections: what is written is what Dagster's own log reads, and the other way round."""

from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

from otn_dagster.orchestration.event_log import MOST_KEPT, KeptConnections

files = dg.DynamicPartitionsDefinition(name="files")


@dg.asset(partitions_def=files, check_specs=[dg.AssetCheckSpec("whole", asset="loaded")])
def loaded(context: dg.AssetExecutionContext):
    yield dg.AssetCheckResult(passed=context.partition_key != "b")
    yield dg.MaterializeResult(metadata={"rows": 3})


def test_dagster_s_own_log_reads_the_same_from_the_same_files(tmp_path: Path):
    place = {"module": "otn_dagster.orchestration.event_log", "class": "KeptConnections"}
    overrides = {"event_log_storage": {**place, "config": {"base_dir": str(tmp_path / "runs")}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides) as instance:
        assert isinstance(instance.event_log_storage, KeptConnections)
        keys = [*"abcdefghijkl"]
        instance.add_dynamic_partitions("files", keys)
        assert len(keys) > MOST_KEPT  # more logs of runs than connections stay open
        runs = [dg.materialize([loaded], instance=instance, partition_key=key).run_id for key in keys]
        mine = instance.event_log_storage
        own = SqliteEventLogStorage(str(tmp_path / "runs"))
        for run in runs:
            assert mine.get_logs_for_run(run) == own.get_logs_for_run(run) != []
        for storage in (mine, own):
            assert storage.get_materialized_partitions(dg.AssetKey("loaded")) == set(keys)
            failed = storage.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("loaded"), "whole"), 100)
            assert sum(record.status.value == "FAILED" for record in failed) == 1
        own.wipe()
        assert mine.get_materialized_partitions(dg.AssetKey("loaded")) == set()
        own.dispose()
