"""The embedded server: starts by itself, survives a crash, and changes nothing that it did not make."""

import os
import signal
import stat
import time
from pathlib import Path

import psycopg
import pytest

from otn_dagster.embedded import EmbeddedServer

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def private_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root under a folder that only its owner may enter."""
    private = tmp_path_factory.mktemp("private")
    private.chmod(0o700)
    (private / "data").mkdir(mode=0o700)
    return private / "data"


def test_permissions_of_folders_it_did_not_make_stay(private_root: Path):
    watched = [private_root, private_root.parent, private_root.parent.parent]
    before = [stat.S_IMODE(path.stat().st_mode) for path in watched]
    server = EmbeddedServer(private_root)
    try:
        assert server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert [stat.S_IMODE(path.stat().st_mode) for path in watched] == before
        assert stat.S_IMODE(server.cluster.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_starting_twice_is_one_server_and_a_killed_one_comes_back(tmp_path: Path):
    tmp_path.chmod(0o755)
    server = EmbeddedServer(tmp_path)
    try:
        assert server.start() and not server.start()
        with psycopg.connect(server.url) as connection:
            connection.execute("create table kept as select 1 as one")
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        assert server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select one from kept").fetchone() == (1,)
    finally:
        server.stop()
    assert server.pid() is None
