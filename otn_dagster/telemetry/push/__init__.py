"""The push: a pure function of a frozen snapshot, from what is loaded to extracts, certificate and report.

Belongs here: freezing, verifying, matching, listing, writing, certifying, reporting. Does not belong here: loading (``loading/``), the
rules of matching (``rules.py``), in which order the steps run (``orchestration/pushing.py``).
"""
