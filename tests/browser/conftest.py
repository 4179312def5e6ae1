"""Chromium, and pages opened from files in it. Every error a page reports and every request it makes is noted."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vocabopt.report.playground import engine_script

if TYPE_CHECKING:
    from conftest import Run
    from playwright.sync_api import Browser, ConsoleMessage, Page

    from browser.engine import Engine

_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@dataclass
class Opened:
    """A page in Chromium. errors: its exceptions and console messages of level error or warning; requests: URLs other
    than its own file."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def note(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Headless Chromium: VOCABOPT_CHROMIUM, else `chromium` of PATH; with a user-data folder of its own."""
    path = os.environ.get("VOCABOPT_CHROMIUM") or shutil.which("chromium")
    if path is None or not Path(path).is_file():
        pytest.skip("no Chromium: apt-get install chromium, or name its program in VOCABOPT_CHROMIUM")
    # Only here: plain `make test` reads this file too, and does without the package.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(_QUIET))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: "Browser") -> Iterator[Callable[[Path], Opened]]:
    """Open a file in a browser profile of its own: open_page(path)."""
    context = chromium.new_context()

    def opened(path: Path) -> Opened:
        found = Opened(context.new_page())
        url = path.resolve().as_uri()
        found.page.on("console", found.note)
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(url)
        found.requests.remove(url)
        return found

    yield opened
    context.close()


@pytest.fixture
def engine(open_page: Callable[[Path], Opened], tmp_path: Path) -> "Iterator[Engine]":
    """The playground's JavaScript in an empty page that may run inline scripts and nothing else."""
    from browser.engine import PAGE, Engine

    path = tmp_path / "page.html"
    path.write_text(PAGE.format(engine_script()), encoding="utf-8")
    opened = open_page(path)
    yield Engine(opened)
    assert opened.errors == []
    assert opened.requests == []


@pytest.fixture(scope="session")
def korean(run_on: Callable[..., "Run"], tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A sweep of the sample corpus, and its report with everything in it."""
    from helpers import CORPUS

    from vocabopt.report.page import rebuild_report

    run = run_on(tmp_path_factory.mktemp("runs") / "korean", "mistral-7b-v1", CORPUS)
    rebuild_report(run.out)
    return run


@pytest.fixture
def report(korean: "Run", open_page: Callable[[Path], Opened]) -> Iterator[Opened]:
    """The report of that sweep, ready; a test fails where it reports an error or makes a request."""
    from browser.pages import ready

    found = ready(open_page(korean.out / "report.html"))
    yield found
    assert found.errors == []
    assert found.requests == []
