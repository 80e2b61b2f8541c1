"""A browser without a network, in which anything that goes wrong fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

NEEDED = "STIR_RAY_NEEDS_BROWSER"
"""Set in CI, where a missing browser is an error."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        said = "no `chromium` on this machine: `apt-get install chromium`"
        (pytest.fail if os.environ.get(NEEDED) else pytest.skip)(said)
    with sync_playwright() as running:
        # Root has no sandbox of its own, and the pages are ours.
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opener:
    """Opens files, and notes whatever they ask for, complain of or pop up."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []

    def __call__(self, path: Path, **settings: Any) -> Page:
        context = self._browser.new_context(offline=True, **settings)
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", lambda one: self._note(one.url, wrong=not _is_own(one.url)))
        page.on("console", lambda one: self._note(one.text, wrong=one.type == "error"))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("dialog", self._dismiss)
        page.goto(path.as_uri())
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _note(self, text: str, *, wrong: bool = True) -> None:
        self.wrong += [text[:200]] if wrong else []

    def _dismiss(self, dialog: Dialog) -> None:
        self._note(f"a dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opener]:
    """For pages of one test."""
    opener = Opener(browser)
    yield opener
    opener.close()
    assert opener.wrong == []


@pytest.fixture(scope="module")
def opened_once(browser: Browser) -> Iterator[Opener]:
    """For a page that several tests look at: each takes seconds to draw."""
    opener = Opener(browser)
    yield opener
    opener.close()
    assert opener.wrong == []


def _is_own(url: str) -> bool:
    return url.startswith(("file:", "data:", "about:"))
