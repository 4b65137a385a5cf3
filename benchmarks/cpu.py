"""What the manager itself computes for one job."""

from __future__ import annotations

from shared import Row, Table, child, median, say, scratch

JOBS = 2000
FORKS = 8


def measure(*, quick: bool) -> Table:
    table = Table("CPU of the manager per job (`cpu`)")
    jobs = 200 if quick else JOBS
    taken = []
    for turn in range(1 if quick else 5):
        with scratch() as root:
            taken.append(child("spawn:run", directory=str(root / "x"), jobs=jobs, forks=FORKS))
        say(f"round {turn + 1}: {1000 * total(taken[-1]) / jobs:.3f} ms per job")
    each = {key: 1000 * median([run[key] for run in taken]) / jobs for key in ("user", "system")}
    value = 1000 * median([total(run) for run in taken]) / jobs
    note = f"{each['user']:.2f} ms user, {each['system']:.2f} ms system"
    table.rows.append(Row(f"wrapped `true`, forks {FORKS}", value, "ms", note=note))
    return table


def total(run: dict[str, float]) -> float:
    return run["user"] + run["system"]
