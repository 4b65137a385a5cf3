"""The public names: each works, each is documented, and none costs anything before it is used."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import xqute
from tests.architecture.sources import ROOT, hold

REFERENCE = ROOT / "docs" / "reference.md"

#: Printed by a clean interpreter: what `import {package}` loaded.
PROBE = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
import {package}
print(*sorted(set(sys.modules) - before))
"""

#: Never loaded by the import alone, nor is any module of the package itself.
HEAVY = frozenset({"asyncio", "rich", "simplug", "diot", "aiofiles", "cloudpickle", "sqlite3"})


def broken_names(module: types.ModuleType) -> list[str]:
    """Names that the module promises and does not have."""
    broken = []
    for name in module.__all__:
        try:
            getattr(module, name)
        except Exception as error:  # noqa: BLE001  whatever a lazy import raises is what is reported
            broken.append(f"{module.__name__}.{name}: {type(error).__name__}: {error}")
    return broken


def loaded_by_import(package: str, root: Path) -> list[str]:
    """The modules that importing a package loads and should not, in an interpreter of its own."""
    # -S: without site-packages, whose .pth files may load anything.
    probe = PROBE.format(root=str(root), package=package)
    command = [sys.executable, "-I", "-S", "-c", probe]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [
        f"`import {package}` loads {name}"
        for name in loaded
        if name.startswith(f"{package}.") or name.split(".")[0] in HEAVY
    ]


def undocumented_names(names: list[str], reference: str) -> list[str]:
    """Names that stand in no code of the reference: neither in `code` nor in a code block."""
    code = " ".join(re.findall(r"^```.*?^```|`[^`\n]+`", reference, re.DOTALL | re.MULTILINE))
    return [
        f"docs/reference.md does not name `{name}`"
        for name in names
        if not re.search(rf"\b{re.escape(name)}\b", code)
    ]


def test_every_public_name_works() -> None:
    """Each name of `__all__` can be fetched.

    Fails:

        __all__ = ["Xqute", "Xquet"]
    """
    hold(broken_names(xqute))


def test_importing_the_package_loads_nothing() -> None:
    """`import xqute` loads none of its modules, nor asyncio, rich or simplug.

    Fails:

        from xqute.job import Job  # in xqute/__init__.py
    """
    hold(loaded_by_import("xqute", ROOT))


def test_every_public_name_is_documented() -> None:
    """Each name of `__all__` stands in docs/reference.md, as code.

    Fails:

        A Job is one execution.  # "Job" is a word here, not `Job`
    """
    reference = REFERENCE.read_text("utf-8") if REFERENCE.exists() else ""

    hold(undocumented_names(xqute.__all__, reference))


def test_public_names_are_sorted_listed_and_nothing_else_resolves() -> None:
    assert xqute.__all__ == sorted(set(xqute.__all__))
    assert set(xqute.__all__) <= set(dir(xqute))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = xqute.no_such_name


def test_the_version_is_the_one_of_pyproject() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")

    assert re.findall(r'^version = "(.+?)"', project, re.MULTILINE) == [xqute.__version__]


def test_a_name_that_does_not_work_is_caught() -> None:
    module = types.ModuleType("toy")
    module.__all__ = ["Xqute", "Xquet"]
    module.Xqute = object

    assert broken_names(module) == ["toy.Xquet: AttributeError: module 'toy' has no attribute 'Xquet'"]


@pytest.mark.parametrize(
    ("line", "loaded"),
    [
        ("from toy.job import Job", ["`import toy` loads toy.job"]),
        ("def __getattr__(name): from toy.job import Job", []),
        ("import sqlite3", "sqlite3"),
    ],
)
def test_an_import_that_loads_is_caught(tmp_path, line, loaded) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text(f"{line}\n")
    (package / "job.py").write_text("class Job: ...\n")

    found = loaded_by_import("toy", tmp_path)

    assert found == loaded if isinstance(loaded, list) else loaded in " ".join(found)


@pytest.mark.parametrize(
    ("reference", "documented"),
    [
        ("A Job is one execution.", False),
        ("`JobFailed` and `a_Job`", False),
        ("## `Job`", True),
        ("`await Job.kill()`", True),
        ("```python\nfrom xqute import Job\n```\n", True),
        ("a ` and Job\nand ` later", False),
    ],
)
def test_a_name_that_is_not_documented_is_caught(reference, documented) -> None:
    assert bool(undocumented_names(["Job"], reference)) is not documented
