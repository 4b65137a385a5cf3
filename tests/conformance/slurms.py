"""What the suites of the scheduler of Slurm share, on a toy cluster and on a real one."""

from pathlib import Path

from xqute.schedulers.slurm import SlurmScheduler
from xqute.testing import SchedulerConformance


class Refusable(SlurmScheduler):
    """Asks for a partition that there is not, for some jobs."""

    bad = ()

    def own_directives(self, job):
        lines = super().own_directives(job)
        return [*lines, "--partition=nowhere"] if job.directory in self.bad else lines


class SlurmConformance(SchedulerConformance):
    supports = (
        "refusal",
        "outage",
        "kill_pending",
        "reattach",
        "count_commands",
        "batch_submit",
        "kill_escaped",
    )

    def refuse(self, scheduler, job):
        scheduler.bad = (*scheduler.bad, job.directory)
        script = Path(job.script(scheduler))
        if script.exists():  # it was written before
            script.write_text(script.read_text().replace("\n", "\n#SBATCH --partition=nowhere\n", 1))
        return "nvalid partition"

    def commands(self, scheduler):
        return sum(scheduler.commands.values())
