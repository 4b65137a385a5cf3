"""Every number that could have been another: its unit in the name, its default, and why."""

from __future__ import annotations

from typing import Final

#: Forks on the local scheduler when none are given: the seed runs one job after another.
LOCAL_FORKS: Final = 1

#: Our jobs in a batch scheduler's queue when no forks are given.
BATCH_FORKS: Final = 100

#: Retries with the error strategy `retry`.
NUM_RETRIES: Final = 3

#: Before the first retry, in seconds. Later ones wait longer: see `rules.verdict.delay`.
RETRY_DELAY_SECONDS: Final = 1.0

#: No retry waits longer than this, however many went before.
RETRY_DELAY_MAX_SECONDS: Final = 300.0

#: Each retry waits this many times as long as the one before.
RETRY_BACKOFF: Final = 2.0

#: Part of a delay that is drawn by chance, so that jobs that failed together don't return together.
RETRY_JITTER: Final = 0.25

#: From the polite signal to the firm one.
KILL_GRACE_SECONDS: Final = 5.0

#: What a kill may take beyond its grace before the survivors are named.
KILL_BOUND_SECONDS: Final = 15.0

#: A stop that takes longer says what it waits for.
STOP_TOLD_SECONDS: Final = 1.0

#: How long a kill waits for the store to know of it before the signal goes out all the same.
KILL_STORE_SECONDS: Final = 3.0

#: What a hand-over under way may take when the run stops; its outcome is not known then.
SUBMIT_BOUND_SECONDS: Final = 30.0

#: How often a start whose claim never appeared is handed over again before it is LOST.
RESUBMITS: Final = 3

#: How long jobs that need less may pass one that waits for resources.
MAX_WAIT_SECONDS: Final = 60.0

#: Between two looks at which jobs of other runs hold a limit that jobs wait for.
HOLDERS_SECONDS: Final = 2.0

#: How long files may be later than the scheduler's word that a job is gone. Network file systems
#: cache attributes for up to 60 s (acdirmax of nfs(5)); a backend with its own knowledge says less.
GRACE_SECONDS: Final = 10.0

#: Job directories in one metadir of which is said that they are many: listing and creating become slow,
#: and a backup takes hours.
MANY_DIRECTORIES: Final = 100_000

#: Ids that are given before the directories are listed once more.
LIST_AGAIN_IDS: Final = 1000

#: Between two looks for directories of ended jobs that may go: while some go, and at most.
TIDY_MIN_SECONDS: Final = 0.1
TIDY_MAX_SECONDS: Final = 2.0

#: Such a look waits so many times as long as the last one took: it knows the other runs of the store.
TIDY_RATIO: Final = 9.0

#: Ended jobs that such a look takes, and how many directories go at a time.
TIDY_JOBS: Final = 2000
TIDY_AT_ONCE: Final = 100

#: Between two sweeps over the status files: first, and after a long silence.
SWEEP_MIN_SECONDS: Final = 0.05
SWEEP_MAX_SECONDS: Final = 2.0

#: Each sweep without news waits this many times as long as the one before.
SWEEP_BACKOFF: Final = 1.5

#: A sweep waits so many times as long as the last one used the processor: many are swept less often.
#: The first number holds as long as that is within the longest wait, the second whatever comes of it.
SWEEP_EASY_RATIO: Final = 200.0
SWEEP_RATIO: Final = 66.0

#: What nobody waits for goes to the store with what follows within this time.
LAZY_SECONDS: Final = 0.01

#: A job whose files were silent this long is asked about at its scheduler.
POLL_SECONDS: Final = 5.0

#: A scheduler that has not answered a question by then is not known to have any answer.
ANSWER_SECONDS: Final = 60.0

#: Waits after trouble of the infrastructure: first, and at most.
TROUBLE_MIN_SECONDS: Final = 0.5
TROUBLE_MAX_SECONDS: Final = 30.0

#: A hook that takes longer is named in the log, and one that takes much longer is cancelled.
HOOK_SLOW_SECONDS: Final = 10.0
HOOK_MAX_SECONDS: Final = 60.0

#: A hook that is no coroutine holds the event loop; longer than this is named.
HOOK_BLOCKS_SECONDS: Final = 1.0

#: What the hooks of a run that is over may take together before they are left behind.
HOOKS_BOUND_SECONDS: Final = 90.0

#: Jobs whose hooks run at the same time.
HOOK_LINES: Final = 64

#: Jobs started here without letting the event loop breathe. Each start holds it for about a third
#: of a millisecond, and ends that wait behind it are told that much later.
SUBMIT_BATCH: Final = 4

#: Jobs claimed and written ahead of the free forks.
AHEAD: Final = 16

#: Largest result of a command, in bytes.
RESULT_MAX_BYTES: Final = 16 * 1024 * 1024

#: What is read of a job's events at a time, and how often at most at its end.
EVENTS_BYTES: Final = 1024 * 1024
EVENTS_READS: Final = 64

#: Between two looks at what running jobs report, when a plugin listens: while they do, and at most.
REPORTS_MIN_SECONDS: Final = 0.2
REPORTS_MAX_SECONDS: Final = 2.0
REPORTS_BACKOFF: Final = 1.5

#: How often a job may ask for others first before it is not believed any more.
REQUIRE_ROUNDS: Final = 100

#: What a job may ask for at once, in bytes: a million calls and more.
REQUIRE_MAX_BYTES: Final = 256 * 1024 * 1024

#: What a reason quotes of the message of an exception; job.error has all of it.
REASON_CHARS: Final = 400

#: A longer title is shown shortened.
TITLE_WIDTH: Final = 200

#: Status and rc files are some bytes; more is not from a wrapper.
STATUS_MAX_BYTES: Final = 4096

#: No script is larger: the kernel takes no longer command line, and no environment, than some megabytes.
SCRIPT_MAX_BYTES: Final = 64 * 1024 * 1024

#: How far into a script its start is looked for: the scheduler's directives stand before it.
SCRIPT_HEAD_BYTES: Final = 16 * 1024

#: A job that may not start before this time (UTC seconds, in the far future) waits until its script
#: pushes it again.
PARKED: Final = 1e12

#: Between two looks for what other processes ask of the owner of a run.
REQUESTS_SECONDS: Final = 1.0

#: Between two questions whether a build that outlived its manager still runs.
ORPHAN_SECONDS: Final = 5.0

#: How long it is waited that the owner of a run, which lives, pushes a build again that it has taken over.
PARKED_SECONDS: Final = 5.0

#: A run of which jobs are needed elsewhere, and of which nothing ran for so long, is told of.
IDLE_SECONDS: Final = 5.0

#: How long the owner of a run is believed to live where nobody can look at it, and how often it says so.
LEASE_SECONDS: Final = 60.0
LEASE_RENEW_SECONDS: Final = 15.0

#: Lines and bytes of stderr that a failure quotes.
TAIL_LINES: Final = 5
TAIL_BYTES: Final = 4096

#: Failures a report keeps; a run may have more, the counts are whole.
REPORT_FAILURES: Final = 1000

#: Descriptors left alone below the limit of the process (files being read, the store, the program).
SPARE_DESCRIPTORS: Final = 64

#: Between two questions about silent jobs of a batch scheduler, and at least; a question costs its
#: controller about as much as a submission.
BATCH_POLL_SECONDS: Final = 15.0
POLL_FLOOR_SECONDS: Final = 2.0

#: How long the files of its jobs may be later than its word that they are gone: as GRACE_SECONDS.
BATCH_GRACE_SECONDS: Final = 10.0

#: What a command of a batch scheduler may take. Those of Slurm give up after 9 to 18 s.
COMMAND_SECONDS: Final = 20.0

#: Commands at a batch scheduler per time: administrators complain about more.
COMMAND_RATE: Final = "60/1m"

#: Elements of an array, where a cluster does not say how many it takes: the default of Slurm.
ARRAY_LIMIT: Final = 1000

#: Jobs that one command ends.
KILL_CHUNK: Final = 500

#: A job that was in the queue under its own name so lately is not looked at before it is ended: no cluster
#: gives its number to another so soon.
KNOWN_SECONDS: Final = 60.0

#: How late the accounting may be with the record of a job that ended (Grid Engine writes it every 15 s).
ACCOUNT_LATE_SECONDS: Final = 15.0

#: The same of Slurm's, whose daemon is told within a second and writes it down when it comes to it.
SACCT_SECONDS: Final = 60.0

#: Commands that submit one job each and run at the same time.
SINGLES_AT_ONCE: Final = 8

#: A batch scheduler's queue is filled up when this share of the forks is free, or the first job has
#: waited so long: a submission of many costs as much as one of one.
REFILL_SHARE: Final = 0.25
REFILL_SECONDS: Final = 10.0
