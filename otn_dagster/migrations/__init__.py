"""Migrations of the node database, run by Alembic: one revision a file, its SQL beside it.

Tables of projects inherit from the parents made here, so a column that is added to a parent appears in every project.
"""
