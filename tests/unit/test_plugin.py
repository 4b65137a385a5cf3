"""What a plugin may be, what is said about one that can't be used, and that none is called twice."""

import sys
import warnings

import pytest

from xqute import OptionError, simplug
from xqute.plugin import Plugins


class Counter:
    """Counts how often it was made, and how often it was called."""

    name = "counter"
    made = 0

    def __init__(self):
        type(self).made += 1
        self.called = 0

    @simplug.impl
    async def on_init(self, scheduler):
        self.called += 1

    @simplug.impl
    async def on_complete(self, scheduler):
        self.called += 1
        return self.called


class Needy:
    def __init__(self, path):
        self.path = path

    @simplug.impl
    async def on_init(self, scheduler):
        """Hear of it."""


@pytest.fixture(autouse=True)
def _classes():
    """A class in the place of an object is a warning of simplug's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*might need an instance")
        yield


def test_a_misspelt_hook_is_named_with_the_nearest():
    async def on_job_sucess(scheduler, job):
        """Hear of it."""

    with pytest.raises(
        OptionError, match="unknown hook 'on_job_sucess': did you mean 'on_job_succeeded'"
    ) as said:
        simplug.impl(on_job_sucess)

    assert "on_job_killing" in str(said.value)


def test_a_module_that_is_not_there_says_so():
    with pytest.raises(OptionError, match=r"'no_such_plugin', a text.*No module named 'no_such_plugin'"):
        Plugins(["no_such_plugin"])


def test_a_module_given_by_its_name_is_a_plugin_with_decorated_hooks(tmp_path, monkeypatch):
    (tmp_path / "good_plugin.py").write_text(
        "from xqute import simplug as pm\n@pm.impl\nasync def on_init(scheduler): pass\n"
    )
    (tmp_path / "bare_plugin.py").write_text("async def on_init(scheduler): pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert Plugins(["good_plugin"]).has("on_init")
    with pytest.raises(OptionError, match="is not decorated"):
        Plugins(["bare_plugin"])

    for name in ("good_plugin", "bare_plugin"):
        del sys.modules[name]


def test_a_class_that_needs_arguments_asks_for_an_object():
    with pytest.raises(OptionError, match=r"plugin 'needy' is a class.*'path'; give an object"):
        Plugins([Needy])


async def test_a_class_is_made_once():
    Counter.made = 0
    plugins = Plugins([Counter])
    plugins.collect()

    await plugins.fire("on_init", None)

    assert await plugins.fire("on_complete", None) == [2]
    assert Counter.made == 1


async def test_an_object_for_all_that_is_given_again_is_called_once():
    counter, other = Counter(), Counter()
    with simplug.plugins_context([counter]):
        both, beside = Plugins([counter]), Plugins([other])

        await both.fire("on_init", None)
        assert counter.called == 1

        await beside.fire("on_init", None)
        assert (counter.called, other.called) == (2, 1)


async def test_a_class_for_all_that_is_given_again_is_called_once():
    with simplug.plugins_context([Counter]):
        plugins = Plugins([Counter])

        assert await plugins.fire("on_complete", None) == [1]


async def test_a_plugin_disabled_by_its_name_is_not_called_from_the_next_engine_on():
    counter = Counter()
    with simplug.plugins_context([counter]):
        plugins = Plugins()
        simplug.disable("counter")
        plugins.collect()

        await plugins.fire("on_init", None)

    assert counter.called == 0
