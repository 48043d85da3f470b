"""Mails: what is written, to whom, and that each goes out once.

Belongs here: the outbox, its sender, the notices and their words. Does not belong here: when something happened that is told (``follow/``).
"""
