"""Which files one run of loading takes.

Belongs here: cutting what waits into runs. Does not belong here: what waits (``tracker/receipt``), what a run does (``loading.py``).

Dagster's runs cover a range of partitions, in the order in which these were made known. Files that came together stand together there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_FILES = 50  # what a run that is killed may have to look at again, and how long a person waits for its end
MOST_RUNS = 2  # of a kind at once: what comes meanwhile gathers for the next


@dataclass(frozen=True)
class Batch:
    """The files of one run, which follow on each other in the order of partitions."""

    keys: tuple[str, ...]

    @property
    def partition_key(self) -> str | None:
        """Of a run that takes one file."""
        return self.keys[0] if len(self.keys) == 1 else None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a run that takes them."""
        if len(self.keys) == 1:
            return {}
        return {
            "otn/files": str(len(self.keys)),
            "dagster/asset_partition_range_start": self.keys[0],
            "dagster/asset_partition_range_end": self.keys[-1],
        }


def batches(wanted: Sequence[str], known: Sequence[str], most: int = MOST_FILES) -> Iterator[Batch]:
    """Wanted partitions as ranges of the known ones; those that are not known yet come after them, in their order."""
    new = set(wanted) - set(known)
    order = [*known, *(key for key in wanted if key in new)]
    chosen, held = set(wanted), []
    for key in order:
        if key in chosen:
            held.append(key)
        if held and (key not in chosen or len(held) == most):
            yield Batch(tuple(held))
            held = []
    if held:
        yield Batch(tuple(held))
