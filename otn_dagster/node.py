"""The whole configuration of a node as one value: read once a run, tick or command, and handed down.

Belongs here: which files there are. Does not belong here: what stands in them (``config.py`` and the ``configuration.py`` of each domain).
"""

from functools import cached_property
from pathlib import Path

from otn_dagster.config import Settings, configuration_folder, load_settings
from otn_dagster.live.configuration import LiveDatasets, load_live
from otn_dagster.streams.configuration import StreamSettings, load_streams
from otn_dagster.tracker.configuration import TrackerSettings, load_tracker


class NodeConfig:
    """The five parts of a node's configuration. Each is read when it is first asked for, and then stays as it was read.

    Raises BadConfiguration naming file, key, what was found and what was expected.
    """

    def __init__(self, folder: Path | None = None):
        """``folder`` is that of the yaml files; without it, ``OTN_CONFIG`` or the project's own."""
        self.folder = folder or configuration_folder()

    @cached_property
    def settings(self) -> Settings:
        """Nodes and the push calendar, the data root and the database."""
        return load_settings(self.folder)

    @cached_property
    def streams(self) -> StreamSettings:
        """All streams, and what they share."""
        return load_streams(self.folder)

    @cached_property
    def live(self) -> LiveDatasets:
        """All live datasets."""
        return load_live(self.folder / "live")

    @cached_property
    def tracker(self) -> TrackerSettings:
        """Access, second looks, quarantine, mail."""
        return load_tracker(self.folder)
