"""How often sensors look.

Belongs here: the seconds between two looks. Does not belong here: what a sensor looks at.
"""

from otn_dagster.node import NodeConfig

LOOK_SECONDS = (
    NodeConfig().settings.look_seconds
)  # read when the definitions are loaded, as everything about sensors is
