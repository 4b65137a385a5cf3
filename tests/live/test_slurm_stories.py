"""Stories of jobcontrol and of Virtool, told at a real Slurm: the tests themselves are those of the suite."""

import pytest

from tests.acceptance.conftest import metadir  # noqa: F401  a fixture
from tests.acceptance.places import Place
from tests.acceptance.test_jobcontrol import (  # noqa: F401  fixtures
    make_xqute,
    ran,
    test_a_build_that_failed_tells_why_and_outdates_nobody,
    test_a_pinned_build_is_used_in_the_place_of_the_newest,
    test_what_depends_on_a_build_follows_it_when_that_is_wanted,
    test_what_was_rebuilt_while_its_user_ran_outdates_that,
    xqute,
)
from tests.acceptance.test_virtool_jobs import (  # noqa: F401  fixtures
    scene,
    server,
    test_a_list_shows_the_minimal_document_also_while_a_job_runs,
    test_a_live_job_is_deleted_only_by_force_and_then_nothing_of_it_is_left,
    test_a_running_job_that_is_cancelled_is_killed_and_undone,
    test_an_error_names_its_stage_and_undoes_what_was_begun,
    test_no_more_of_a_task_run_at_once_than_it_says_and_the_number_is_changed_live,
    test_the_history_has_state_stage_progress_error_and_date_of_each_step,
)

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("here")]


@pytest.fixture
def place(slurm_conf, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm_conf)
    return Place("slurm", interval=1.0)
