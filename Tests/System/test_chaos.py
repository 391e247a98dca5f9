"""scripts/chaos: its ruler, its schedule, and a short run of it."""
import subprocess
import sys

import pytest

from support.paths import ROOT

import chaos_scaling
import chaos_schedule
from chaos_verdict import Gap, judge

STEP = 100_000
TAG = "ns=2;s=Well-00001.Power"


def judged(numbers, gaps=(), published=10, acknowledged=10, times=None):
    """What becomes of one tag's stored numbers; each is due at its number times STEP."""
    rows = sorted((number, (times or {}).get(number, number * STEP)) for number in numbers)
    breaks = [
        (TAG, number, micros, following, later) for (number, micros), (following, later) in zip(rows, rows[1:])
        if following != number + 1 or later <= micros
    ]
    summary = {TAG: (rows[0][0], rows[-1][0], len(rows), len(set(numbers)))} if rows else {}
    return judge(summary, breaks, list(gaps), {TAG: published}, {TAG: acknowledged}, STEP)


def test_a_complete_tag_holds():
    verdict = judged(range(1, 11))
    assert verdict.holds and (verdict.expected, verdict.stored) == (10, 10)
    assert judged(range(1, 12)).holds, "what was published after the question was asked may be stored already"


@pytest.mark.parametrize("numbers, missing", [
    ([1, 2, 3, 5, 6, 7, 8, 9, 10], 1), ([1, 9, 10], 7), (list(range(1, 9)), 2), ([], 10),
], ids=["in the midst", "many", "at the end", "all"])
def test_what_is_missing_counts(numbers, missing):
    verdict = judged(numbers)
    assert not verdict.holds and verdict.missing == missing and verdict.excused == 0 and verdict.examples


@pytest.mark.parametrize("gap, missing", [
    (Gap(None, 4 * STEP, 6 * STEP, "lost"), 0),
    (Gap(TAG, 4 * STEP, 6 * STEP, "lost"), 0),
    (Gap(TAG, 4 * STEP, None, "lost"), 0),
    (Gap("ns=2;s=another", 4 * STEP, 6 * STEP, "lost"), 3),
    (Gap(TAG, 4 * STEP, 6 * STEP, "lost", healed=True), 3),
    (Gap(TAG, 20 * STEP, 30 * STEP, "lost"), 3),
    (Gap(TAG, 1 * STEP, 2 * STEP, "lost"), 3),
    # One step of tolerance: the number before and the one after the gap may count as in it, no more.
    (Gap(TAG, 5 * STEP, 5 * STEP, "lost"), 0),
    (Gap(TAG, 3 * STEP, 4 * STEP, "lost"), 1),
], ids=str)
def test_only_an_open_gap_of_that_tag_and_time_excuses(gap, missing):
    verdict = judged([1, 2, 3, 7, 8, 9, 10], [gap])
    assert verdict.missing == missing and verdict.excused == 3 - missing
    assert verdict.holds == (missing == 0)


def test_twice_and_out_of_order_do_not_hold():
    twice = judged([1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert not twice.holds and twice.doubled == 1 and twice.missing == 0
    disordered = judged(range(1, 11), times={5: 3 * STEP})
    assert not disordered.holds and disordered.disordered == 1


def test_replicas_are_measured_only_when_their_loads_are_the_same():
    def balanced(*owners):
        leases = {number: owner for number, owner in enumerate(owners)}
        return chaos_scaling.are_balanced(leases, ["a", "b"], 4)

    assert balanced(("a", 10), ("a", 10), ("b", 10), ("b", 10))
    assert balanced(("a", 10), ("a", 9), ("b", 10), ("b", 10))
    assert not balanced(("a", 10), ("a", 10), ("a", 10), ("b", 10))
    assert not balanced(("a", 10), ("a", 10), ("b", 10)), "one has no owner"
    assert not balanced(("a", 10), ("a", 10), ("c", 10), ("c", 10)), "one that has gone"


def test_replicas_cost_is_told_beside_that_of_one():
    then = chaos_scaling.Figures(10, 1_000, 1.0, 2.0, 0.5, {1.0: 5, float("inf"): 5})
    now = chaos_scaling.Figures(20, 3_001_000, 4.0, 17.0, 1.5, {1.0: 5, 2.0: 100, float("inf"): 105})
    one = (now - then).row(1, None)
    assert one == ["1", "300,000", "1.00", "1.00", "1.00", "5.00", "0.33", "1.95", "1.90"]
    assert (now - then).row(2, (200_000, 0.8))[:5] == ["2", "300,000", "0.75", "1.00", "1.25"]


@pytest.mark.parametrize("counts, found", [
    ((3, 10, 8, 8), (0, 0, 8)), ((1, 11, 11, 11), (0, 0, 11)), ((1, 9, 9, 9), (1, 0, 9)), ((1, 10, 9, 9), (1, 0, 9)),
    ((1, 10, 11, 10), (0, 1, 11)), ((1, 10, 10, 9), (1, 1, 10)), (None, (10, 0, 0)),
], ids=str)
def test_what_replicas_stored_is_compared(counts, found):
    assert chaos_scaling.compare({TAG: 10}, {TAG: counts} if counts else {}) == found



def test_what_was_acknowledged_and_is_not_stored_does_not_hold():
    verdict = judged(range(1, 9), [Gap(None, 0, 100 * STEP, "lost")], published=8, acknowledged=9)
    assert not verdict.holds and verdict.unacknowledged_but_claimed == 1


def test_the_schedule_follows_from_the_seed():
    first, again = (chaos_schedule.schedule(7, 600, 3) for _ in range(2))
    assert first == again != chaos_schedule.schedule(8, 600, 3)
    assert {event.kind for event in first} == set(chaos_schedule.KINDS), "every kind strikes within ten minutes"
    assert all(chaos_schedule.CALM <= event.at <= 600 - chaos_schedule.CALM + 2 for event in first)
    # What is down cannot be killed, and nothing begins twice.
    on = set()
    for event in first:
        key = ("daemon" if event.kind.endswith("-daemon") else event.kind, event.tenant)
        if event.phase == "begin":
            assert key not in on
            on.add(key)
        elif event.phase == "end":
            on.remove(key)
    assert not on


def test_replicas_are_struck_one_at_a_time_and_change_nothing_for_one():
    kinds = chaos_schedule.KINDS + chaos_schedule.REPLICA_KINDS
    events = chaos_schedule.schedule(7, 600, 3, kinds, replicas=3)
    assert {event.kind for event in events} == set(kinds)
    struck = {event.replica for event in events if event.kind in chaos_schedule.DAEMONS}
    assert struck == {0, 1, 2} and all(event.tenant is None for event in events if event.replica is not None)
    begun = [(event.kind, event.replica) for event in events if event.phase == "begin"]
    ended = [(event.kind, event.replica) for event in events if event.phase == "end"]
    assert sorted(begun, key=str) == sorted(ended, key=str), "whoever was struck is helped up"
    assert all(event.replica in (0, None) for event in chaos_schedule.schedule(7, 600, 3))


@pytest.mark.timeout(600)
def test_a_short_run():
    """Faults of every sort by the schedule of one seed, against the real thing."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "chaos.py", "--minutes", "1.5", "--seed", "36", "--rate", "600"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    print(done.stdout)
