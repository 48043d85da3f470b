"""The web service: the push API, what old clients know of it, and reading.

Belongs here: HTTP in and out. Does not belong here: what records mean (``otn_dagster/live``). It does not import Dagster.
"""
