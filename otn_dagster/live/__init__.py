"""Live datasets: records that instruments push and files that are fetched when they change.

Belongs here: what is pushed, checked, logged, applied, replayed and read. Does not belong here: HTTP (``otn_dagster/web``).

A push is checked and written to the log; the log is the truth. A run applies the log to the dataset's table, from the
table's own watermark. Everything in the table can be made again from the log.
"""
