"""What the suites of the batch schedulers share, on toy clusters and on real ones."""

from pathlib import Path

from xqute.schedulers.sge import SgeScheduler
from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import SchedulerConformance


class Refusable:
    """Asks for what there is not, for some jobs."""

    bad = ()
    nowhere: str

    def own_directives(self, job):
        lines = super().own_directives(job)
        return [*lines, self.nowhere] if job.directory in self.bad else lines


class RefusableSlurm(Refusable, SlurmScheduler):
    nowhere = "--partition=nowhere"


class RefusableSge(Refusable, SgeScheduler):
    nowhere = "-q nowhere"


class BatchConformance(SchedulerConformance):
    #: The scheduler, and some words of its refusal.
    refusable: type[RefusableSlurm | RefusableSge]
    refused: str

    supports = (
        "refusal",
        "outage",
        "kill_pending",
        "reattach",
        "count_commands",
        "batch_submit",
        "kill_escaped",
    )
    without_arrays = tuple(name for name in supports if name != "batch_submit")

    def refuse(self, scheduler, job):
        scheduler.bad = (*scheduler.bad, job.directory)
        script = Path(job.script(scheduler))
        if script.exists():  # it was written before
            directive = f"\n{scheduler.directive} {scheduler.nowhere}\n"
            script.write_text(script.read_text().replace("\n", directive, 1))
        return self.refused

    def commands(self, scheduler):
        return sum(scheduler.commands.values())


class SlurmConformance(BatchConformance):
    refusable, refused = RefusableSlurm, "nvalid partition"


class SgeConformance(BatchConformance):
    refusable, refused = RefusableSge, "unknown queue"
