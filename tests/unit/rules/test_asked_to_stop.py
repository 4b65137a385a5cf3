"""A command that ended of TERM, of which its wrapper had not heard yet: its scheduler may know why."""

import pytest

from tests.unit.rules.test_evidence import GONE, RUNNING, THERE, failed, seen
from xqute.rules.evidence import judge, may_be_asked_to_stop
from xqute.states import Answer, JobEvent, Presence, Reason

ENDED = failed(143)
CANCELLED = Answer(Presence.GONE, Reason("KILLED", {"by": "scancel"}))


@pytest.mark.parametrize("waited", [0.0, 100.0])
def test_its_schedulers_reason_is_the_reason(waited) -> None:
    judgement = judge(seen(RUNNING, ENDED, CANCELLED, waited=waited))

    assert (judgement.event, judgement.reason, judgement.rc) == (JobEvent.FAILED, CANCELLED.reason, 143)


@pytest.mark.parametrize("answer", [GONE, *THERE], ids=lambda answer: answer.presence.name)
def test_without_one_it_is_the_signal_when_the_grace_is_over(answer) -> None:
    assert judge(seen(RUNNING, ENDED, answer, waited=9.0)) is None
    assert str(judge(seen(RUNNING, ENDED, answer, waited=10.0)).reason) == "SIGNAL 15"
    assert str(judge(seen(RUNNING, ENDED, answer, grace=0.0)).reason) == "SIGNAL 15"


def test_other_return_codes_are_no_bodys_signal() -> None:
    assert [rc for rc in range(256) if may_be_asked_to_stop(failed(rc))] == [143]
