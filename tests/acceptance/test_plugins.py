"""Plugins are found wherever they are offered."""

import sys
import types

import pytest

from xqute import OptionError, Xqute, simplug

SOURCE = """
from xqute import simplug as pm
called = []
@pm.impl
async def on_job_succeeded(scheduler, job):
    called.append(job.id)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that offers plugins, as pip would."""

    def install(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[xqute]\n{name} = {name}\n")

    before = set(simplug.get_all_plugin_names())
    monkeypatch.syspath_prepend(tmp_path)

    yield install

    for name in set(simplug.get_all_plugin_names()) - before:
        simplug.get_plugin(name).disable()


async def test_a_plugin_of_an_installed_package_is_used(installed, tmp_path):
    installed("an_installed_plugin", SOURCE)

    xqute = Xqute(job_metadir=tmp_path / "meta")
    await xqute.push(["true"])
    await xqute.run_until_complete()

    assert sys.modules["an_installed_plugin"].called == [1]


async def test_a_broken_plugin_of_an_installed_package_is_named_and_harms_nobody(installed, tmp_path, caplog):
    installed("a_broken_plugin", "raise ValueError('broken')")

    xqute = Xqute(job_metadir=tmp_path / "meta")
    await xqute.push(["true"])
    report = await xqute.run_until_complete()

    assert report.ok
    assert "a_broken_plugin" in caplog.text


async def test_a_module_registered_for_all_is_used_by_each(tmp_path):
    module = types.ModuleType("registered_for_all")
    exec(SOURCE, vars(module))
    simplug.register(module)
    try:
        for name in ("one", "two"):
            xqute = Xqute(job_metadir=tmp_path / name)
            await xqute.push(["true"])
            await xqute.run_until_complete()
    finally:
        simplug.get_plugin("registered_for_all").disable()

    assert module.called == [1, 1]


async def test_a_plugin_given_to_one_producer_is_not_used_by_another(tmp_path):
    module = types.ModuleType("given_to_one")
    exec(SOURCE, vars(module))
    with_plugin = Xqute(job_metadir=tmp_path / "one", plugins=[module])
    without = Xqute(job_metadir=tmp_path / "two")

    for xqute in (with_plugin, without):
        await xqute.push(["true"])
        await xqute.run_until_complete()

    assert module.called == [1]


async def test_a_hook_without_its_decorator_is_refused_by_name(tmp_path):
    class Forgetful:
        async def on_job_succeeded(self, scheduler, job):
            pass

    with pytest.raises(OptionError, match="on_job_succeeded"):
        Xqute(job_metadir=tmp_path, plugins=[Forgetful()])


async def test_a_hook_with_other_arguments_is_refused(tmp_path):
    class Wrong:
        @simplug.impl
        async def on_job_succeeded(self, scheduler):
            pass

    with pytest.raises(OptionError, match="on_job_succeeded"):
        Xqute(job_metadir=tmp_path, plugins=[Wrong()])
