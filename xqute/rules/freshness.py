"""Which results are up to date, and what has to be built so that they are.

A build is one job of a named call. It knows which builds it used, and that is all that is compared:
never times. So what was rebuilt while others ran with the one before is seen for what it is.

* not_built: no build ended FINISHED, and none failed.
* failed: no build ended FINISHED, and some failed or were killed.
* success: the newest FINISHED build used the newest one of each need, no need is outdated, and the call
  is what it was.
* outdated: else.

A build that was SKIPPED says that the last result stands for what it used itself. One that failed, or
that has not ended, changes nothing for anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Self

from ..states import JobStatus

NOT_BUILT, FAILED, OUTDATED, SUCCESS = "not_built", "failed", "outdated", "success"

#: The digest of a call that nobody defines any more: what was built of it is what it is.
UNKNOWN: Final = "?"

#: What `deps` may be.
POLICIES = ("outdated", "missing", None)


class Build(NamedTuple):
    """One job of a named call.

    Attributes:
        id: Its job's.
        status: Where that stands.
        digest: Of the definition it was pushed with; empty: nothing is the same as it.
        used: Which builds of other named calls it used.
        ours: It has not ended, and it will without anybody's doing.
        trouble: Why it ended badly, or does not go on; empty: neither.
    """

    id: int
    status: JobStatus
    digest: str
    used: Mapping[str, int]
    ours: bool = False
    trouble: str = ""


class Definition(NamedTuple):
    """A named call as it is now.

    Attributes:
        name: What its builds are found by.
        digest: What it does; empty where that can't be compared.
        needs: The named calls whose results it uses, as far as that is known before it runs.
        protected: What was built of it is not built again by itself.
    """

    name: str
    digest: str
    needs: tuple[str, ...] = ()
    protected: bool = False


class BuildStatus(str):
    """How a named call stands: `not_built`, `failed`, `outdated` or `success`.

    Attributes:
        why: What made it `outdated`; or what is wrong with its newest build, where that failed or can't go
            on. Else empty.
        running: One of its builds has not ended, and goes on.
        latest: The id of its newest FINISHED build; 0: there is none.
    """

    __slots__ = ("latest", "running", "why")

    why: str
    running: bool
    latest: int

    def __new__(cls, word: str, why: str = "", *, running: bool = False, latest: int = 0) -> Self:
        """The word with what is known beside it."""
        self = super().__new__(cls, word)
        self.why, self.running, self.latest = why, running, latest
        return self


class Decision(NamedTuple):
    """What a build comes to.

    Attributes:
        new: The calls that get a new job.
        uses: Of all other calls that count, which build is used: it is there, or on its way.
        roots: The calls that were asked for and can be had: the goals first, then what depends on them.
        missing: The goals that can't be had, and which results they, or what depends on them, lack that may
            not be built.
        refused: Protected calls that would have to be built again, and are left as they are.
    """

    new: frozenset[str]
    uses: Mapping[str, int]
    roots: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    refused: frozenset[str]


def statuses(
    definitions: Sequence[Definition], builds: Mapping[str, Sequence[Build]]
) -> dict[str, BuildStatus]:
    """How each call stands.

    Args:
        definitions: The calls, each after what it needs.
        builds: The builds of each, in any order.
    """
    found: dict[str, BuildStatus] = {}
    for each in definitions:
        mine = builds.get(each.name, ())
        running = any(not build.status.final and not build.trouble for build in mine)
        last = latest(mine)
        if last is None:
            bad = any(build.status in {JobStatus.FAILED, JobStatus.KILLED} for build in mine)
            found[each.name] = BuildStatus(FAILED if bad else NOT_BUILT, trouble(mine), running=running)
            continue
        now = {need: _id(latest(builds.get(need, ()))) for need in uses(each, mine)}
        stale = (need for need in now if found.get(need) == OUTDATED)
        aside = next((f"{need} is outdated itself" for need in stale), "")
        why = _difference(each, standing(mine), now, aside)
        told = "; ".join(filter(None, (why, trouble(mine))))
        found[each.name] = BuildStatus(OUTDATED if why else SUCCESS, told, running=running, latest=last.id)
    return found


def trouble(builds: Iterable[Build]) -> str:
    """What is wrong with the newest build; empty: it ended well, or goes on."""
    newest = max(builds, default=None, key=_age)
    return "" if newest is None else newest.trouble


def latest(builds: Iterable[Build]) -> Build | None:
    """The build whose result others use."""
    return max((build for build in builds if build.status is JobStatus.FINISHED), default=None, key=_age)


def standing(builds: Iterable[Build]) -> Build | None:
    """The newest build that ended well: it made the result, or said that it stands."""
    return max((build for build in builds if build.status.well), default=None, key=_age)


def _age(build: Build) -> int:
    return build.id


def _id(build: Build | None) -> int:
    return 0 if build is None else build.id


def uses(definition: Definition, builds: Iterable[Build]) -> Iterable[str]:
    """The calls that count for it: those it needs, and those its last good build found that it needs."""
    last = standing(builds)
    return dict.fromkeys((*definition.needs, *(last.used if last is not None else ())))


def ordered(definitions: Sequence[Definition], builds: Mapping[str, Sequence[Build]]) -> list[Definition]:
    """The calls, each after those that count for it.

    What was found while others ran may go in a circle, when code was changed meanwhile; where it does, any
    may be first.
    """
    known = {each.name: each for each in definitions}
    done: dict[str, Definition] = {}
    opened: set[str] = set()
    stack = [each.name for each in reversed(definitions)]
    while stack:
        name = stack[-1]
        each = known.get(name)
        if each is None or name in opened:
            stack.pop()
            if each is not None:
                done.setdefault(name, each)
            continue
        opened.add(name)
        stack += [need for need in uses(each, builds.get(name, ())) if need not in opened]
    return list(done.values())


def _difference(
    definition: Definition, build: Build | None, now: Mapping[str, int | None], aside: str = ""
) -> str:
    """Why a build is not what a new one would be; empty when it is.

    What is known of its needs comes first, `aside` included: when the definition of one of them changed, its
    own is another, too.
    """
    if build is None:
        return "it was never built"
    if not definition.digest:
        return "it can't be compared with what was built"
    edited = definition.digest not in (build.digest, UNKNOWN)
    for need in definition.needs if edited else dict.fromkeys((*definition.needs, *build.used)):
        used, wanted = build.used.get(need), now.get(need, 0)
        if wanted is None:
            return f"{need} is built anew"
        if used != wanted:
            there = f"and the newest is job {wanted}" if wanted else "and there is no result any more"
            return f"it used job {used} of {need}, {there}" if used else f"it did not use {need}"
    return aside or ("its definition changed" if edited else "")


def decide(
    definitions: Sequence[Definition],
    builds: Mapping[str, Sequence[Build]],
    goals: Sequence[str],
    *,
    deps: str | None = "outdated",
    dependents: Collection[str] = (),
    pin: Mapping[str, int] | None = None,
    force: bool = False,
) -> Decision:
    """What has to be built for goals, each once.

    Args:
        definitions: The calls, each after what it needs.
        builds: The builds of each.
        goals: What is wanted.
        deps: Which of their needs may be built: those that are `outdated` or missing, the `missing`, or None.
        dependents: Calls that are brought up to date too, where they depend on anything that is built, or
            on a goal.
        pin: Older builds that are used in the place of the newest.
        force: Build the goals whatever they are; who needs one of them uses its new build.
    """
    known = {each.name: each for each in definitions}
    needs = {each.name: uses(each, builds.get(each.name, ())) for each in definitions}
    missing: dict[str, tuple[str, ...]] = {}
    roots = list(goals)
    while True:
        planner = _Builder(builds, roots, deps, pin or {}, goals if force else ())
        planner.look(definitions)
        for root in roots:
            if lacks := planner.lacks(root, known):
                blamed = [root] if root in goals else goals
                missing |= {goal: tuple(sorted({*missing.get(goal, ()), *lacks})) for goal in blamed}
        if missing.keys() & set(roots):
            roots = [goal for goal in goals if goal not in missing]
            continue
        decision = planner.decision(known, missing)
        touched = {*goals, *decision.new} - missing.keys()
        more = [
            each.name
            for each in definitions
            if each.name in dependents
            and each.name not in {*roots, *missing}
            and any(name in touched for name in below(needs[each.name], needs))
        ]
        if not more:
            return decision
        roots += more


def usable(definitions: Sequence[Definition], builds: Mapping[str, Sequence[Build]]) -> dict[str, int]:
    """The calls that need not be built, and which builds of them are there, or on their way.

    One that is built anew just now is used as it will be: what took the older one would be outdated at once.

    Args:
        definitions: The calls, each after what it needs.
        builds: The builds of each.
    """
    planner = _Builder(builds, (), "outdated", {}, ())
    found: dict[str, int] = {}
    for definition, use in zip(definitions, planner.look(definitions).values(), strict=True):
        younger = planner.on_its_way(definition, builds.get(definition.name, ()))
        if use is not None or younger is not None:
            found[definition.name] = max(use or 0, younger or 0)
    return found


def below(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """These names and all they need, each once."""
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            yield name
            stack.extend(needs.get(name, ()))


class _Builder:
    """One look at all calls, needs first: what each would be used as."""

    def __init__(
        self,
        builds: Mapping[str, Sequence[Build]],
        roots: Sequence[str],
        deps: str | None,
        pin: Mapping[str, int],
        forced: Collection[str],
    ) -> None:
        self._builds = builds
        self._roots = roots
        self._deps = deps
        self._pin = pin
        self._forced = {*forced} & {*roots}
        # which build; None: a new one
        self._use: dict[str, int | None] = {name: _id(latest(some)) for name, some in builds.items()}
        self._lacking: set[str] = set()
        self._refused: set[str] = set()

    def look(self, definitions: Sequence[Definition]) -> Mapping[str, int | None]:
        """Which build of each would be used; None: a new one. Each comes after what it needs."""
        for definition in definitions:
            self._look_at(definition)
        return {definition.name: self._use[definition.name] for definition in definitions}

    def _look_at(self, definition: Definition) -> None:
        name = definition.name
        if name in self._pin:
            self._use[name] = self._pin[name]
            return
        mine = self._builds.get(name, ())
        last = latest(mine)
        if last is None or name in self._forced:
            if last is None:
                self._lacking.add(name)
            self._use[name] = None if name in self._forced else self.on_its_way(definition, mine)
            return
        self._use[name] = last.id
        if not self._may_be_renewed(name) or not self._differs(definition, mine):
            return
        if definition.protected:
            self._refused.add(name)
        else:
            self._use[name] = self.on_its_way(definition, mine)

    def _may_be_renewed(self, name: str) -> bool:
        return name in self._roots or self._deps == "outdated"

    def _differs(self, definition: Definition, builds: Sequence[Build]) -> bool:
        return bool(_difference(definition, standing(builds), self._use))

    def on_its_way(self, definition: Definition, builds: Sequence[Build]) -> int | None:
        """A build that was begun and is what a new one would be; None: there is none."""
        same = (b for b in builds if b.ours and not _difference(definition, b, self._use))
        return max((build.id for build in same), default=None)

    def lacks(self, root: str, definitions: Mapping[str, Definition]) -> list[str]:
        """What would be built for a root, and may not be."""
        unwanted = self._lacking.difference(self._roots) if self._deps is None else set()
        return sorted(unwanted & self._counts([root], definitions)[0]) if unwanted else []

    def decision(
        self, definitions: Mapping[str, Definition], missing: Mapping[str, tuple[str, ...]]
    ) -> Decision:
        """What counts of it for the roots."""
        new, used = self._counts(self._roots, definitions)
        return Decision(frozenset(new), used, tuple(self._roots), missing, frozenset(self._refused))

    def _counts(
        self, roots: Iterable[str], definitions: Mapping[str, Definition]
    ) -> tuple[set[str], dict[str, int]]:
        """The calls that get a new job for these roots, and which builds of others those use."""
        new: set[str] = set()
        used: dict[str, int] = {}
        stack = list(roots)
        while stack:
            name = stack.pop()
            use = self._use[name]
            if use is not None:
                used[name] = use
            elif name not in new:
                new.add(name)
                stack.extend(definitions[name].needs)
        return new, used
