"""What a store or a file holds: variables, their types, dimensions, fills and attributes; and how two of them differ.

Belongs here: the contract between a source and a store, and the schema changes that a person must accept. Does not belong
here: reading files (``netcdf.py``), arrays (``arrays.py``).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

TIME = "time"
EXECUTED = "_qartod_executed"
# Changing one of these changes what the numbers mean.
MEANING = ("units", "flag_values", "tests_executed")


@dataclass(frozen=True)
class Variable:
    """One variable along time. ``dims`` and ``shape`` are those after time; ``dtype`` is numpy's, little-endian."""

    name: str
    dtype: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return np.dtype(self.dtype).itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def fill(self) -> int | float | bytes:
        """What stands where nothing was delivered: legal for the kind of variable.

        Flags are 2, not evaluated, never 0; a string of executed tests is one such flag a test; legacy bitmaps are 0, no
        test ran; other integers take the fill that their source declared; floats are NaN.
        """
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            return float("nan")
        if dtype.kind == "S":
            return b"2" * len(str(self.attributes.get("tests_executed", "")).split(",")) if self.is_executed else b""
        if "_FillValue" in self.attributes:
            return int(self.attributes["_FillValue"])
        if self.name.endswith("_qartod_results") or "flag_values" in self.attributes:
            return 2
        if self.name.endswith(("_qc_executed", "_qc_results")):
            return 0
        return int(np.iinfo(dtype).max) if dtype.kind == "u" else -9999999 if dtype.itemsize >= 4 else -9999

    @property
    def is_executed(self) -> bool:
        """Whether it holds one digit for each QARTOD test that the source ran."""
        return self.name.endswith(EXECUTED)


@dataclass(frozen=True)
class Layout:
    """All variables along time, the coordinates of the other dimensions, and the attributes of the whole."""

    variables: dict[str, Variable]
    coordinates: dict[str, list[float]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    not_kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class SchemaChange:
    """One way in which what came differs from what is stored."""

    kind: str  # new, missing, renamed, retyped, reshaped, meaning, coordinate
    variable: str
    found: str
    expected: str

    @property
    def key(self) -> str:
        """What a person accepts: this very change."""
        text = json.dumps([self.kind, self.variable, self.found, self.expected])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def needs_refresh(self) -> bool:
        """Whether history would mean something else: only a refresh can do it."""
        return self.kind in ("reshaped", "coordinate", "meaning")

    def __str__(self) -> str:
        return f"{self.kind} variable {self.variable}: found {self.found}, expected {self.expected}"


class BadLayout(ValueError):
    """Layouts that no store can hold together."""


def changes(stored: Layout, incoming: Iterable[tuple[str, Layout]]) -> list[SchemaChange]:
    """Schema changes between a store and files (name, layout), each once, in order of variable."""
    found: dict[str, SchemaChange] = {}
    for _, layout in incoming:
        for change in _changes(stored, layout):
            found.setdefault(change.key, change)
    return sorted(found.values(), key=lambda change: (change.variable, change.kind))


def _changes(stored: Layout, came: Layout) -> list[SchemaChange]:
    new = [v for n, v in came.variables.items() if n not in stored.variables]
    missing = [v for n, v in stored.variables.items() if n not in came.variables]
    out: list[SchemaChange] = []
    for old in list(missing):
        twin = next((v for v in new if _looks_like(old, v)), None)
        if twin:
            new.remove(twin)
            missing.remove(old)
            out.append(SchemaChange("renamed", old.name, twin.name, old.name))
    out += [SchemaChange("new", v.name, _describe(v), "no such variable") for v in new]
    out += [SchemaChange("missing", v.name, "no such variable", _describe(v)) for v in missing]
    for name, variable in came.variables.items():
        before = stored.variables.get(name)
        if before is None:
            continue
        if (before.dims, before.shape) != (variable.dims, variable.shape):
            out.append(SchemaChange("reshaped", name, _describe(variable), _describe(before)))
        elif before.dtype != variable.dtype:
            out.append(SchemaChange("retyped", name, variable.dtype, before.dtype))
        for attribute in MEANING:
            was, is_now = before.attributes.get(attribute), variable.attributes.get(attribute)
            if was != is_now and was is not None and is_now is not None:
                out.append(SchemaChange("meaning", f"{name}:{attribute}", str(is_now), str(was)))
    for dim, values in came.coordinates.items():
        before_values = stored.coordinates.get(dim)
        if before_values is not None and before_values != values:
            out.append(SchemaChange("coordinate", dim, _shorten(values), _shorten(before_values)))
    return out


def _looks_like(old: Variable, new: Variable) -> bool:
    if old.is_executed or (old.dtype, old.dims, old.shape) != (new.dtype, new.dims, new.shape):
        return False
    same = [old.attributes.get(name) == new.attributes.get(name) for name in ("units", "standard_name", "long_name")]
    return all(same) and any(old.attributes.get(name) for name in ("units", "standard_name", "long_name"))


def union(layouts: Iterable[Layout]) -> Layout:
    """One layout that holds all of them: every variable, in the widest type; raises BadLayout where shapes disagree."""
    variables: dict[str, Variable] = {}
    coordinates: dict[str, list[float]] = {}
    attributes: dict[str, Any] = {}
    not_kept: dict[str, None] = {}
    for layout in layouts:
        attributes = {**attributes, **layout.attributes}
        not_kept |= dict.fromkeys(layout.not_kept)
        for dim, values in layout.coordinates.items():
            if coordinates.setdefault(dim, values) != values:
                raise BadLayout(
                    f"coordinate {dim} is {_shorten(values)} in one file and {_shorten(coordinates[dim])} in another"
                )
        for name, variable in layout.variables.items():
            variables[name] = widest(variables[name], variable) if name in variables else variable
    return Layout(variables, coordinates, attributes, tuple(not_kept))


def widest(one: Variable, other: Variable) -> Variable:
    """A variable that holds both without loss; attributes are those of the later one."""
    if (one.dims, one.shape) != (other.dims, other.shape):
        raise BadLayout(
            f"variable {one.name} is {_describe(other)} in one file and {_describe(one)} in another: a refresh in parts"
        )
    if one.dtype == other.dtype:
        return other
    kinds = {np.dtype(one.dtype).kind, np.dtype(other.dtype).kind}
    if len(kinds) > 1 and kinds & {"S"}:
        raise BadLayout(f"variable {one.name} is {other.dtype} in one file and {one.dtype} in another")
    return replace(other, dtype=np.result_type(one.dtype, other.dtype).str)


def _describe(variable: Variable) -> str:
    dims = ", ".join(f"{dim} {size}" for dim, size in zip(variable.dims, variable.shape, strict=True))
    return f"{variable.dtype}({dims})" if dims else variable.dtype


def _shorten(values: list[float]) -> str:
    return f"{len(values)} values {values[:3]}..." if len(values) > 3 else str(values)
