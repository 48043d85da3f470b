"""People with sessions: pages, actions, downloads, signing in.

Belongs here: HTML and forms. Does not belong here: programs with keys (``api/``), who may see what (``tracker/board.py``).
"""
