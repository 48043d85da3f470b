"""Acoustic telemetry: tags, receivers and detections, from the received file to the delivered extract."""
