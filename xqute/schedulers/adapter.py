"""What an author writes for a batch system: arguments out, text in; nothing here runs anything."""

from __future__ import annotations

import re
import shutil
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from ..errors import OptionError
from ..job import Job
from ..scheduler import Scheduler, no_program
from ..settings import ARRAY_LIMIT
from ..states import Answer
from .batching import plain_name
from .portable import Portable, natives_of, refuse
from .spelling import Natives


class Listed(NamedTuple):
    """A job as the queue or the accounting shows it.

    Attributes:
        uid: Its id, as a submission gave it.
        answer: How it is.
        name: Its whole name; empty where it is not shown.
        element: Which element of its array, from 1; 0: it is alone.
    """

    uid: str
    answer: Answer
    name: str = ""
    element: int = 0


class Limits(NamedTuple):
    """What a cluster says of itself.

    Attributes:
        array: Elements of an array at most; less than 2: it knows no arrays.
        kill_seconds: What it may take between asking a job to stop and forcing it.
        keep_seconds: For how long `poll_command` lists a job that has ended; 0: nobody knows.
    """

    array: int = ARRAY_LIMIT
    kill_seconds: float = 0.0
    keep_seconds: float = 0.0


class Adapter(Scheduler):
    """The commands of a batch system, and what their texts say: tables and pure functions.

    Class attributes a subclass sets:
        programs: Its commands: name of the option → the program.
        portable: How it is asked for cpus, mem, gpus and time.
        lists_deleted: `ends_command` lists what ended with no word of how, also what was deleted before it
            began; of that alone the accounting has no record.
        account_seconds: How late the accounting may be with the record of a job that has ended; so long it is
            not judged without. 0: as long as its files may be late.
        natives: The options of the command that submits, where misspelt ones are to be told apart.
        directive: How a line for the scheduler begins in a script.
        index_variable: The environment variable with the number of an array's element.
        foreign_env: Prefixes of environment variables that change what its commands do.
        kept_env: Names with such a prefix that they need all the same.
        refused, passing, full: Words of a submission that failed: for good, for now, and because there
            are too many. Where none of them is said, its outcome is not known.
        unknown: Words of a command that failed because jobs it was asked about are not known any more.
    """

    programs: ClassVar[Mapping[str, str]] = {}
    portable: ClassVar[Mapping[str, Portable]] = {}
    lists_deleted: ClassVar[bool] = False
    account_seconds: float = 0.0
    natives: ClassVar[Natives | None] = None
    directive: ClassVar[str] = "#"
    index_variable: ClassVar[str] = ""
    foreign_env: ClassVar[tuple[str, ...]] = ()
    kept_env: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    passing: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    full: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    unknown: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")

    def __init__(self, **options: Any) -> None:
        """Keep the options.

        Raises:
            OptionError: One is not usable, or the path of a command is none.
        """
        super().__init__(**options)
        for option in self.programs.keys() & self.config.keys():
            given = str(self.config[option])
            if given and shutil.which(given) is None:  # an empty one keeps it from being used
                raise OptionError(no_program(option, given))

    # Arguments out, text in

    @abstractmethod
    def submit_command(self, script: str, name: str) -> Sequence[str]:
        """Submit one script under a name."""

    @abstractmethod
    def read_uid(self, output: str) -> str | None:
        """The id it got; None: none can be read."""

    def array_command(self, script: str, name: str, size: int) -> Sequence[str] | None:
        """Submit one script as an array with the elements 1 to `size`; None: there are no arrays."""
        return None

    def read_array_uids(self, output: str, size: int) -> Sequence[str] | None:
        """The ids of the elements; None: none can be read."""
        return None

    @abstractmethod
    def kill_command(self, uids: Sequence[str]) -> Sequence[str]:
        """End jobs, whether they wait or run."""

    @abstractmethod
    def poll_command(self, uids: Sequence[str]) -> Sequence[str]:
        """Ask about jobs; it may answer about others, too."""

    @abstractmethod
    def read_poll(self, output: str) -> Iterable[Listed]:
        """What it says of each.

        Raises:
            BackendAnswerError: It says something that can't be read.
        """

    def ends_command(self, uids: Sequence[str]) -> Sequence[str]:
        """Ask once more about jobs that were not listed: one answer may be incomplete."""
        return self.poll_command(uids)

    def read_ends(self, output: str) -> Iterable[Listed]:
        """What it says of each."""
        return self.read_poll(output)

    def array_of(self, uid: str) -> str:
        """The id under which a whole array is listed that ended at once; empty: there is none."""
        return ""

    def account_command(self, uids: Sequence[str]) -> Sequence[str] | None:
        """Ask the accounting how jobs ended that the queue has forgotten; None: there is none."""
        return None

    def read_account(self, output: str) -> Iterable[Listed]:
        """What it says of each; what has not ended is left aside: it may be late.

        Where `lists_deleted`, also that it has no record of a job: UNKNOWN.
        """
        return ()

    def find_command(self) -> Sequence[str]:
        """Ask about all jobs of this user; their names must be whole."""
        return self.poll_command(())

    def read_find(self, output: str) -> Iterable[Listed]:
        """What it says of each."""
        return self.read_poll(output)

    def limits_command(self) -> Sequence[str] | None:
        """Ask the cluster about itself; None: there is nothing to ask."""
        return None

    def read_limits(self, output: str) -> Limits:
        """What it says."""
        return Limits()

    def own_directives(self, job: Job) -> Sequence[str]:
        """What the script of a job says to the scheduler, besides `directive`; equal jobs go together."""
        return ()

    # What follows from the tables

    def check_resources(self, names: Iterable[str]) -> None:
        refuse(names, self.portable, natives_of(self.config, self.option_prefixes))

    # What they may use

    def program(self, option: str) -> str:
        """The path of one of its commands, as configured.

        Raises:
            BackendUnavailable: It is not on PATH, or not where it was given.
        """
        return self.command(option, self.programs[option])

    def job_name(self, token: str) -> str:
        """The name of the jobs of one submission."""
        return plain_name(f"{self.jobprefix}{token}")
