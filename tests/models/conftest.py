"""One thread, so that sums are in one order."""

from tests.numerics.conftest import one_thread

__all__ = ["one_thread"]
