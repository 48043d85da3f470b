"""Where streams come from: each source is a small class with the same four verbs."""

from otn_dagster.config import Settings
from otn_dagster.streams.configuration import Stream, StreamSettings
from otn_dagster.streams.sources.base import Source


def source_of(settings: Settings, streams: StreamSettings, stream: Stream) -> Source:
    """The source of a stream, by its configuration."""
    if stream.source.kind == "ooinet":
        from otn_dagster.streams.sources.ooinet import OOINet

        return OOINet(stream.source.url or streams.ooinet_url)
    if stream.source.kind == "erddap":
        from otn_dagster.streams.sources.erddap import Erddap

        return Erddap(stream.source.url or "", stream.source.dataset or "")
    from otn_dagster.streams.sources.folder import Folder

    return Folder(
        stream.source.url or str(settings.data / "incoming-streams" / stream.key), stream.source.pattern, streams.store
    )
