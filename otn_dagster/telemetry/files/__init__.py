"""What people send, as typed rows: a file's text to rows, findings and refusals. Nothing here knows a database.

Belongs here: formats, templates, cells, the verdict on every row and column of a file. Does not belong here: what is loaded already
(``loading/``, ``checks/``).

The rules behind it: a cell is judged by what it decides. What identifies, places or times a row may refuse it; what decides a tag's
window marks it for a person; everything else never costs a row. Rows of the container = loaded + repeated + refused + not data, and
every column that holds anything is read, kept or named.
"""
