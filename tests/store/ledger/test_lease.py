"""The lease, and connections that the server has closed."""

from __future__ import annotations

import pytest

from tests import postgres
from tests.store.ledger.ledgers import begin, whole
from workbench.core.errors import StoreBusy
from workbench.store.ledger.database import LedgerStore


def test_one_process_at_a_time_has_the_lease(url: str) -> None:
    """It is free again when its holder closes the database."""
    first, second = LedgerStore(url), LedgerStore(url)
    assert [True, True, False] == [first.lease(), first.lease(), second.lease()]
    first.close()
    assert second.lease()
    second.close()


@pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
def test_a_closed_connection_is_opened_again(server: postgres.Cluster) -> None:
    """The unit that finds it closed raises StoreBusy, and the next one works; so does the lease."""
    import psycopg

    url = server.fresh()
    store = LedgerStore(url)
    begin(store)
    assert store.lease()
    for _ in range(16):  # More times than a pool of connections has connections.
        with psycopg.connect(url, autocommit=True) as other:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        with pytest.raises(StoreBusy):
            whole(store)
        assert 1 == whole(store)[0]
    assert not store.lease(), "the lease is lost with its session"
    assert store.lease(), "and can be taken again"
    store.close()
