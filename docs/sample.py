"""Makes reports/sample/ anew: the report of the sample corpus with everything in it, and a picture of its first screen.

.venv/bin/python docs/sample.py          needs the extra `browser` and Chromium (VOCABOPT_CHROMIUM, or on PATH)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "reports" / "sample"
WIDTH, HEIGHT = 1280, 800


def vocabopt(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "vocabopt", *arguments], cwd=folder, check=True)


def main() -> None:
    # In a folder of its own, so that the report shows the paths that a reader's would.
    with tempfile.TemporaryDirectory() as name:
        folder, run = Path(name), "reports/corpus-mistral-7b-v1"
        (folder / "corpus").symlink_to(ROOT / "corpus")
        vocabopt(folder, "sweep", "corpus/", "--method", "union", "--out", run, "--quiet")
        vocabopt(folder, "merge", run, "--method", "grow", "--quiet")
        vocabopt(folder, "report", run, "--quiet")
        SAMPLE.mkdir(exist_ok=True)
        shutil.copy(folder / run / "report.html", SAMPLE / "report.html")
    with sync_playwright() as playwright:
        chromium = os.environ.get("VOCABOPT_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((SAMPLE / "report.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        page.screenshot(path=SAMPLE / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
