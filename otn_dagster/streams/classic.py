"""Classic netCDF (version 3) made into netCDF-4, block by block, so that everything else knows one format.

Belongs here: the conversion. Does not belong here: what files hold.
"""

from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
from scipy.io import netcdf_file

from otn_dagster.files import replacing

MAGIC = b"CDF"
BLOCK_ROWS = 1 << 18


def is_classic(path: Path) -> bool:
    """Whether a file is classic netCDF."""
    with path.open("rb") as handle:
        return handle.read(3) == MAGIC


def to_netcdf4(path: Path) -> Path:
    """The same file as netCDF-4, under the same name. Safe to repeat: written beside and moved."""
    with replacing(path) as aside, netcdf_file(str(path), mmap=True) as old, h5netcdf.File(aside, "w") as new:
        for name, size in old.dimensions.items():
            new.dimensions[name] = size if size is not None else _records(old)
        new.attrs.update({k: _attribute(v) for k, v in old._attributes.items()})
        for name, variable in old.variables.items():
            _copy(new, name, variable)
        variable = None
    return path


def _copy(new: h5netcdf.File, name: str, variable: Any) -> None:
    dtype = np.dtype(variable.data.dtype).newbyteorder("=")
    if dtype.kind not in "fiu":
        return  # characters: identifiers, which stores do not keep
    attributes = {k: _attribute(v) for k, v in variable._attributes.items()}
    fill = attributes.pop("_FillValue", None)
    copy = new.create_variable(name, variable.dimensions, dtype=dtype, fillvalue=fill)
    rows = variable.shape[0] if variable.shape else 0
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, rows)
        copy[start:stop] = np.array(variable.data[start:stop], dtype)
    if not variable.shape:
        copy[...] = np.array(variable.data, dtype)
    copy.attrs.update(attributes)


def _records(file: Any) -> int:
    return int(file._recs)


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if np.ndim(value) else np.asarray(value)[()]
