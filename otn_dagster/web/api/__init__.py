"""Machines with keys: pushing records and reading them, by this platform's protocol, ERDDAP's and Opendatasoft's.

Belongs here: HTTP of programs. Does not belong here: pages (``site/``), what records mean (``otn_dagster/live``).
"""
