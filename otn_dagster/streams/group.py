"""A zarr group whose arrays are opened once.

Belongs here: holding on to opened arrays. Does not belong here: what they mean (``arrays.py``).

Opening an array costs a request and a millisecond of work; a merge touches forty arrays a dozen times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from otn_dagster.late import late

if TYPE_CHECKING:
    import zarr
else:
    zarr = late("zarr")


class Group:
    """One version of a store, or the one that is being written."""

    def __init__(self, group: zarr.Group):
        """Opens all arrays of the group at once."""
        self._group = group
        self._arrays: dict[str, Any] = dict(group.arrays())

    @classmethod
    def open(cls, store: Any, mode: str) -> Group:
        """The group at the root of a store; ``mode`` is ``r`` or ``a``."""
        return cls(zarr.open_group(store, mode=mode))  # type: ignore[arg-type]

    @property
    def attrs(self) -> Any:
        """Attributes of the whole."""
        return self._group.attrs

    def __getitem__(self, name: str) -> Any:
        """An array."""
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self._arrays

    def __delitem__(self, name: str) -> None:
        """Remove an array."""
        del self._group[name]
        del self._arrays[name]

    def array_keys(self) -> Iterator[str]:
        """Names of the arrays."""
        return iter(sorted(self._arrays))

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Names and arrays."""
        return iter(sorted(self._arrays.items()))

    def create_array(self, name: str, **settings: Any) -> Any:
        """A new array."""
        self._arrays[name] = self._group.create_array(name, **settings)
        return self._arrays[name]
