"""Everything of the package that imports Dagster: what it builds, its resources, partitions, jobs, and runs without a server.

Does not belong here: any step itself. Assets and sensors stand at the top level, in ``assets/`` and ``sensors/``.
"""
