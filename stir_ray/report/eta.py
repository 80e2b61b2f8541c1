"""How fast a stage goes on, and how long what is left will take."""

from collections import deque

_WINDOW_S = 120.0
_STEPS = 60
"""Points in time that the window remembers, whatever the rate."""
_ROUNDS, _RECENT = 4, 64
"""Tasks per worker, and in all, that a mean or a rate must be of."""


class Pace:
    """Rate and time left, from the tasks that ended lately. Times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        """A stage begins."""
        self._ended = self._succeeded = 0
        self._mean_s = 0.0
        self._last = now
        self._then = deque([(now, 0)])

    def ended(self, now: float, seconds: float, *, failed: bool, workers: int) -> None:
        """A task ended, which took its worker so many seconds."""
        self._ended += 1
        self._last = now
        if now - self._then[-1][0] >= _WINDOW_S / _STEPS:
            self._then.append((now, self._ended))
        if not failed:
            # One that fails says little about how long the others take.
            self._succeeded += 1
            weight = min(self._succeeded, _many(workers))
            self._mean_s += (seconds - self._mean_s) / weight

    def rate(self, now: float) -> float | None:
        """Tasks per second in the window; None before the first has ended."""
        ended, seconds = self._lately(now)
        return ended / seconds if ended and seconds > 0 else None

    def seconds_left(self, now: float, left: int, workers: int) -> float | None:
        """How long so many tasks will take so many workers; None while nobody can know.

        While few have ended, their rate is that of the first round: of nothing for long, and then
        of all workers at once. So it is how long a task takes that counts, and only later the rate.
        """
        if not left:
            return 0.0
        if not workers or not self._succeeded:
            return None
        ended, seconds = self._lately(now)
        if ended >= _many(workers) and seconds >= _ROUNDS * self._mean_s:
            return left / ended * seconds
        # Those that run have taken as long already as nothing has ended.
        each_s = max(self._mean_s, now - self._last)
        return each_s * max(1.0, left / workers)

    def _lately(self, now: float) -> tuple[int, float]:
        """Tasks that ended in the window, and its length."""
        while len(self._then) > 1 and self._then[1][0] <= now - _WINDOW_S:
            self._then.popleft()
        since, before = self._then[0]
        return self._ended - before, now - since


def _many(workers: int) -> int:
    return max(_RECENT, _ROUNDS * workers)
