"""Every check that a notebook makes today, under the id it has in the field: P (project), T (tags), R (deployments),
D (detections), E (events), S (live schemas and the network as a whole).

Belongs here: judging what was loaded. Does not belong here: refusing single rows while reading (``tags.py``,
``deployments.py``, ``vue.py``), though many checks list what was refused there.
"""
