"""A node as tests drive it: the domain's own steps, in the order of the jobs, without Dagster."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

from otn_dagster import database, files
from otn_dagster.config import Settings
from otn_dagster.demo.network import PROJECTS, Project
from otn_dagster.node import NodeConfig
from otn_dagster.telemetry import cutoffs, intake, submissions
from otn_dagster.telemetry.kinds import KINDS
from otn_dagster.telemetry.push import certificate, delivering, extracts, extracts_list, matching, snapshot
from otn_dagster.tracker import drift
from otn_dagster.tracker.follow import catch_up

NEXT_PUSH, PAST_PUSH = "2027-02-18", "2026-10-15"


class Node:
    """Drop files, load, push, look."""

    def __init__(self, settings: Settings):
        self.settings = settings

    @property
    def config(self) -> NodeConfig:
        """The configuration as it stands now."""
        return NodeConfig()

    def catch_up(self) -> tuple[int, list[str]]:
        """What the tracker's sensor does."""
        return catch_up.catch_up(self.settings, self.config.tracker, self.config.live)

    def drift(self) -> list[drift.Drift]:
        """Where what is declared is not what is there."""
        return drift.look(self.settings, self.config.streams, self.config.live)

    def drop(self, where: str, name: str, content: bytes | Path) -> Path:
        """Put a file into ``incoming/<where>/``."""
        target = self.settings.incoming / where / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
        return target

    def drop_tree(self, source: Path) -> None:
        """Put a whole tree into ``incoming/``."""
        for path in source.rglob("*"):
            if path.is_file():
                self.drop(str(path.relative_to(source).parent), path.name, path)

    def drop_form(self, code: str, node: str = "OTN", latitude: float = 44.2, longitude: float = -63.4) -> None:
        """A project form for a code."""
        from otn_dagster.demo.files import project_form

        project = Project(
            node, code, "data", f"Project {code}", "Halifax, NS", latitude, longitude, PROJECTS[1].species
        )
        self.drop(f"{node}/{code}/project", f"{code}.txt", project_form(project))

    def load(self) -> dict[str, str]:
        """Load all that is ready; states by submission key of those that were tried."""
        self.look()
        states, started = {}, set()
        while True:
            with self.connect() as connection:
                ready = [(s, key) for s, key in intake.ready(connection) if key not in started]
            if not ready:
                return states
            for submission, key in ready:
                started.add(key)
                states[submission.submission_key] = self.load_one(submission)

    def look(self) -> intake.Intake:
        """Receive what lies in ``incoming/``."""
        with self.connect() as connection:
            return intake.look(connection, self.settings, {}, wait_for_stillness=False)

    def load_one(self, submission: submissions.Submission, until: int | None = None) -> str:
        """Run the steps of one submission (the first ``until`` of them); its state after."""
        for stage in KINDS[submission.kind].stages[:until]:
            try:
                with self.connect() as connection:
                    stage.load(connection, self.settings, submission)
            except Exception as error:
                with self.connect() as connection:
                    before = submission.state
                    state = intake.note_failure(connection, submission, error)
                if state == before == "received":
                    raise
                break
        with self.connect() as connection:
            return submissions.get(connection, submission.submission_key).state

    def push(self, push_date: str = NEXT_PUSH, full: bool = False, finish: bool = True) -> Path:
        """The push by its core: snapshot, matches, list, extracts, certificate; the push's folder."""
        with self.connect() as connection:
            cutoffs.announce(connection, self.settings)
            frozen = snapshot.freeze(connection, self.settings, push_date)
        folder = snapshot.push_folder(self.settings, push_date)
        date = snapshot.previous(self.settings, push_date)
        before = None
        if date:
            before = (snapshot.read(self.settings, date), matching.read(snapshot.push_folder(self.settings, date)))
        matches = matching.match(frozen, folder, None if full else before)
        listed = extracts_list.write_list(matches, before[1] if before else None, frozen.table("projects"), folder)
        context = extracts.Context.of(frozen, matches)
        delivering.write_extracts(context, listed, listed["collectioncode"].unique().sort().to_list(), folder)
        certificate.certify(frozen, matches, listed, folder, before[1] if before else None)
        if finish:
            with self.connect() as connection:
                cutoffs.finish(connection, push_date, "test")
        return folder

    def clock(self, at: str | None) -> None:
        """Make the platform believe it is another time (UTC)."""
        with self.connect() as connection:
            cutoffs.set_drill_clock(connection, dt.datetime.fromisoformat(f"{at}+00:00") if at else None)
            cutoffs.announce(connection, self.settings)

    def connect(self):
        """A connection to the node's database."""
        return database.connect(self.settings)

    def rows(self, query: str, *parameters: Any) -> list[tuple]:
        """Rows of a query."""
        with self.connect() as connection:
            return connection.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        """The one value of a query."""
        return self.rows(query, *parameters)[0][0]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by relative path."""
    return {
        str(path.relative_to(folder)): files.sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def table_dump(node: Node, *tables: str) -> dict[str, list[tuple]]:
    """All rows of tables, for comparing before and after."""
    return {table: node.rows(f"select * from {table} order by 1, 2, 3") for table in tables}
