"""A live test that is skipped fails the run in CI, and only there."""

import pytest

from tests.architecture.sources import ROOT

pytest_plugins = ["pytester"]

LIVE = pytest.mark.parametrize(
    "text",
    [
        pytest.param("@live\ndef test(): pytest.skip('no qsub')", id="in the test"),
        pytest.param("@live\n@pytest.mark.skipif(1, reason='no qsub')\ndef test(): ...", id="if"),
        pytest.param("@pytest.fixture\ndef qsub(): pytest.skip('no qsub')\n@live\ndef test(qsub): ...", id="fixture"),
        pytest.param("@live\nclass TestA:\n def test(self): pytest.skip('no qsub')", id="class"),
        pytest.param("pytestmark = live\npytest.skip('no qsub', allow_module_level=True)", id="module"),
    ],
)  # fmt: skip


@pytest.fixture
def run(pytester, monkeypatch):
    """Run one test module under the conftest of this project, return rc and what was printed."""
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    pytester.makeini("[pytest]\nmarkers = live: live\nasyncio_default_fixture_loop_scope = function")

    def run(text, ci):
        monkeypatch.setenv("CI", ci)
        pytester.makepyfile(f"import pytest\nlive = pytest.mark.live\n{text}")
        without = [
            "-pno:cacheprovider",
            "-pno:faulthandler",
            "-pno:hypothesispytest",
            "-pno:asyncio",
        ]
        result = pytester.runpytest_inprocess(*without)
        return result.ret, result.stdout.str()

    return run


@LIVE
def test_a_skipped_live_test_fails_in_ci(run, text) -> None:
    rc, output = run(text, ci="true")

    assert rc in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    assert "may not be skipped" in output
    assert "no qsub" in output


@LIVE
def test_a_skipped_live_test_is_a_skip_elsewhere(run, text) -> None:
    rc, output = run(text, ci="")

    assert rc in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert "1 skipped" in output


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def test(): pytest.skip('macOS only')", id="not live"),
        pytest.param("@live\n@pytest.mark.xfail\ndef test(): assert False", id="xfail"),
        pytest.param("@live\ndef test(): ...", id="passes"),
    ],
)
def test_what_is_no_skipped_live_test_does_not_fail_in_ci(run, text) -> None:
    assert run(text, ci="true")[0] == pytest.ExitCode.OK
