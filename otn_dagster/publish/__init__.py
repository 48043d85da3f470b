"""What other systems read: the discovery, erddap and geoserver summaries."""
