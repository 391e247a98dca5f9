"""Waiting for conditions. Nothing in these tests sleeps and hopes: they poll until a thing is so, or a deadline passes."""
import time

POLL = 0.05
DEADLINE = 60.0


def eventually(check, what, timeout=DEADLINE, watch=None):
    """Calls `check` until it returns something true, and returns that.

    An AssertionError of `check` counts as "not yet" and its text is shown when the deadline passes. `watch` is called in
    between and may raise, for example because the process being waited for has died.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            answer = check()
            if answer:
                return answer
            last = f"last answer: {answer!r}"
        except AssertionError as error:
            last = str(error)
        if watch:
            watch()
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what} ({last})")
        time.sleep(POLL)


def never_during(check, what, until, timeout=DEADLINE):
    """Asserts that `check` stays false until `until` becomes true: the event that would show it has then happened."""
    def neither():
        assert not check(), what
        return until()

    deadline = time.monotonic() + timeout
    while not neither():
        assert time.monotonic() < deadline, f"the event to wait for never came, while checking: {what}"
        time.sleep(POLL)
    assert not check(), what
