"""Every store that comes with xqute keeps the promises of stores."""

import pytest

from xqute.store import Store
from xqute.stores.memory import MemoryStore
from xqute.stores.sqlite import SqliteStore
from xqute.testing.stores import StoreConformance


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path) -> Store:
        return SqliteStore(tmp_path / "xqute.db")


class TestMemoryStore(StoreConformance):
    durable = False

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
