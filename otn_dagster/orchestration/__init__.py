"""Everything of the package that imports Dagster: what it builds, its resources, jobs, partitions, and runs without a server.

Belongs here: Dagster. Does not belong here: what an asset or a sensor does (``assets/``, ``sensors/``), any rule of a domain.
"""

import sys

from otn_dagster.config import PROJECT_ROOT, shipped

# In a wheel assets/ and sensors/ lie inside the package, so that no two names as common stand among everybody's modules.
if shipped() != PROJECT_ROOT and str(shipped()) not in sys.path:
    sys.path.append(str(shipped()))
