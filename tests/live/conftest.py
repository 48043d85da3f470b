"""A remote source for live datasets."""

import threading

import pytest

from tests.support.remote import Remote


@pytest.fixture
def origin():
    with Remote() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()
