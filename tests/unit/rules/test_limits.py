"""Who may start, where jobs share what there is little of."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.rules.limits import PLAIN, Kind, Spare, choose

BIG, SMALL = (Kind(resources=json.dumps({"cpus": need})) for need in (4, 1))
ALIGN = Kind("align", 2)


def decide(order, spare, running=None, limits=None):
    """The choice among jobs that stand in the queue in this order, numbered from 1."""
    queues = {}
    for number, kind in enumerate(order, 1):
        queues.setdefault(kind, []).append((0, 0, 0, number))
    return choose({kind: iter(queue) for kind, queue in queues.items()}, running or {}, limits or {}, spare)


def room(forks=9, total=4, free=None, **more) -> Spare:
    return Spare(forks, 0, {"cpus": total}, {"cpus": total if free is None else free}, **more)


def test_the_first_that_fits_is_taken_in_the_order_of_the_queue():
    choice = decide([SMALL, BIG, SMALL], room())

    assert choice.taken == [1, 3]
    assert str(choice.held[BIG]) == "needs cpus 4, free 3"


def test_no_more_of_a_kind_are_taken_than_its_limit():
    choice = decide([ALIGN] * 3 + [PLAIN], room(), running={"align": 1})

    assert choice.taken == [1, 4]
    assert str(choice.held[ALIGN]) == "limit align 2/2"


@pytest.mark.parametrize(("most", "taken"), [(0, []), (1, [1]), (3, [1, 2, 3])])
def test_the_number_of_the_store_goes_before_that_of_the_job(most, taken):
    assert decide([ALIGN] * 4, room(), limits={"align": most}).taken == taken


def test_jobs_of_one_limit_count_together_whatever_number_they_bring():
    choice = decide([Kind("align", 2), Kind("align", 3), Kind("align", 2), Kind("align", 3)], room())

    assert choice.taken == [1, 2, 4]


def test_what_is_named_nowhere_is_not_counted():
    assert decide([Kind(resources='{"gpus":8}')] * 2, room()).taken == [1, 2]


def test_a_job_that_needs_more_than_there_is_is_refused_and_holds_nobody():
    choice = decide([Kind(resources='{"cpus":5}'), SMALL], room())

    assert choice.taken == [2]
    assert str(choice.refused[1]) == "TOO_LARGE: needs cpus 5, and there is 4"


def test_a_job_that_needs_more_than_there_is_is_refused_without_a_free_fork_too():
    large = Kind(resources='{"cpus":5}')

    choice = decide([SMALL, SMALL, large], room(forks=1))
    none_free = decide([PLAIN, SMALL, large, large], room(forks=0))

    assert (choice.taken, list(choice.refused)) == ([1], [3])
    assert (none_free.taken, list(none_free.refused)) == ([], [3, 4])


def test_several_that_lack_are_all_named():
    kind = Kind(resources='{"cpus":2,"mem":17179869184}')
    spare = Spare(9, 0, {"cpus": 2, "mem": 2**34}, {"cpus": 1, "mem": 2**32})

    assert str(decide([kind], spare).held[kind]) == "needs cpus 2, mem 16G, free cpus 1, mem 4G"


def test_what_a_job_needs_is_kept_for_it_when_it_has_waited_long():
    choice = decide([BIG, SMALL], room(free=3, barriers={BIG}))

    assert choice.taken == []
    told = "needs cpus 1, free 0: some is kept for job 1, which goes first"
    assert str(choice.held[SMALL]) == told


def test_what_it_does_not_need_is_not_kept():
    other = Kind(resources='{"mem":1}')
    total = {"cpus": 4, "mem": 1}
    spare = Spare(9, 0, total, {"cpus": 3, "mem": 1}, {BIG})

    assert decide([BIG, other, PLAIN], spare).taken == [2, 3]


def test_jobs_that_share_something_are_not_taken_ahead_of_forks():
    spare = Spare(1, 2, {"cpus": 4}, {"cpus": 4})

    assert decide([PLAIN, PLAIN, PLAIN, PLAIN], spare).taken == [1, 2, 3]
    assert decide([PLAIN, SMALL, PLAIN], spare).taken == [1]
    assert decide([PLAIN, PLAIN, SMALL, PLAIN], spare).taken == [1, 2]
    assert decide([SMALL, PLAIN], spare).taken == [1]


def test_fractions_add_up():
    tenth = Kind(resources='{"gpus":0.1}')
    spare = Spare(99, 0, {"gpus": 1}, {"gpus": 1})

    assert decide([tenth] * 12, spare).taken == [*range(1, 11)]


def test_a_long_queue_is_read_no_further_than_needed():
    def endless():
        number = 0
        while True:
            number += 1
            assert number < 10, "read too far"
            yield (0, 0, 0, number)

    assert choose({ALIGN: endless()}, {}, {}, room()).taken == [1, 2]
    assert choose({PLAIN: endless()}, {}, {}, room(forks=3)).taken == [1, 2, 3]


# Against a model that looks at every job


def needs(kind, total):
    return {name: need for name, need in json.loads(kind.resources or "{}").items() if name in total}


def model(order, running, limits, spare):
    """What is taken and refused, job by job."""
    running, free = Counter(running), dict(spare.free)
    taken, barred, sharing = [], set(), False
    needed = [needs(kind, spare.total) for kind in order]
    large = [any(need[name] > spare.total[name] for name in need) for need in needed]
    refused = [number for number, is_large in enumerate(large, 1) if is_large]
    for number, (kind, need) in enumerate(zip(order, needed, strict=True), 1):
        if number in refused:
            continue
        sharing = sharing or bool(kind.key or need)
        most = limits.get(kind.key, kind.most or 99) if kind.key else 99
        if running[kind.key] >= most and kind.key:
            continue
        if any(need[name] and need[name] > free[name] for name in need):
            if kind in spare.barriers and kind not in barred:
                barred.add(kind)
                free = {name: free[name] - need.get(name, 0) for name in free}
            continue
        if len(taken) >= spare.forks + (0 if sharing else spare.ahead):
            break
        taken.append(number)
        running[kind.key] += 1
        free = {name: free[name] - need.get(name, 0) for name in free}
    return taken, refused


AMOUNTS = st.dictionaries(st.sampled_from(["cpus", "mem", "gpus"]), st.integers(0, 5))
KINDS = st.builds(
    Kind,
    st.sampled_from(["", "", "a", "b"]),
    st.integers(0, 3),
    AMOUNTS.map(lambda amounts: json.dumps(amounts, sort_keys=True) if amounts else ""),
).map(lambda kind: kind if kind.key else kind._replace(most=0))


@st.composite
def situations(draw):
    kinds = draw(st.lists(KINDS, min_size=1, max_size=5, unique=True))
    order = draw(st.lists(st.sampled_from(kinds), max_size=25))
    total = draw(st.dictionaries(st.sampled_from(["cpus", "mem"]), st.integers(0, 8)))
    free = {name: draw(st.integers(0, amount)) for name, amount in total.items()}
    barriers = draw(st.sets(st.sampled_from(kinds)))
    spare = Spare(draw(st.integers(0, 6)), draw(st.integers(0, 4)), total, free, barriers)
    counts = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 4))
    return order, draw(counts), draw(counts), spare


@given(situations())
def test_the_choice_is_that_of_a_model_that_looks_at_each_job(situation):
    order, running, limits, spare = situation

    choice = decide(order, spare, running, limits)

    taken, refused = model(order, running, limits, spare)
    assert choice.taken == taken
    assert sorted(choice.refused) == refused


@given(situations())
def test_nothing_is_ever_given_twice(situation):
    order, running, limits, spare = situation

    choice = decide(order, spare, running, limits)

    kinds = [order[id_ - 1] for id_ in choice.taken]
    for name, free in spare.free.items():
        assert sum(needs(kind, spare.total).get(name, 0) for kind in kinds) <= free
    for key in ("a", "b"):
        started = [kind for kind in kinds if kind.key == key]
        if started and key in limits:
            assert running.get(key, 0) + len(started) <= limits[key]


@given(situations())
def test_whoever_is_not_taken_though_there_are_forks_is_told_why(situation):
    order, running, limits, spare = situation

    choice = decide(order, spare, running, limits)

    if len(choice.taken) < spare.forks:
        for id_, kind in enumerate(order, 1):
            assert id_ in choice.taken or id_ in choice.refused or kind in choice.held


@given(situations())
def test_a_job_that_waited_long_starts_when_nothing_new_is_in_front_of_it(situation):
    """With a barrier, what comes behind it never takes what it lacks: it starts as soon as others end."""
    order, running, limits, spare = situation
    choice = decide(order, spare, running, limits)
    waiting = [kind for kind in choice.held if choice.held[kind].code == "RESOURCES"]
    for kind in waiting:
        if kind not in spare.barriers:
            continue
        first = order.index(kind) + 1
        behind = [order[id_ - 1] for id_ in choice.taken if id_ > first]
        before = [order[id_ - 1] for id_ in choice.taken if id_ < first]
        for name, need in needs(kind, spare.total).items():
            left = spare.free[name] - sum(needs(one, spare.total).get(name, 0) for one in before)
            taken = sum(needs(one, spare.total).get(name, 0) for one in behind)
            assert taken <= max(0, left - need)
