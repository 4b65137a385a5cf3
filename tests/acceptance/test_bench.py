"""The benchmark itself works; what it measures is not tested, a busy machine would lie."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "benchmarks" / "bench.py"

PAGE = """# Numbers

Before.

<!-- generated: bench -->
old
<!-- /generated -->

After.
"""


def bench(*words):
    argv = [sys.executable, str(BENCH), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_a_quick_run_prints_a_row_for_each_figure():
    done = bench("--quick", "--only", "push,files,import")

    assert done.returncode == 0, done.stderr
    rows = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    for what in ("`push`, store", "`push_many`, store", "made for one job", "`import xqute`"):
        assert [row for row in rows if row.startswith(what)], done.stdout
    assert "cores" in done.stdout.splitlines()[0]


def test_the_tables_go_between_the_markers_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    done = bench("--quick", "--only", "files", "--markdown", page)

    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("# Numbers\n\nBefore.\n\n<!-- generated: bench -->\n")
    assert text.endswith("<!-- /generated -->\n\nAfter.\n")
    assert "| made for one job | " in text
    assert "old" not in text


def test_an_unknown_topic_is_refused_with_the_names_that_exist():
    done = bench("--only", "speed")

    assert done.returncode == 2
    assert "unknown topic 'speed': known are spawn, durable" in done.stderr


def test_a_figure_that_misses_its_bar_says_so():
    sys.path.insert(0, str(BENCH.parent))
    try:
        from shared import Row
    finally:
        sys.path.remove(str(BENCH.parent))

    verdicts = [Row("rate", value, bar=10, aim=20, more=True).verdict for value in (9, 10, 20)]
    assert verdicts == ["misses its bar", "meets its bar", "meets its aim"]
    verdicts = [Row("time", value, bar=10, aim=5).verdict for value in (11, 10, 5)]
    assert verdicts == ["misses its bar", "meets its bar", "meets its aim"]
    assert Row("for information", 1).verdict == ""
