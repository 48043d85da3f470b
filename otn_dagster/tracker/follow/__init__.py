"""What moves items: each module follows one kind of dataset from what happened to it.

Belongs here: from facts to moves. Does not belong here: how an item moves (``items.py``), what people do (``acting.py``).
"""
