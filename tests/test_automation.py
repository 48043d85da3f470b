"""What starts by itself: files, push dates, one step after the other."""

import datetime as dt
import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otn_dagster import decisions
from otn_dagster.config import PROJECT_ROOT
from otn_dagster.orchestration.batches import batches
from otn_dagster.orchestration.build import build_defs
from otn_dagster.orchestration.pushing import PUSH
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry import cutoffs, submissions
from sensors import failures, incoming_files, push_calendar
from tests.support.node import Node
from tests.support.sheets import tag_sheet


@pytest.fixture
def instance():
    with dg.DagsterInstance.local_temp() as one:
        yield one


def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"database": NodeDatabase()}) as context:
        result = incoming_files.incoming_files(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_files_are_taken_when_they_lie_still_and_forms_go_first(node: Node, instance: dg.DagsterInstance):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    first = tick(instance, None)
    assert not first.run_requests and "still being copied" in str(first.skip_reason)
    second = tick(instance, first.cursor)
    assert [request.job_name for request in second.run_requests or []] == ["load_project"]
    assert [list(request.partition_keys) for request in second.dynamic_partitions_requests or []] == [
        [second.run_requests[0].partition_key]
    ]  # type: ignore[index]
    node.load()
    third = tick(instance, second.cursor)
    assert not third.run_requests and json.loads(third.cursor or "")


def test_the_same_occasion_has_the_same_run_key(node: Node, instance: dg.DagsterInstance):
    node.drop_form("HFX")
    keys = set()
    cursor = None
    for _ in range(4):
        result = tick(instance, cursor)
        cursor = result.cursor
        keys |= {request.run_key for request in result.run_requests or []}
    assert len(keys) == 1


def test_a_run_that_died_before_it_said_so_is_started_again_after_a_pause(node: Node, instance: dg.DagsterInstance):
    """A key that was used is never run again: the file would lie there for ever."""
    node.drop_form("HFX")
    cursor = tick(instance, None).cursor
    request = (tick(instance, cursor).run_requests or [])[0]

    assert not tick(instance, cursor).run_requests  # it may have died a moment ago
    ago(node, minutes=5)
    again = (tick(instance, cursor).run_requests or [])[0]
    assert again.run_key != request.run_key and again.partition_key == request.partition_key
    ago(node, minutes=60)
    tags = {"dagster/partition": str(request.partition_key)}
    instance.add_run(dg.DagsterRun(job_name="load_project", tags=tags, status=dg.DagsterRunStatus.STARTED))
    instance.add_dynamic_partitions("project_submissions", [str(request.partition_key)])
    assert not tick(instance, cursor).run_requests  # one is under way


def test_of_a_run_that_was_lost_each_file_is_tried_again_by_itself(node: Node, instance: dg.DagsterInstance):
    """One of them may be what kills it: it takes no other with it."""
    for code in ("HFX", "NSBS", "REEF"):
        node.drop_form(code)
    cursor = tick(instance, None).cursor
    result = tick(instance, cursor)
    (request,) = result.run_requests or []
    known = [str(key) for new in result.dynamic_partitions_requests or [] for key in new.partition_keys]
    instance.add_dynamic_partitions("project_submissions", known)
    assert covered(request, known) == known and len(known) == 3
    ago(node, minutes=60)
    again = tick(instance, cursor).run_requests or []
    assert [covered(one, known) for one in again] == [[known[0]], [known[1]]]  # the third when one of them has ended
    assert request.run_key not in {one.run_key for one in again}


def test_a_run_that_never_says_that_it_ended_stops_nothing_for_ever(node: Node, instance: dg.DagsterInstance):
    """A machine lost its power: its runs stand as started."""
    node.drop_form("HFX")
    cursor = tick(instance, None).cursor
    (request,) = tick(instance, cursor).run_requests or []
    key = str(request.partition_key)
    instance.add_dynamic_partitions("project_submissions", [key])
    for hours in (1, 7):
        run = dg.DagsterRun(
            job_name="load_project", tags={"dagster/partition": key}, status=dg.DagsterRunStatus.STARTED
        )
        instance.add_run(run)
        began = dt.datetime.now(dt.UTC).timestamp() - hours * 3600
        with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("update runs set start_time = ? where run_id = ?", (began, run.run_id))
        ago(node, minutes=60)
        assert bool(tick(instance, cursor).run_requests) is (hours > 6)
        instance.delete_run(run.run_id)


def ago(node: Node, minutes: int) -> None:
    """Make every attempt so many minutes older."""
    with node.connect() as connection:
        connection.execute("update platform.attempts set last_at = last_at - make_interval(mins => %s)", [minutes])


@pytest.mark.parametrize("state", ["received", "held"])
def test_a_file_whose_every_run_was_lost_is_refused_with_what_to_do(
    node: Node, instance: dg.DagsterInstance, state: str
):
    node.drop_form("HFX")
    cursor = tick(instance, None).cursor
    request = (tick(instance, cursor).run_requests or [])[0]
    key = str(request.partition_key)
    with node.connect() as connection:
        if state == "held":
            submissions.move(connection, key, "held")
            decisions.ask(connection, "removal", key, ["a row"])
            decisions.decide(connection, 1, "accept", "an analyst", "looked at")
    for _ in range(4 if state == "received" else 5):  # an answer is another occasion
        ago(node, minutes=60)
        tick(instance, cursor)
    with node.connect() as connection:
        assert submissions.get(connection, key).state == state
    ago(node, minutes=60)
    tick(instance, cursor)
    with node.connect() as connection:
        found = submissions.get(connection, key)
    assert found.state == "refused"
    assert "materialize the partition" in str(found.reason) and "raw_project" in str(found.reason)


def test_a_file_is_loaded_by_one_run_at_a_time(node: Node, instance: dg.DagsterInstance):
    """Loaded, and its checks still to come: the run that is under way will see to them, whoever started it."""
    forms = [f"P{number}" for number in range(4)]
    for code in forms:
        node.drop_form(code)
    cursor = tick(instance, None).cursor
    node.look()
    keys = [f"OTN/{code}/project" for code in forms]
    known = sorted(str(key) for (key,) in node.rows("select submission_key from platform.submissions"))
    assert [key.rsplit("/", 1)[0] for key in known] == keys
    instance.add_dynamic_partitions("project_submissions", known)
    tags = {"dagster/asset_partition_range_start": known[0], "dagster/asset_partition_range_end": known[1]}
    by_a_person = dg.DagsterRun(job_name="__ASSET_JOB", tags=tags, status=dg.DagsterRunStatus.STARTED)
    instance.add_run(by_a_person)
    asked = [covered(request, known) for request in tick(instance, cursor).run_requests or []]
    assert asked == [known[2:]]
    instance.delete_run(by_a_person.run_id)
    assert [covered(request, known) for request in tick(instance, cursor).run_requests or []] == [known[:2]]


def covered(request: dg.RunRequest, known: list[str]) -> list[str]:
    """Partitions that a requested run takes."""
    first = request.tags.get("dagster/asset_partition_range_start") or str(request.partition_key)
    last = request.tags.get("dagster/asset_partition_range_end") or first
    return known[known.index(first) : known.index(last) + 1]


def test_one_run_takes_many_files_and_one_that_fails_leaves_the_others_alone(node: Node, instance: dg.DagsterInstance):
    """Each has its own partition, transaction, checks, events and state; the run fails and names what did not get through."""
    node.drop_form("HFX")
    node.load()
    sheets = {
        "a.csv": tag_sheet({}),
        "b.csv": b"nothing,here\n1,2\n",
        "c.csv": tag_sheet({"ANIMAL_ID": "other", "TAG_ID_CODE": "77"}),
    }
    for name, content in sheets.items():
        node.drop("OTN/HFX/tags", name, content)
    cursor = tick(instance, None).cursor
    result = tick(instance, cursor)
    (request,) = result.run_requests or []
    for new in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(str(new.partitions_def_name), list(new.partition_keys))
    run = (
        build_defs()
        .get_repository_def()
        .get_job("load_tags")
        .execute_in_process(
            instance=instance, tags=dict(request.tags), partition_key=request.partition_key, raise_on_error=False
        )
    )
    states = dict(node.rows("select file_name, state from platform.submissions where kind = 'tags'"))
    assert states == {"a.csv": "loaded", "b.csv": "refused", "c.csv": "loaded"}
    assert not run.success
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    said = str(failure.user_failure_data and failure.user_failure_data.description)
    assert said.startswith("1 of 3 files did not get through") and "b.csv" in said and "a.csv" not in said
    loaded = {
        key.split("/")[-1].split("@")[0] for key in instance.get_materialized_partitions(dg.AssetKey("otn_animals"))
    }
    assert loaded == {"a.csv", "c.csv"}
    checked = {str(e.partition).split("/")[-1].split("@")[0] for e in run.get_asset_check_evaluations()}
    assert checked == {"a.csv", "c.csv"}
    assert node.value("select count(*) from hfx.otn_animals") == 2


@given(
    known=st.lists(st.integers(0, 40), unique=True),
    wanted=st.lists(st.integers(0, 60), unique=True),
    most=st.integers(1, 7),
)
def test_runs_take_what_is_wanted_once_and_nothing_else(known: list[int], wanted: list[int], most: int):
    """Dagster expands a range over the partitions in the order in which they became known."""
    before, chosen = [str(key) for key in known], [str(key) for key in wanted]
    order = [*before, *(key for key in chosen if key not in before)]
    taken = []
    for batch in batches(chosen, before, most):
        assert 0 < len(batch.keys) <= most
        taken += order[order.index(batch.keys[0]) : order.index(batch.keys[-1]) + 1]
    assert sorted(taken) == sorted(chosen)


def test_the_push_starts_when_the_last_node_s_day_has_ended(node: Node, instance: dg.DagsterInstance):
    def at(day: dt.date) -> object:
        zone = push_calendar.last_zone(node.settings)
        from zoneinfo import ZoneInfo

        time = dt.datetime.combine(day, dt.time(0, 5), ZoneInfo(zone))
        return push_calendar.push_at_cutoff(
            dg.build_schedule_context(
                instance=instance, scheduled_execution_time=time, resources={"database": NodeDatabase()}
            )
        )

    started = at(dt.date(2027, 2, 19))
    assert isinstance(started, dg.RunRequest)
    assert started.job_name == "push_1_freeze" and started.partition_key == "2027-02-18"
    assert isinstance(at(dt.date(2027, 2, 20)), dg.SkipReason)


def test_reminders_come_20_and_7_days_before(node: Node):
    zone = push_calendar.last_zone(node.settings)
    from zoneinfo import ZoneInfo

    for days, due in ((20, True), (7, True), (6, False)):
        time = dt.datetime.combine(dt.date(2027, 2, 18) - dt.timedelta(days=days), dt.time(0, 5), ZoneInfo(zone))
        result = push_calendar.push_reminder(
            dg.build_schedule_context(scheduled_execution_time=time, resources={"database": NodeDatabase()})
        )
        assert isinstance(result, dg.RunRequest) is due
    with node.connect() as connection:
        told = cutoffs.reminder(connection, "2027-02-18")
    assert "cut-offs (UTC)" in told and told["open submissions"] == "none"


def test_each_step_follows_the_one_before_and_a_person_s_run_starts_nothing(instance: dg.DagsterInstance):
    steps = [step.job_name for step in PUSH]

    def after(step: str, tags: dict[str, str]) -> object:
        run = instance.create_run_for_job(_job(step), tags=tags, status=dg.DagsterRunStatus.SUCCESS)
        event = dg.DagsterEvent("PIPELINE_SUCCESS", step)
        context = dg.build_run_status_sensor_context("next_push_step", event, instance, run)
        return push_calendar.next_push_step(context)

    automatic = {"otn/push": "automatic", "otn/push_date": "2027-02-18"}
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        result = after(step, automatic)
        if following is None:
            assert isinstance(result, dg.SkipReason)
        else:
            assert isinstance(result, dg.RunRequest)
            assert (result.job_name, result.partition_key) == (following, "2027-02-18")
    assert isinstance(after("push_1_freeze", {}), dg.SkipReason)


def _job(name: str) -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name=name)
    def job() -> None:
        nothing()

    return job


def test_operators_are_told_of_a_failed_run_once_a_day(node: Node, instance: dg.DagsterInstance, tmp_path: Path):
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder)
    (folder / "tracker.yaml").write_text("mail: {operators: [ops@example.org]}\n")
    node.drop_form("HFX")
    node.drop("OTN/HFX/project", "broken.txt", b"this is no form")
    node.drop("OTN/HFX/project", "empty.txt", b"")
    node.look()
    repository = build_defs(folder).get_repository_def()
    for name in ("broken.txt", "empty.txt"):
        key = node.value("select submission_key from platform.submissions where file_name = %s", name)
        instance.add_dynamic_partitions("project_submissions", [key])
        run = repository.get_job("load_project").execute_in_process(
            instance=instance, partition_key=key, raise_on_error=False
        )
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_run",
            dagster_event=run.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=run.dagster_run,
            partition_key=key,
        ).for_run_failure()
        failures.failed_run(context, database=NodeDatabase(config_folder=str(folder)))
    ((title, text, recipient),) = node.rows(
        "select title, body_text, recipient from platform.outbox where event = 'failure'"
    )
    assert recipient == "ops@example.org" and "load_project failed: raw_project: BadFile" in title
    assert "broken.txt" in text and "/runs/" in text
