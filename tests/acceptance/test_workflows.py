"""A small workflow of science runs as a tree of calls, and the benchmark reads what others write."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from xqute import JobStatus, cmd, task

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
MONTAGE = ROOT / "tests" / "data" / "montage_58.json"

#: Notes its begin and its end, and says one more than the most its parents said.
STEP = """
echo "begin $1" >>"$0"
echo "end $1" >>"$0"
shift
level=0
for parent; do
    [ "$parent" -le $level ] || level=$parent
done
echo $((level + 1))
"""


@pytest.fixture
def wfformat(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import wfformat

    return wfformat


def run_script(*words):
    argv = [sys.executable, str(BENCHMARKS / "workflows.py"), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def figures(printed):
    """The table as it was printed, by its first column."""
    lines = [line.strip().partition("  ") for line in printed.splitlines() if line.startswith("  ")]
    return {what: figure.strip() for what, _, figure in lines}


async def run_tree(make, workflow, calls):
    """Run it; the status and result of each of its ends, by id."""
    xqute = make(scheduler_forks=4)
    ends = await xqute.push_many([calls[end] for end in workflow.ends])
    async with asyncio.timeout(100):
        report = await xqute.run_until_complete()
    assert report.counts == {JobStatus.FINISHED: len(workflow.tasks)}
    return {workflow.tasks[end].id: job.result() for end, job in zip(workflow.ends, ends, strict=True)}


def assert_order(workflow, lines):
    """Each task began and ended once, and began after its parents had ended."""
    place = {line: number for number, line in enumerate(lines)}
    assert len(place) == len(lines) == 2 * len(workflow.tasks)
    for own in workflow.tasks:
        for parent in own.parents:
            assert place[f"end {workflow.tasks[parent].id}"] < place[f"begin {own.id}"]


async def test_a_montage_of_commands_runs_in_order_and_hands_on_what_they_print(make, tmp_path, wfformat):
    workflow, log = wfformat.read(MONTAGE), tmp_path / "log"
    calls = []
    for own in workflow.tasks:
        parents = [calls[parent] for parent in own.parents]
        calls.append(cmd("sh", "-c", STEP, str(log), own.id, *parents))

    results = await run_tree(make, workflow, calls)

    assert_order(workflow, log.read_text().splitlines())
    assert len(results) == 4
    assert set(results.values()) == {"8"}


async def test_a_montage_of_python_calls_runs_in_order_and_hands_on_what_they_return(
    make, tmp_path, wfformat
):
    workflow, log = wfformat.read(MONTAGE), tmp_path / "log"

    @task
    def step(name, parents):
        with log.open("a") as file:
            print("begin", name, file=file, flush=True)
            print("end", name, file=file, flush=True)
        return frozenset([name]).union(*parents)

    calls = []
    for own in workflow.tasks:
        calls.append(step(own.id, [calls[parent] for parent in own.parents]))

    results = await run_tree(make, workflow, calls)

    assert_order(workflow, log.read_text().splitlines())
    assert results == {workflow.tasks[end].id: ancestors(workflow, end) for end in workflow.ends}


def ancestors(workflow, number):
    """The ids of a task and of all that it waits for."""
    own = workflow.tasks[number]
    return frozenset([own.id]).union(*(ancestors(workflow, parent) for parent in own.parents))


@pytest.mark.parametrize("how", [(), ("--python", "--scale", "0.0001")], ids=["commands", "python"])
def test_the_script_runs_it_and_prints_what_it_cost(how):
    done = run_script(MONTAGE, "--forks", 4, *how)

    assert done.returncode == 0, done.stderr
    table = figures(done.stdout)
    assert [table[what] for what in ("tasks", "edges", "levels")] == ["58", "114", "8"]
    assert table["ready to start, p95"].endswith(" ms")
    assert float(table["jobs per second"]) > 0
    assert "every task began after its parents had ended" in done.stdout


def test_the_benchmark_measures_calls_and_trees():
    argv = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--only", "calls,graphs"]

    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    for what in ("a clean process each", "against bare `os.fork`", "push of a tree", "ready to start, p95"):
        assert what in done.stdout


def test_the_script_makes_a_montage_of_any_size():
    done = run_script("--montage", 30)

    assert done.returncode == 0, done.stderr
    assert [figures(done.stdout)[what] for what in ("tasks", "levels")] == ["30", "8"]


def test_a_file_that_is_no_workflow_is_refused_in_one_line(tmp_path):
    file = tmp_path / "other.json"
    file.write_text("[1]")

    done = run_script(file)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{file} is no WfFormat" in done.stderr


def old_form(document):
    """The instance as version 1.3 had it: one list, by name, times beside it, only one end knows."""
    tasks = document["workflow"]["specification"]["tasks"]
    seconds = {own["id"]: own["runtimeInSeconds"] for own in document["workflow"]["execution"]["tasks"]}
    old = [
        {"name": own["id"], "category": own["name"], "runtime": seconds[own["id"]], "parents": own["parents"]}
        for own in tasks
    ]
    return {"name": document["name"], "schemaVersion": "1.3", "workflow": {"tasks": old}}


def test_an_older_version_of_the_format_is_the_same_workflow(tmp_path, wfformat):
    file = tmp_path / "old.json"
    file.write_text(json.dumps(old_form(json.loads(MONTAGE.read_text()))))

    old, new = wfformat.read(file), wfformat.read(MONTAGE)

    assert old == new
    assert new.critical() == pytest.approx(3182.591)


def test_tasks_that_wait_for_each_other_are_refused(tmp_path, wfformat):
    tasks = [
        {"name": "a", "id": "1", "parents": ["2"], "children": []},
        {"name": "b", "id": "2", "parents": [], "children": ["3"]},
        {"name": "c", "id": "3", "parents": [], "children": ["2"]},
    ]
    file = tmp_path / "circle.json"
    file.write_text(json.dumps({"name": "circle", "workflow": {"specification": {"tasks": tasks}}}))

    with pytest.raises(ValueError, match="3 tasks wait for each other in a circle, or behind one"):
        wfformat.read(file)


@pytest.mark.parametrize("size", [20, 58, 1000])
def test_a_montage_that_is_made_has_the_size_and_the_levels_of_one(size, wfformat):
    workflow = wfformat.montage(size)

    kinds = [own.kind for own in workflow.tasks]
    assert len(workflow.tasks) == len({own.id for own in workflow.tasks}) == size
    assert list(dict.fromkeys(kinds)) == list(wfformat.MONTAGE)
    assert max(workflow.levels()) == 8
    assert workflow.ends == [size - 1]


def test_what_should_not_have_happened_is_found(wfformat):
    import workflows

    workflow = wfformat.montage(20)
    good = [workflows.Times(level, level + 0.5, level, level + 0.5) for level in workflow.levels()]
    told = [(number, level, 0.0, 0.0) for number, level in enumerate(workflow.levels())]
    assert workflows.early(workflow, good) == []
    assert workflows.misinformed(workflow, told) == []

    late = [*good[:-2], workflows.Times(7.0, 8.25, 7.0, 8.25), good[-1]]
    assert workflows.early(workflow, late) == ["mViewer_0 began 250.0 ms before mAdd_0 had ended"]
    told[-1] = (19, 3, 0.0, 0.0)
    assert workflows.misinformed(workflow, told) == ["mViewer_0 returned 3, not 8"]


def test_a_task_waits_from_when_it_could_begin_to_when_it_did(wfformat):
    import workflows

    workflow = wfformat.montage(20)
    one_by_one = [workflows.Times(place + 0.25, place + 1, 0, 0) for place in range(20)]
    by_levels = [workflows.Times(level + 0.125, level + 1, 0, 0) for level in workflow.levels()]

    waited = workflows.waits(workflow, workflows.Outcome(0, 0, 20, 0.0, one_by_one, []), forks=1)
    assert waited == [0.25] * 20

    waited = workflows.waits(workflow, workflows.Outcome(0, 0, 8, 1.0, by_levels, []), forks=5)
    assert waited == [0.125] * 20
