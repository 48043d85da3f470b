"""Fixes of what is loaded: what they change, what follows from that, and how they are taken back.

Belongs here: everything between a list of fixes as it was read and the upper tables. Does not belong here: reading the list
(``files/fixes.py``), the steps as Dagster runs them (``loading/fixes.py``), who may apply one (``tracker/fixing.py``).
"""
