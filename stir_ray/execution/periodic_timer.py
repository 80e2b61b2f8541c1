"""Calling something again and again while this thread is busy or waits."""

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class PeriodicTimer:
    """Calls `beat` every interval between `start` and `stop`, from a thread of its own.

    An executor that waits for a long task, or does it in this process, tells nobody of it. A call
    that raises is logged, and the next one comes as if it had not.
    """

    def __init__(self, interval_s: float, beat: Callable[[], None]) -> None:
        """Nothing is called before `start`."""
        self._interval_s, self._beat = interval_s, beat
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call; the first time after one interval."""
        self._over.clear()
        self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call no more; returns when the last call is over."""
        self._over.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _go_on(self) -> None:
        while not self._over.wait(self._interval_s):
            try:
                self._beat()
            except Exception:  # noqa: BLE001 - whatever it is, the run itself goes on
                # If it ended here, that run would look like one that hangs.
                _LOG.warning("a heartbeat failed; the next one follows", exc_info=True)
