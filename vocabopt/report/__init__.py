"""The report of a sweep: one self-contained page, and its figures as files for papers."""

from pathlib import Path
from typing import Any

__all__ = ["load_renderer", "write_report"]


def load_renderer() -> None:
    """Import what draws and renders, which takes half a second: for a thread that has time while others count."""
    import vocabopt.report.page  # noqa: F401


def write_report(*args: Any, **options: Any) -> Path:
    """As `page.write_report`, which takes half a second to import: no other command should wait for it."""
    from vocabopt.report import page

    return page.write_report(*args, **options)
