"""Ocean streams: asked for at their source, ingested into stores that are never torn, checked, described, read."""
