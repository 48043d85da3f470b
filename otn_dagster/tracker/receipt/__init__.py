"""A file is received: compared with everything that came before, then registered, superseding, or quarantined.

Belongs here: recognising what came before in another dress. Does not belong here: reading and loading a file (``telemetry/``).
"""
