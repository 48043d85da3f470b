"""The rules over rows that lie in order: the same as ``rules.py`` says, a third of the time.

Belongs here: going once through the detections of some receivers, sorted by receiver, transmitter and time, where a copy and the nearest
other detection are the rows beside, and what is known of a receiver or a transmitter is found by bisection. Does not belong here: what is
computed; each function names the rule that it follows, and a property test holds the two equal on networks that nobody thought of.

Arrays have one entry a row. Missing numbers are negative in arrays of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from otn_dagster.telemetry import rules

_BITS = 62
ORDER = ["receiver_key", "transmitter_key", "time_ms", "det_key"]


@dataclass(frozen=True)
class Timeline:
    """All of time of some keys in disjoint pieces, as ``rules.receiver_timeline`` and ``rules.transmitter_timeline`` give them."""

    frame: pl.DataFrame  # sorted by key and start_ms
    keys: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, frame: pl.DataFrame, key: str) -> Timeline:
        """A timeline from its table."""
        ordered = frame.sort(key, "start_ms")
        return cls(ordered, ordered[key].to_numpy().astype(np.int64), ordered["start_ms"].to_numpy())

    def pieces(self, keys: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The piece in which each (key, time) lies. Raises LookupError for a key that has none."""
        if not len(keys):
            return np.zeros(0, np.int64)
        low, high = int(times.min()), int(times.max())
        bits = (high + 1 - low).bit_length()
        if (
            bits + int(self.keys[-1]).bit_length() > _BITS
        ):  # too wide for one number: the two halves of time by themselves
            early = times <= (low + high) // 2
            found = np.empty(len(keys), np.int64)
            found[early], found[~early] = (self.pieces(keys[part], times[part]) for part in (early, ~early))
            return found
        within = np.clip(self.starts, low, high + 1) - low
        found = (
            np.searchsorted((self.keys << bits) | within, (keys.astype(np.int64) << bits) | (times - low), "right") - 1
        )
        if (found < 0).any() or (self.keys[found] != keys).any():
            raise LookupError("a receiver or a transmitter of the detections has no timeline")
        return found

    def numbers(self, column: str) -> np.ndarray:
        """A column of keys as numbers, -1 where it is missing."""
        return self.frame[column].fill_null(-1).to_numpy()


def through_the_rules(
    detections: pl.DataFrame, places: Timeline, owners: Timeline, unmatched: Sequence[int]
) -> pl.DataFrame:
    """Detections of whole receivers as rows of matches, in ``ORDER``: ``clean``, ``assigned``, ``min_lag``, ``matched``.

    detections: columns of ``inputs.DETECTIONS``, in any order, quickest as a snapshot's files have them. unmatched: det_keys.
    """
    receiver, transmitter = (detections[name].to_numpy() for name in ORDER[:2])
    pair = (receiver.astype(np.int64) << 32) | transmitter
    det_key, device = detections["det_key"].to_numpy(), detections["device_ms"].to_numpy()
    order = _once(_by_pair(receiver, transmitter), pair, device, detections["sensor_value"], det_key)
    piece = places.pieces(receiver[order], device[order])
    time = _corrected(device[order], places.frame, piece)
    moved = _mended(np.arange(len(order)), pair[order], time, det_key[order])
    order, piece, time = order[moved], piece[moved], time[moved]
    base_day = np.maximum(detections["loaded_day"].to_numpy()[order], places.numbers("place_modified")[piece])
    placed = pl.DataFrame(
        {
            **{name: detections[name].gather(order) for name in detections.columns if name != "loaded_day"},
            "time_ms": time,
            "deployment_key": places.frame["deployment_key"].gather(piece),
            "project_key": places.frame["project_key"].gather(piece),
            "base_day": base_day.astype(np.int32),
            "min_lag": _lags(pair[order], time),
        }
    )
    return matched(placed.with_columns(pl.col("min_lag").fill_nan(None)), owners, unmatched)


def matched(placed: pl.DataFrame, owners: Timeline, unmatched: Sequence[int]) -> pl.DataFrame:
    """As ``rules.matched``: outcome, tag_key, tracker_key and modified_day of placed detections."""
    piece = owners.pieces(placed["transmitter_key"].to_numpy(), placed["time_ms"].to_numpy())
    outcome, tracker = owners.numbers("outcome")[piece], owners.numbers("tracker_key")[piece]
    somewhere = placed["deployment_key"].is_not_null().to_numpy()
    by_hand = np.isin(placed["det_key"].to_numpy(), np.asarray(unmatched, np.int64)) if unmatched else np.False_
    is_match = outcome == rules.MATCHED
    own = is_match & (tracker == placed["project_key"].fill_null(-2).to_numpy())
    result = np.where(own, rules.MATCHED_OWN, outcome)
    result = np.where(is_match & by_hand, rules.UNMATCHED, result)
    result = np.where(somewhere, result, rules.NO_RECEIVER)
    ours = pl.Series(is_match & ~by_hand & somewhere)
    day = np.maximum(placed["base_day"].to_numpy(), np.where(ours, owners.numbers("tag_modified")[piece], 0))
    return placed.with_columns(
        outcome=pl.Series(result.astype(np.int8)),
        tag_key=owners.frame["tag_key"].gather(piece).zip_with(ours, _nothing(owners, "tag_key", len(piece))),
        tracker_key=owners.frame["tracker_key"]
        .gather(piece)
        .zip_with(ours, _nothing(owners, "tracker_key", len(piece))),
        modified_day=pl.Series(day.astype(np.int32)),
    )


def _nothing(owners: Timeline, column: str, rows: int) -> pl.Series:
    return pl.Series(column, [None], owners.frame[column].dtype).new_from_index(0, rows)


def _by_pair(receiver: np.ndarray, transmitter: np.ndarray) -> np.ndarray:
    """Order of rows by receiver and transmitter; rows of one pair stay as they come."""
    if not len(receiver):
        return np.zeros(0, np.int64)
    first, second = (keys.astype(np.int64) - int(keys.min()) for keys in (receiver, transmitter))
    width, places = int(second.max()).bit_length(), len(receiver).bit_length()
    if int(first.max()).bit_length() + width + places > _BITS:
        return np.lexsort((transmitter, receiver))
    packed = (((first << width) | second) << places) | np.arange(
        len(receiver)
    )  # one number: sorting it keeps ties as they come
    packed.sort()
    return packed & ((1 << places) - 1)


def _once(
    order: np.ndarray, pair: np.ndarray, device: np.ndarray, sensor: pl.Series, det_key: np.ndarray
) -> np.ndarray:
    """As ``rules.clean``: of rows with the same time and raw sensor value that with the smallest det_key stands."""
    missing, value = sensor.is_null().to_numpy(), sensor.fill_null(0.0).to_numpy()
    order = _mended(order, pair, device, missing, value, det_key)
    same = np.zeros(len(order), bool)
    same[1:] = (pair[order[1:]] == pair[order[:-1]]) & (device[order[1:]] == device[order[:-1]])
    at = np.flatnonzero(same)
    mine, before = order[at], order[at - 1]
    same[at] = (missing[mine] == missing[before]) & (value[mine] == value[before])
    return order[~same]


def _mended(order: np.ndarray, pair: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """The same order (by pair) with the rows of each pair by these keys: pairs that lie in order already are left as they are."""
    group = pair[order]
    rises = np.ones(max(0, len(order) - 1), bool)
    for key in reversed(keys):
        mine, before = key[order[1:]], key[order[:-1]]
        rises = (mine > before) | ((mine == before) & rises)
    wrong = (group[1:] == group[:-1]) & ~rises
    if not wrong.any():
        return order
    broken = np.unique(group[1:][wrong])
    near = np.minimum(np.searchsorted(broken, group), len(broken) - 1)
    place = np.flatnonzero(broken[near] == group)
    some = order[place]
    mended = order.copy()
    mended[place] = some[np.lexsort((*(key[some] for key in reversed(keys)), pair[some]))]
    return mended


def _corrected(device: np.ndarray, pieces: pl.DataFrame, piece: np.ndarray) -> np.ndarray:
    """As ``rules.corrected_time``; a half is rounded away from zero, as databases do."""
    offset, factor, reference = (pieces[name].to_numpy()[piece] for name in ("offset_ms", "factor", "reference_ms"))
    drift = offset + factor * (device - reference).astype(np.float64)
    whole = np.trunc(drift)
    return device - (whole + np.where(np.abs(drift - whole) >= 0.5, np.sign(drift), 0)).astype(np.int64)


def _lags(pair: np.ndarray, time: np.ndarray) -> np.ndarray:
    """As ``rules.min_lag``: seconds to the nearest other row of the pair, NaN where there is none."""
    gap = np.full(len(time) + 1, np.inf)
    gap[1:-1] = np.where(pair[1:] == pair[:-1], np.diff(time), np.inf)
    nearest = np.minimum(gap[:-1], gap[1:])
    return np.where(np.isinf(nearest), np.nan, nearest / 1000)
