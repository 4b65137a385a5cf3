"""What calls require again: any program comes to its end, however its equal calls are spread."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqute.calls import task
from xqute.inside import requiring
from xqute.inside.calling import Leave
from xqute.inside.requiring import require


@task
def one(n): ...


class Tree:
    """Gives calls the jobs that a tree gives them: the n-th of equal calls in one plan is the n-th job."""

    def __init__(self, others):
        # what another job of the tree has asked for: as many jobs of each
        self.jobs = defaultdict(lambda: [self.new() for _ in range(others)])
        self.required = {}
        self.count = 0

    def accept(self, laid):
        taken = {}
        for number, node in enumerate(laid.nodes):
            jobs = self.jobs[node.digest]
            place = taken.get(node.digest, 0)
            taken[node.digest] = place + 1
            if place == len(jobs):
                jobs.append(self.new())
            known = self.required.setdefault(node.digest, [])
            if number in laid.roots and jobs[place] not in known:
                known.append(jobs[place])

    def new(self):
        self.count += 1
        return (self.count, "result")


def start(program, tree):
    """One start of a call: the job of each call of each `require` it got to, in their order."""
    calling = SimpleNamespace(
        directory="",
        payload={"work": {"function": {"place": ""}}, "required": tree.required},
        needs=SimpleNamespace(fetch=lambda id, source: id),
    )
    return [require(calling, each, "all") for each in program]


CALLS = st.sampled_from([one(n) for n in (1, 1, 1, 2, 2, 3)])


@settings(max_examples=200, deadline=None)
@given(program=st.lists(st.lists(CALLS, max_size=6), max_size=4), others=st.integers(0, 2))
def test_each_require_costs_one_start_and_equal_calls_of_one_are_jobs_of_their_own(program, others):
    tree, starts, jobs = Tree(others), 0, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requiring, "_ask", lambda _, laid: tree.accept(laid) or "")
        while jobs is None:
            starts += 1
            assert starts <= len(program) + 1
            try:
                jobs = start(program, tree)
            except Leave:
                continue

    for calls, each in zip(program, jobs, strict=True):
        pairs = set(zip(calls, each, strict=True))
        assert len({call for call, _ in pairs}) == len({job for _, job in pairs}) == len(pairs)
    alike = [each for calls, each in zip(program, jobs, strict=True) if calls == program[0]]
    assert all(each == alike[0] for each in alike)
    assert tree.count <= max(others, 3) + max(others, 2) + max(others, 1)
