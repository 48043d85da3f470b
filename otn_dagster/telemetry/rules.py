"""The rules of a push, written once: each is a function from Ibis tables to an Ibis table, named as the field names it.

Belongs here: what is computed. Does not belong here: on which engine, over which files, in which order of buckets
(``matching.py``). The same expressions run on DuckDB and on Spark.

Times are whole milliseconds since 1970-01-01 UTC (``*_ms``, int64), intervals are closed at the start and open at the
end, and everything that is known about a receiver or a transmitter over time is first cut into disjoint pieces that
cover all of time: the join of a detection with them is then one to one, and overlap is data, never a silent pick.

Sources: node manager training, detections-2b (clocks), detections-3 (receivers), detections-4 (matching, window of
``enddate + N months``), detections-4b (a code that is test tag and animal tag is an animal's); Pincock 2012 and glatos
(``min_lag``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otn_dagster.late import late

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
else:
    ibis = late("ibis")

# Ibis columns have no types that a checker could know.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false


FOREVER_MS = 253_402_300_800_000  # the year 10000
NEVER_MS = -FOREVER_MS
FALSE_DETECTION_SECONDS = 3600  # Pincock: 30 times the usual delay of 120 s

# Outcomes of a detection. On the way they are small integers (``outcome``), for people they have names (``reason``).
MATCHED, MATCHED_OWN, SENTINEL, NO_RECEIVER = 0, 1, 2, 3
UNREPORTED_TEST, AMBIGUOUS, NO_RELEASE, SENSOR_UNRESOLVED, OUTSIDE_WINDOW, UNMATCHED = 11, 12, 13, 14, 15, 16
REASONS = {
    MATCHED: "matched",
    MATCHED_OWN: "matched_own",
    SENTINEL: "sentinel",
    NO_RECEIVER: "no_receiver",
    UNREPORTED_TEST: "u1_unreported_test",
    AMBIGUOUS: "u2_ambiguous",
    NO_RELEASE: "u3_no_release",
    SENSOR_UNRESOLVED: "u4_sensor_unresolved",
    OUTSIDE_WINDOW: "u5_outside_window",
    UNMATCHED: "u6_unmatched",
}
UNQUALIFIED = [UNREPORTED_TEST, AMBIGUOUS, NO_RELEASE, SENSOR_UNRESOLVED, OUTSIDE_WINDOW, UNMATCHED]
OLD_SENSOR_CODE_SPACE = "-1105-"  # A%-1105-%: needs its pinger's id to be resolved


def clean(detections: ir.Table) -> ir.Table:
    """Each detection once: same receiver, transmitter, device time and raw sensor value keep the smallest det_key."""
    order = ibis.window(group_by=["receiver_key", "transmitter_key"], order_by=["device_ms", "sensor_value", "det_key"])
    same_time = detections.device_ms.lag().over(order).identical_to(detections.device_ms)
    same_value = detections.sensor_value.lag().over(order).identical_to(detections.sensor_value)
    marked = detections.mutate(copy=same_time & same_value)
    return marked.filter(~marked.copy).drop("copy")


def clock_pieces(receivers: ir.Table, segments: ir.Table) -> ir.Table:
    """Device time of every receiver cut where its clock's drift changes; between segments the clock is believed.

    receivers: receiver_key. segments: receiver_key, start_ms, end_ms, offset_ms (device minus true at start), factor.
    """
    ends = [receivers.select("receiver_key", at=ibis.literal(at, "int64")) for at in (NEVER_MS, FOREVER_MS)]
    cuts = [segments.select("receiver_key", at=segments[bound]) for bound in ("start_ms", "end_ms")]
    pieces = _pieces(_union(ends + cuts), "receiver_key")
    known = segments.select(
        segment_receiver=segments.receiver_key,
        segment_start=segments.start_ms,
        segment_end=segments.end_ms,
        offset_ms=segments.offset_ms,
        factor=segments.factor,
        segment_modified=segments.modified_day,
    )
    joined = pieces.left_join(
        known,
        [
            pieces.receiver_key == known.segment_receiver,
            pieces.start_ms >= known.segment_start,
            pieces.start_ms < known.segment_end,
        ],
    )
    return joined.select(
        "receiver_key",
        "start_ms",
        "end_ms",
        reference_ms=joined.segment_start.coalesce(ibis.literal(0, "int64")),
        offset_ms=joined.offset_ms.coalesce(ibis.literal(0.0)),
        factor=joined.factor.coalesce(ibis.literal(0.0)),
        clock_modified=joined.segment_modified,
    )


def corrected_time(device_ms: ir.Value, piece: ir.Table) -> ir.Value:
    """True time of a device time: minus the offset at the piece's reference and the drift since, to the millisecond."""
    drift = piece.offset_ms + piece.factor * (device_ms - piece.reference_ms).cast("float64")
    return device_ms - drift.round(0).cast("int64")


def _device_time(true_ms: ir.Value, piece: ir.Table) -> ir.Value:
    """The first device millisecond that ``corrected_time`` maps to this true time or later."""
    at = (true_ms + piece.offset_ms - piece.factor * piece.reference_ms) / (1 - piece.factor)
    guess = at.ceil().cast("int64")
    lower = corrected_time(guess - 1, piece) >= true_ms
    higher = corrected_time(guess, piece) < true_ms
    return ibis.cases((lower, guess - 1), (higher, guess + 1), else_=guess)


def deployment_windows(deployments: ir.Table) -> ir.Table:
    """Disjoint windows of the deployments of each receiver, in true time.

    A deployment ends at its recovery, and never later than the next deployment of the same serial begins: a receiver
    that was lost and found again and redeployed is where it was deployed last. Of deployments that begin together the longest
    stands: a row without length yields.
    deployments: receiver_key, deployment_key, start_ms, recovered_ms (null where it was not recovered).
    """
    lasts = deployments.recovered_ms.coalesce(ibis.literal(FOREVER_MS))
    order = [deployments.start_ms, lasts, deployments.deployment_key]
    later = ibis.window(group_by="receiver_key", order_by=order)
    following = deployments.start_ms.lead().over(later)
    recovered = deployments.recovered_ms + 1
    return (
        deployments.mutate(
            end_ms=ibis.least(
                recovered.coalesce(ibis.literal(FOREVER_MS)), following.coalesce(ibis.literal(FOREVER_MS))
            )
        )
        .drop("recovered_ms")
        .filter(lambda window: window.start_ms < window.end_ms)
    )


def receiver_timeline(pieces: ir.Table, windows: ir.Table) -> ir.Table:
    """Device time of every receiver cut where its clock or its deployment changes: how to correct, and where it hung.

    pieces: of ``clock_pieces``. windows: of ``deployment_windows`` with project_key and modified_day.
    """
    places = windows.select(
        place_receiver=windows.receiver_key,
        place_start=windows.start_ms,
        place_end=windows.end_ms,
        deployment_key=windows.deployment_key,
        project_key=windows.project_key,
        place_modified=windows.modified_day,
    )
    both = pieces.join(places, pieces.receiver_key == places.place_receiver)
    bounds = []
    for bound in ("place_start", "place_end"):
        device = both.mutate(at=_device_time(both[bound], both))
        within = device.filter(device[bound] < FOREVER_MS, device.at > device.start_ms, device.at < device.end_ms)
        bounds.append(within.select("receiver_key", "at"))
    own = [pieces.select("receiver_key", at=pieces[bound]) for bound in ("start_ms", "end_ms")]
    cuts = _pieces(_union(own + bounds), "receiver_key")
    clocks = pieces.view()
    cut = cuts.join(
        clocks,
        [
            cuts.receiver_key == clocks.receiver_key,
            cuts.start_ms >= clocks.start_ms,
            cuts.start_ms < clocks.end_ms,
        ],
    ).select(
        cuts.receiver_key,
        cuts.start_ms,
        cuts.end_ms,
        clocks.reference_ms,
        clocks.offset_ms,
        clocks.factor,
        clocks.clock_modified,
    )
    cut = cut.mutate(true_start=corrected_time(cut.start_ms, cut))
    joined = cut.left_join(
        places,
        [
            cut.receiver_key == places.place_receiver,
            cut.true_start >= places.place_start,
            cut.true_start < places.place_end,
        ],
    )
    return joined.select(
        "receiver_key",
        "start_ms",
        "end_ms",
        "reference_ms",
        "offset_ms",
        "factor",
        "deployment_key",
        "project_key",
        place_modified=ibis.greatest(
            joined.place_modified.coalesce(ibis.literal(0, "int32")),
            joined.clock_modified.coalesce(ibis.literal(0, "int32")),
        ),
    )


def assigned(detections: ir.Table, timeline: ir.Table) -> ir.Table:
    """Detections with their corrected time and the deployment that heard them (null: no receiver metadata).

    ``base_day`` is when the detection, its deployment or its clock last changed, in days since 1970.

    detections: receiver_key, device_ms, ...; timeline: of ``receiver_timeline``, covering every receiver.
    """
    joined = detections.join(
        timeline,
        [
            detections.receiver_key == timeline.receiver_key,
            detections.device_ms >= timeline.start_ms,
            detections.device_ms < timeline.end_ms,
        ],
    )
    return joined.select(
        *[detections[name] for name in detections.columns],
        time_ms=corrected_time(detections.device_ms, joined),
        deployment_key=timeline.deployment_key,
        project_key=timeline.project_key,
        base_day=ibis.greatest(detections.loaded_day, timeline.place_modified),
    ).drop("loaded_day")


def min_lag(detections: ir.Table) -> ir.Table:
    """Seconds to the nearest other detection of the same transmitter on the same receiver; null where it is alone.

    Exact duplicates must be gone: a copy has lag 0 and would launder a false detection.
    """
    order = ibis.window(group_by=["receiver_key", "transmitter_key"], order_by=["time_ms", "det_key"])
    before = detections.time_ms - detections.time_ms.lag().over(order)
    after = detections.time_ms.lead().over(order) - detections.time_ms
    nearest = ibis.least(before.coalesce(after), after.coalesce(before))
    return detections.mutate(min_lag=nearest.cast("float64") / 1000)


def tag_windows(tags: ir.Table) -> ir.Table:
    """When each tag may be heard: release to (harvest, or end of life) + N months, both included.

    tags: transmitter_key, tag_key, animal_key, tracker_key, release_ms, last_ms (null: no end known), modified_day.
    """
    last = tags.last_ms + 1
    return tags.mutate(start_ms=tags.release_ms, end_ms=last.coalesce(ibis.literal(FOREVER_MS)))


def transmitter_timeline(
    transmitters: ir.Table, windows: ir.Table, station_tags: ir.Table, test_tags: ir.Table
) -> ir.Table:
    """All of time of every transmitter cut at every release and end: whose it is in each piece, and if nobody's, why.

    transmitters: transmitter_key, transmitter. windows: of ``tag_windows``. station_tags, test_tags: transmitter_key.
    Gives transmitter_key, start_ms, end_ms, outcome, tag_key, tracker_key, tag_modified.
    """
    ends = [transmitters.select("transmitter_key", at=ibis.literal(at, "int64")) for at in (NEVER_MS, FOREVER_MS)]
    known = windows.semi_join(transmitters, "transmitter_key")
    cuts = [known.select("transmitter_key", at=known[bound]) for bound in ("start_ms", "end_ms")]
    pieces = _pieces(_union(ends + cuts), "transmitter_key")
    live = known.view()
    joined = pieces.left_join(
        live,
        [
            pieces.transmitter_key == live.transmitter_key,
            pieces.start_ms >= live.start_ms,
            pieces.start_ms < live.end_ms,
        ],
    ).select(
        pieces.transmitter_key,
        pieces.start_ms,
        pieces.end_ms,
        live.tag_key,
        live.animal_key,
        live.tracker_key,
        live.modified_day,
    )
    active = joined.group_by("transmitter_key", "start_ms", "end_ms").aggregate(
        n_active=joined.animal_key.nunique(),
        tag_key=joined.tag_key.min(),
        tracker_key=joined.tracker_key.min(),
        tag_modified=joined.modified_day.max(),
    )
    reasons = transmitter_reasons(transmitters, windows, station_tags, test_tags)
    named = active.join(reasons, active.transmitter_key == reasons.reason_transmitter)
    one = named.n_active == 1
    return named.select(
        "transmitter_key",
        "start_ms",
        "end_ms",
        outcome=ibis.cases((one, MATCHED), (named.n_active > 1, AMBIGUOUS), else_=named.unheard).cast("int8"),
        tag_key=one.ifelse(named.tag_key, ibis.null(named.tag_key.type())),
        tracker_key=one.ifelse(named.tracker_key, ibis.null("int16")),
        tag_modified=named.tag_modified.coalesce(ibis.literal(0, "int32")),
    )


def transmitter_reasons(
    transmitters: ir.Table, windows: ir.Table, station_tags: ir.Table, test_tags: ir.Table
) -> ir.Table:
    """Why a transmitter is nobody's animal at a time when no tag of it is live."""
    is_station = transmitters.transmitter_key.isin(station_tags.transmitter_key)
    is_test = transmitters.transmitter_key.isin(test_tags.transmitter_key)
    is_tag = transmitters.transmitter_key.isin(windows.transmitter_key)
    return transmitters.select(
        reason_transmitter=transmitters.transmitter_key,
        unheard=ibis.cases(
            (is_station, SENTINEL),
            (is_tag, OUTSIDE_WINDOW),
            (is_test, UNREPORTED_TEST),
            (transmitters.transmitter.contains(OLD_SENSOR_CODE_SPACE), SENSOR_UNRESOLVED),
            else_=NO_RELEASE,
        ),
    )


def matched(detections: ir.Table, timeline: ir.Table, unmatched_keys: list[int]) -> ir.Table:
    """Assigned detections with their outcome, and tag_key and tracker_key where it is one animal's.

    timeline: of ``transmitter_timeline``, covering every transmitter. unmatched_keys: det_keys that a person unmatched.
    """
    joined = detections.join(
        timeline,
        [
            detections.transmitter_key == timeline.transmitter_key,
            detections.time_ms >= timeline.start_ms,
            detections.time_ms < timeline.end_ms,
        ],
    )
    is_match = joined.outcome == MATCHED
    by_hand = detections.det_key.isin(unmatched_keys) if unmatched_keys else ibis.literal(False)
    outcome = ibis.cases(
        (detections.deployment_key.isnull(), NO_RECEIVER),
        (is_match & by_hand, UNMATCHED),
        (is_match & (joined.tracker_key == detections.project_key), MATCHED_OWN),
        else_=joined.outcome,
    ).cast("int8")
    ours = is_match & ~by_hand & detections.deployment_key.notnull()
    return joined.select(
        *[detections[name] for name in detections.columns],
        outcome=outcome,
        tag_key=ours.ifelse(timeline.tag_key, ibis.null(timeline.tag_key.type())),
        tracker_key=ours.ifelse(timeline.tracker_key, ibis.null("int16")),
        modified_day=ibis.greatest(detections.base_day, ours.ifelse(timeline.tag_modified, ibis.literal(0, "int32"))),
    )


def _union(tables: list[ir.Table]) -> ir.Table:
    return ibis.union(*tables, distinct=True)


def _pieces(cuts: ir.Table, key: str) -> ir.Table:
    """Consecutive cuts of each key as pieces [start_ms, end_ms)."""
    following = cuts.at.lead().over(ibis.window(group_by=key, order_by="at"))
    pieces = cuts.select(key, start_ms=cuts.at, end_ms=following)
    return pieces.filter(pieces.end_ms.notnull())
