"""What copies of a process use stands side by side in its memory."""

import subprocess
import sys

from xqute.inside.packing import move_code

#: In an interpreter of its own, whose memory nobody else uses.
SPREAD = """
from xqute.inside.packing import fill_gaps

def spread():
    blocks = [bytes(150) for _ in range(10)]
    return max(map(id, blocks)) - min(map(id, blocks))

gappy = [bytes(150) for _ in range(600)]
del gappy[::50]
before = spread()
fill_gaps()
print(before, spread())
"""

#: Of ten blocks of 192 bytes.
TIGHT = 9 * 192


def test_what_is_made_after_gaps_were_filled_stands_side_by_side() -> None:
    done = subprocess.run([sys.executable, "-c", SPREAD], check=True, capture_output=True, text=True)
    before, after = map(int, done.stdout.split())

    assert after == TIGHT < before


def called(number: int) -> int:
    return next(number + other for other in (1, 2))


def not_called() -> None:
    raise AssertionError


def test_only_the_code_of_what_was_called_is_moved_and_it_does_the_same() -> None:
    codes = called.__code__, not_called.__code__
    watch = sys.getprofile()

    move_code(lambda: called(1))

    assert called.__code__ == codes[0]
    assert called.__code__ is not codes[0]
    assert not_called.__code__ is codes[1]
    assert called(2) == 3
    assert sys.getprofile() is watch
