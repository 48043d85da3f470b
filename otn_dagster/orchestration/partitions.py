"""By what Dagster divides the platform's work: submissions, push dates, streams, live datasets.

Belongs here: partition definitions. Does not belong here: which keys there are when (``sensors/``).

A push is one partition, whatever its projects: as partitions of their own, two thousand projects cost a push 370 CPU seconds of Dagster's
events. What became of each project is a table of the push.
"""

import datetime as dt

import dagster as dg

from otn_dagster import calendar
from otn_dagster.node import NodeConfig
from otn_dagster.telemetry.submissions import KINDS

# One partition a received file, and one set of them for each kind: an asset never shows files of another kind as missing.
submissions = {kind: dg.DynamicPartitionsDefinition(name=f"{kind}_submissions") for kind in KINDS}

# Static, so that a fresh clone knows them; to the end of next year, so that every redeploy refreshes them in time.
push_dates = dg.StaticPartitionsDefinition(
    calendar.push_dates(NodeConfig().settings.pushes, dt.datetime.now(dt.UTC).date())
)
live_datasets = dg.DynamicPartitionsDefinition(name="live_datasets")
streams = dg.DynamicPartitionsDefinition(name="streams")
