"""Typed rows into tables: each step of loading takes what the step before left, in one transaction.

Belongs here: what is written where, and what becomes of what was there. Does not belong here: reading files (``files/``), judging what
was loaded (``checks/``).
"""
