"""The checks of a push's verification, over all projects at once.

Belongs here: one module for each thing that is looked at (schemas, animals, receivers, detections). Does not belong here: running them
(``push/verification.py``), checks of one submission (``checks/``).

Their ids are those of the field's checks that they make again over everything; S1 to S10 judge the live schemas.
"""
