"""``python -m otn_dagster.cli``: the command ``otn-dagster``."""

import sys

from otn_dagster.cli.main import command

sys.exit(command())
