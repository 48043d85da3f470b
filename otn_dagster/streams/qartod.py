"""QARTOD tests of one variable, by ``ioos_qc``, so that flags do not depend on how the stream was cut.

Belongs here: which tests there are, how far each looks back and ahead (its halo), and calling them on a slice. Does not
belong here: where flags are stored (``qc.py``) and where limits come from (``qartod_tables.py``).

Three habits of the library would make flags depend on the cut, and are taken from it here: a flat line is measured over a
number of rows that comes from the median interval of the slice (here: from the stream's own ``sampling_seconds``); a rate
of change divides by whole seconds (here: milliseconds); an attenuated signal without a period looks at the whole slice
(here: refused). Limits that are computed from the data (percentiles) are refused for the same reason.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

GOOD, UNKNOWN, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9
TESTS = (
    "gross_range_test",
    "climatology_test",
    "spike_test",
    "rate_of_change_test",
    "flat_line_test",
    "attenuated_signal_test",
)
_WORST_FIRST = (FAIL, SUSPECT, GOOD, UNKNOWN)
Limits = dict[str, dict[str, Any]]


class BadLimits(ValueError):
    """Limits that cannot be used: says which test, what was found and what was expected."""


@dataclass(frozen=True)
class Halo:
    """How far the tests of a variable look: rows back and ahead, and seconds back."""

    back: int
    ahead: int
    seconds: float


def check_limits(variable: str, limits: Limits, sampling_seconds: float | None) -> None:
    """Raises BadLimits for a test that is unknown or would depend on how the stream is cut."""
    for test, settings in limits.items():
        if test not in TESTS:
            raise BadLimits(f"qc of {variable}: test {test!r} is not one of {TESTS}")
        if test == "flat_line_test" and not sampling_seconds:
            raise BadLimits(f"qc of {variable}: flat_line_test needs the stream's sampling_seconds, found none")
        if test == "attenuated_signal_test" and (not settings.get("test_period") or settings.get("min_period")):
            raise BadLimits(
                f"qc of {variable}: attenuated_signal_test needs test_period (and min_obs, not min_period), found {settings}"
            )


def halo(limits: Limits, sampling_seconds: float | None) -> Halo:
    """How far around changed rows flags may change, and how far around a slice one must read."""
    back = ahead = 0
    if "spike_test" in limits:
        back, ahead = max(back, 1), 1
    if "rate_of_change_test" in limits:
        back = max(back, 1)
    if "flat_line_test" in limits:
        thresholds = [int(limits["flat_line_test"][name]) for name in ("suspect_threshold", "fail_threshold")]
        back = max(back, *(int(t / (sampling_seconds or 1)) + 1 for t in thresholds))
    period = float(limits.get("attenuated_signal_test", {}).get("test_period", 0))
    return Halo(back, ahead, period)


def flags(
    values: np.ndarray, times: np.ndarray, limits: Limits, sampling_seconds: float | None
) -> dict[str, np.ndarray]:
    """Flags (uint8) of every test and of their aggregate, for values at times in microseconds since 1900."""
    out = {
        test: np.asarray(_run(test, settings, values, times, sampling_seconds)).astype(np.uint8)
        for test, settings in limits.items()
    }
    return {**out, "aggregate": aggregate(list(out.values()), len(values))}


def aggregate(tests: list[np.ndarray], rows: int) -> np.ndarray:
    """The worst flag of each row: fail, suspect, good, unknown, missing, in this order."""
    out = np.full(rows, MISSING, np.uint8)
    for flag in reversed(_WORST_FIRST):
        for test in tests:
            out[test == flag] = flag
    return out


def _run(
    test: str, settings: dict[str, Any], values: np.ndarray, times: np.ndarray, sampling_seconds: float | None
) -> Any:
    values = values.astype(np.float64)
    if not len(values):
        return np.empty(0, np.uint8)
    if test == "gross_range_test":
        return _library().gross_range_test(values, settings["fail_span"], settings.get("suspect_span"))
    if test == "spike_test":
        return _spikes(values, settings)
    if test == "rate_of_change_test":
        return _rate(values, times, settings)
    if test == "flat_line_test":
        return _flat(values, settings, sampling_seconds or 1)
    when: Any = np.datetime64("1900-01-01", "us") + times.astype("timedelta64[us]")
    if test == "attenuated_signal_test":
        return _library().attenuated_signal_test(values, when.astype("datetime64[ns]"), **settings)
    return _climatology(values, when, settings)


def _spikes(values: Any, settings: dict[str, Any]) -> Any:
    if len(values) < 3:
        return np.where(np.isnan(values), MISSING, UNKNOWN)
    return _library().spike_test(
        values, settings.get("suspect_threshold"), settings.get("fail_threshold"), settings.get("method", "average")
    )


def _rate(values: Any, times: np.ndarray, settings: dict[str, Any]) -> Any:
    # A millisecond is handed over as a second, and the thresholds accordingly.
    stretched: Any = np.datetime64("1970-01-01", "s") + ((times - times[0]) // 1000).astype("timedelta64[s]")
    fail = settings.get("fail_threshold")
    return _library().rate_of_change_test(
        values, stretched, settings["threshold"] / 1000, None if fail is None else fail / 1000
    )


def _flat(values: Any, settings: dict[str, Any], sampling_seconds: float) -> Any:
    rows = [max(1, int(int(settings[name]) / sampling_seconds)) for name in ("suspect_threshold", "fail_threshold")]
    if len(values) < 3:
        return np.where(np.isnan(values), MISSING, GOOD)
    evenly: Any = np.datetime64("1970-01-01", "s") + np.arange(len(values)).astype("timedelta64[s]")
    return _library().flat_line_test(values, evenly, rows[0], rows[1], settings.get("tolerance", 0))


def _climatology(values: Any, when: Any, settings: dict[str, Any]) -> Any:
    config = _library().ClimatologyConfig()
    for member in settings["config"]:
        span: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in member.items()
        }
        config.add(**span)
    depths: Any = np.zeros(len(values))
    return _library().climatology_test(config, values, when.astype("datetime64[ns]"), depths)


def _library() -> Any:
    """``ioos_qc``, imported where a test runs: more than a second that most runs need not pay."""
    from ioos_qc import qartod

    return qartod
