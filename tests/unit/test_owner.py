"""An owner is one process, told from every other that has or will have its number."""

import os
import socket
import subprocess
import sys

import pytest

from tests.descriptors import no_descriptor_free
from xqute import owner
from xqute.owner import Owner, OwnerPresence, presence_of
from xqute.store import RunRow


@pytest.fixture
def me() -> Owner:
    return Owner.here()


@pytest.fixture
def child():
    """Another process; returns it and how it names itself as an owner."""
    told = "from xqute.owner import Owner; print(Owner.here(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, Owner.parse(process.stdout.readline().strip())
        process.kill()


def test_this_process_lives(me):
    assert me.pid == os.getpid()
    assert me.since > 0
    assert me.presence is OwnerPresence.ALIVE


def test_an_owner_that_can_not_be_looked_at_now_lives_as_long_as_its_lease(child):
    _, other = child

    with no_descriptor_free():
        presence = other.presence
        believed, not_believed = (presence_of(str(other), lease, 100.0) for lease in (101.0, 99.0))

    assert presence is OwnerPresence.ELSEWHERE
    assert (believed, not_believed) == (OwnerPresence.ELSEWHERE, OwnerPresence.DEAD)
    assert other.presence is OwnerPresence.ALIVE


def test_nobody_is_named_as_an_owner_by_half_of_what_tells_it(me):
    with no_descriptor_free(), pytest.raises(OSError, match="Too many open files"):
        Owner.here()


def test_two_owners_of_one_process_are_told_apart(me):
    other = Owner.here()

    assert other != me
    assert other._replace(nonce=me.nonce) == me


def test_an_owner_is_its_text(me):
    assert Owner.parse(str(me)) == me


def test_a_host_with_blanks_in_its_name_is_parsed_and_lives(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "my host")
    here = Owner.here()

    assert Owner.parse(str(here)) == here
    assert here.presence is OwnerPresence.ALIVE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me",
        "4242-abcd",
        "a b c d e f",
        "a b c 1 x f",
        "a b c -1 2 f",
        "a b c 1 2",
        "a b c 1 2 f g",
        "a b c  1 2",
    ],
)
def test_a_text_that_names_no_process_is_nobody(text):
    assert Owner.parse(text) is None


def test_it_is_named_by_its_number_and_host(me):
    assert me.told == f"process {os.getpid()} on {socket.gethostname()}"


def test_another_living_process_lives_also_when_it_is_stopped(child):
    process, its = child
    assert its.pid == process.pid
    assert its.presence is OwnerPresence.ALIVE

    process.send_signal(subprocess.signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    assert its.presence is OwnerPresence.ALIVE


def test_a_process_that_ended_is_dead_before_and_after_its_status_is_taken(child):
    process, its = child

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    zombie = its.presence
    process.wait()

    assert (zombie, its.presence) == (OwnerPresence.DEAD, OwnerPresence.DEAD)


def test_a_number_that_was_given_again_is_not_the_owner(me):
    assert me._replace(since=me.since - 1).presence is OwnerPresence.DEAD
    assert me._replace(pid=1).presence is OwnerPresence.DEAD


def test_a_process_of_an_earlier_boot_is_gone_with_its_jobs(me):
    assert me._replace(boot="earlier").presence is OwnerPresence.REBOOTED
    assert me._replace(boot="earlier", namespace="pid:[1]").presence is OwnerPresence.REBOOTED


def test_who_is_elsewhere_can_not_be_seen(me):
    assert me._replace(host="elsewhere").presence is OwnerPresence.ELSEWHERE
    assert me._replace(host="elsewhere", boot="other").presence is OwnerPresence.ELSEWHERE
    assert me._replace(namespace="pid:[1]").presence is OwnerPresence.ELSEWHERE


def test_a_run_lives_while_its_owner_does_or_can_not_be_said_not_to(me):
    run = RunRow("ab12", "work.py", "owned", str(me), 0.0, "{}", lease=100.0)
    away = run._replace(owner=str(me._replace(host="elsewhere")))

    assert run.lives(now=200.0)
    assert [away.lives(now) for now in (99.0, 100.0)] == [True, False]
    assert not run._replace(owner=str(me._replace(since=1))).lives(now=0.0)
    assert not run._replace(state="closed").lives(now=0.0)
    assert run._replace(state="closed").presence(now=0.0) is None


def test_a_programs_name_with_blanks_and_parentheses_changes_nothing(tmp_path):
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        since = owner._since(process.pid)
        process.kill()

    assert since is not None
    assert since >= owner._since(os.getpid())


def test_where_nothing_tells_more_numbers_have_to_do(monkeypatch, child):
    process, _ = child
    opened = open
    exists = os.path.exists

    def no_proc(path, *args, **kwargs):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", no_proc)
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and exists(path))
    here = Owner.here()
    other = here._replace(pid=process.pid)

    assert here[1:3] == ("-", "-")
    assert (here.presence, other.presence) == (OwnerPresence.ALIVE, OwnerPresence.ALIVE)
    process.kill()
    process.wait()
    assert other.presence is OwnerPresence.DEAD
