"""What ``dagster dev`` and ``dg dev`` load."""

from otn_dagster.orchestration.build import build_defs

defs = build_defs()
