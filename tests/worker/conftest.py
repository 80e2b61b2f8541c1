"""What holds for every test of the stages."""

from collections.abc import Iterator

import pytest

from tests.broken import without_figures


@pytest.fixture(scope="package", autouse=True)
def _no_figures() -> Iterator[None]:
    """Nobody looks at them here; a test that does asks for `with_figures`."""
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        yield
