"""The fake acts in virtual time."""

from xqute.testing.clock import AutojumpLoop


def pytest_asyncio_loop_factories(config, item):
    return {"autojump": AutojumpLoop}
