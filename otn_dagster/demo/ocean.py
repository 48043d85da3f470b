"""Simulated instruments: netCDF files shaped as OOINet's stream_engine writes them, every value a function of its time.

Belongs here: what instruments measure and how files hold it. Does not belong here: serving them (``ooinet.py``).

Because a value depends on nothing but its time and its variable, the truth of any store is known without keeping it.
"""

import uuid
from dataclasses import dataclass, field
from pathlib import Path

import h5netcdf
import h5py
import numpy as np

from otn_dagster.streams import timeaxis

SECONDS_SINCE_1900 = "seconds since 1900-01-01 0:0:0"
CTD_PRODUCTS = {
    "sea_water_temperature": ("degC", "sea_water_temperature", 8.0, 2.0),
    "sea_water_electrical_conductivity": ("S m-1", "sea_water_electrical_conductivity", 3.4, 0.1),
    "sea_water_pressure": ("dbar", "sea_water_pressure", 80.0, 1.5),
    "sea_water_practical_salinity": ("1", "sea_water_practical_salinity", 33.5, 0.3),
    "sea_water_density": ("kg m-3", "sea_water_density", 1026.0, 0.4),
    "corrected_dissolved_oxygen": ("umol kg-1", "moles_of_oxygen_per_unit_mass_in_sea_water", 210.0, 15.0),
}
CTD_COUNTS = (
    "temperature",
    "conductivity",
    "pressure",
    "pressure_temp",
    "oxygen_phase",
    "oxygen_temp",
    "battery_voltage",
)
CHECKED = tuple(CTD_PRODUCTS)[:5]
TIMESTAMPS = ("driver_timestamp", "ingestion_timestamp", "internal_timestamp", "port_timestamp")
CHUNK = 10_000


@dataclass(frozen=True)
class Instrument:
    """One simulated instrument stream."""

    refdes: str
    method: str
    stream: str
    kind: str = "ctd"  # ctd, pco2w, optaa
    latitude: float = 44.37
    longitude: float = -124.95
    wavelengths: int = 83

    @property
    def key(self) -> str:
        """Its name everywhere."""
        return f"{self.refdes}-{self.method}-{self.stream}"


@dataclass
class Quirks:
    """How a file differs from what one would hope."""

    rename: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    retype: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    nan_times: tuple[int, ...] = ()
    nan_coordinate: bool = False
    wavelengths: int | None = None
    offset: float = 0.0


def value(variable: str, times: np.ndarray) -> np.ndarray:
    """The truth of a product at these times (microseconds since 1900)."""
    _, _, mean, spread = CTD_PRODUCTS[variable]
    days = times / timeaxis.DAY
    tide = np.sin(2 * np.pi * days / 0.5175) + 0.5 * np.sin(2 * np.pi * days / 365.25 + len(variable))
    return mean + spread * (tide + 0.1 * _noise(times, len(variable)))


def _noise(times: np.ndarray, salt: int) -> np.ndarray:
    """Evenly spread over [-0.5, 0.5), the same for the same time."""
    mixed = (times.astype(np.uint64) // np.uint64(1000) + np.uint64(salt * 7919)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5


def counts(variable: str, times: np.ndarray) -> np.ndarray:
    """The truth of a raw count; now and then one is missing."""
    raw = (300_000 + 1000 * CTD_COUNTS.index(variable) + 200 * _noise(times, len(variable) + 3)).astype(np.int32)
    raw[(times // timeaxis.SECOND) % 997 == 0] = -9999999
    return raw


def flags(variable: str, times: np.ndarray) -> np.ndarray:
    """The truth of a QARTOD result: mostly pass."""
    return np.where((times // timeaxis.SECOND + len(variable)) % 499 == 0, 3, 1).astype(np.uint8)


def write_file(
    folder: Path, instrument: Instrument, deployment: int, times: np.ndarray, quirks: Quirks | None = None
) -> Path:
    """One file of a deployment, with these times in this order; its path. Written beside and moved, so safe to repeat."""
    quirks = quirks or Quirks()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"deployment{deployment:04d}_{instrument.key}_{_stamp(times[0])}-{_stamp(times[-1])}.nc"
    path = folder / name
    partial = folder / f".{uuid.uuid4().hex}"
    with h5netcdf.File(partial, "w") as file:
        file.dimensions["obs"] = None
        file.resize_dimension("obs", len(times))
        _write(file, "obs", np.arange(len(times), dtype=np.int32), {"long_name": "obs"}, quirks)
        seconds = times / 1e6
        seconds[list(quirks.nan_times)] = np.nan
        _write(
            file,
            "time",
            seconds,
            {"units": SECONDS_SINCE_1900, "calendar": "gregorian", "axis": "T", "standard_name": "time"},
            quirks,
        )
        for number, stamp in enumerate(TIMESTAMPS):
            _write(
                file,
                stamp,
                times / 1e6 + number * 0.25,
                {"units": SECONDS_SINCE_1900, "long_name": stamp.replace("_", " ")},
                quirks,
            )
        _write(
            file,
            "deployment",
            np.full(len(times), deployment, np.int32),
            {"long_name": "deployment number", "units": "1"},
            quirks,
        )
        _write_strings(file, "id", [str(uuid.UUID(int=int(t) + 1)) for t in times[:1]] * len(times), {})
        {"ctd": _ctd, "pco2w": _pco2w, "optaa": _optaa}[instrument.kind](file, instrument, times, quirks)
        for name_ in quirks.extra:
            _write(
                file,
                name_,
                np.full(len(times), 1, np.uint8),
                {"long_name": name_, "flag_values": [1, 2, 3, 4, 9]},
                quirks,
            )
        file.attrs.update(
            {
                "node": instrument.refdes.split("-")[1], "subsite": instrument.refdes.split("-")[0], "sensor": "-".join(instrument.refdes.split("-")[2:]),
                "collection_method": instrument.method, "stream": instrument.stream, "lat": instrument.latitude, "lon": instrument.longitude,
                "title": "Data produced by a simulated Stream Engine", "institution": "Ocean Observatories Initiative (simulated)",
                "source": instrument.key, "requestUUID": str(uuid.uuid4()), "Owner": "", "license": "simulated data, free",
            }
        )  # fmt: skip
    partial.replace(path)
    return path


def _ctd(file: h5netcdf.File, instrument: Instrument, times: np.ndarray, quirks: Quirks) -> None:
    _write(
        file,
        "depth",
        (80 + _noise(times, 1)).astype(np.float32),
        {"units": "m", "standard_name": "depth", "positive": "down"},
        quirks,
    )
    for name in CTD_COUNTS:
        _write(
            file,
            name,
            counts(name, times),
            {"units": "counts", "long_name": f"{name} counts", "_FillValue": np.int32(-9999999)},
            quirks,
        )
    for name, (units, standard, *_) in CTD_PRODUCTS.items():
        attributes = {
            "units": units,
            "standard_name": standard,
            "long_name": standard.replace("_", " "),
            "_FillValue": np.float64("nan"),
        }
        if name in CHECKED:
            attributes["ancillary_variables"] = (
                f"{name}_qc_executed, {name}_qc_results, {name}_qartod_results, {name}_qartod_executed"
            )
        _write(file, name, value(name, times) + quirks.offset, attributes, quirks)
    for name in CHECKED:
        _write(file, f"{name}_qc_executed", np.full(len(times), 29, np.uint8), {}, quirks)
        _write(file, f"{name}_qc_results", np.full(len(times), 29, np.uint8), {}, quirks)
        results = flags(name, times)
        _write(
            file,
            f"{name}_qartod_results",
            results,
            {"standard_name": "aggregate_quality_flag", "flag_values": np.array([1, 2, 3, 4, 9], np.uint8)},
            quirks,
        )
        tests = np.where(results == 3, "31", "11").tolist()
        _write_strings(file, f"{name}_qartod_executed", tests, {"tests_executed": "gross_range_test, climatology_test"})


def _pco2w(file: h5netcdf.File, instrument: Instrument, times: np.ndarray, quirks: Quirks) -> None:
    file.dimensions["spectrum"] = 14
    light = (2000 + 40 * np.arange(14)[None, :] + 100 * _noise(times, 5)[:, None]).astype(np.int32)
    _write(
        file,
        "light_measurements",
        light,
        {"units": "counts", "_FillValue": np.int32(-9999999)},
        quirks,
        ("obs", "spectrum"),
    )
    _write(
        file,
        "pco2_seawater",
        400 + 60 * _noise(times, 9),
        {"units": "uatm", "long_name": "partial pressure of CO2", "_FillValue": np.float64("nan")},
        quirks,
    )
    _write(
        file,
        "thermistor_temperature",
        8 + _noise(times, 4),
        {"units": "degC", "long_name": "thermistor temperature", "_FillValue": np.float64("nan")},
        quirks,
    )


def _optaa(file: h5netcdf.File, instrument: Instrument, times: np.ndarray, quirks: Quirks) -> None:
    size = quirks.wavelengths or instrument.wavelengths
    file.dimensions["wavelength"] = size
    if quirks.nan_coordinate:
        values = np.arange(size, dtype=np.float64)
        values[3] = np.nan
        file.create_variable("wavelength", ("wavelength",), data=values)
    signal = (1000 + np.arange(size)[None, :] + 50 * _noise(times, 6)[:, None]).astype(np.float32)
    _write(
        file,
        "optical_absorption",
        signal,
        {"units": "m-1", "long_name": "optical absorption"},
        quirks,
        ("obs", "wavelength"),
    )


def _write(
    file: h5netcdf.File, name: str, data: np.ndarray, attributes: dict, quirks: Quirks, dims: tuple[str, ...] = ("obs",)
) -> None:
    if name in quirks.without:
        return
    if name in quirks.retype:
        data = data.astype(quirks.retype[name])
        attributes = {k: v for k, v in attributes.items() if k != "_FillValue"}
    attributes = dict(attributes)
    fill = attributes.pop("_FillValue", None)
    variable = file.create_variable(
        quirks.rename.get(name, name), dims, dtype=data.dtype, data=data, fillvalue=fill,
        chunks=(CHUNK, *data.shape[1:]), compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip
    if name in quirks.units:
        attributes["units"] = quirks.units[name]
    if name not in ("obs", "time"):
        attributes["coordinates"] = "time lat lon"
    variable.attrs.update(attributes)


def _write_strings(file: h5netcdf.File, name: str, data: list[str], attributes: dict) -> None:
    variable = file.create_variable(
        name, ("obs",), dtype=h5py.string_dtype(), data=np.array(data, dtype=object), chunks=(CHUNK,)
    )
    variable.attrs.update({**attributes, "coordinates": "time lat lon"})


def _stamp(time: int) -> str:
    moment = timeaxis.instant(int(time))
    return moment.strftime("%Y%m%dT%H%M%S") + (f".{moment.microsecond:06d}" if moment.microsecond else "")
