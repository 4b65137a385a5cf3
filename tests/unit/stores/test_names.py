"""From what a user writes for `store=` to a store."""

import pytest

from xqute.errors import OptionError, StoreError
from xqute.stores.memory import MemoryStore
from xqute.stores.names import make_store
from xqute.stores.sqlite import SqliteStore


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers stores."""
    home = tmp_path / "site-packages"
    info = home / "acme-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[xqute.stores]\nacme = acme:make\nodd = acme:odd\n")
    (home / "acme.py").write_text(
        "from xqute.stores.memory import MemoryStore\n"
        "class Acme(MemoryStore): pass\n"
        "def make(address, root):\n"
        "    store = Acme()\n"
        "    store.given = address, root\n"
        "    return store\n"
        "def odd(address, root): return 'nothing'\n"
    )
    monkeypatch.syspath_prepend(home)


def test_nothing_means_sqlite_in_the_metadir(tmp_path) -> None:
    store = make_store(None, tmp_path)

    assert isinstance(store, SqliteStore)
    assert store.path == str(tmp_path / "xqute.db")


def test_a_store_is_taken_as_it_is(tmp_path) -> None:
    store = MemoryStore()

    assert make_store(store, tmp_path) is store


def test_memory_is_named_by_its_scheme(tmp_path) -> None:
    assert isinstance(make_store("memory://", tmp_path), MemoryStore)


def test_three_slashes_begin_an_absolute_path(tmp_path) -> None:
    assert make_store("sqlite:///abs/a.db", tmp_path).path == "/abs/a.db"


def test_two_slashes_begin_a_path_from_the_current_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert make_store("sqlite://sub/a.db", tmp_path).path == str(tmp_path / "sub" / "a.db")


def test_sqlite_without_a_file_is_refused(tmp_path) -> None:
    with pytest.raises(OptionError, match="names no file"):
        make_store("sqlite://", tmp_path)


def test_a_path_alone_is_refused_with_what_to_write(tmp_path) -> None:
    with pytest.raises(OptionError, match=r"write sqlite://jobs\.db"):
        make_store("jobs.db", tmp_path)


def test_an_unknown_scheme_is_refused_with_those_that_exist(tmp_path, package) -> None:
    with pytest.raises(OptionError, match="did you mean 'sqlite://'") as info:
        make_store("sqlit://x", tmp_path)

    assert "known are acme://, memory://, odd://, sqlite://" in str(info.value)


def test_an_installed_package_may_offer_a_store(tmp_path, package) -> None:
    store = make_store("acme://host/queue", tmp_path)

    assert type(store).__name__ == "Acme"
    assert store.given == ("acme://host/queue", tmp_path)


def test_a_package_that_makes_no_store_is_named(tmp_path, package) -> None:
    with pytest.raises(StoreError, match="acme:odd made no store"):
        make_store("odd://", tmp_path)
