"""The folder that `vocabopt prepare` leaves, as the other commands take it: its clean text, and its funnel.

OUT/clean/         the text; OUT/removed/ is never read as text
OUT/prepare.json   the funnel; there when the preparation is whole
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vocabopt.errors import CorpusError
from vocabopt.folder import read_json

CLEAN, REMOVED, WORK = "clean", "removed", "work"
PREPARE_JSON, OPTIONS_JSON = "prepare.json", "options.json"

#: Files that a command leaves in the folder of its results, which all begin with the version of their format.
_MARKERS = ("run.json", "sensitivity.json", "analyze.json", "compare.json", "adapt.json", "probe.json", PREPARE_JSON)
_BEGINNING = re.compile(rb'\s*\{\s*"format_version":')


def result_in(folder: str) -> str | None:
    """The name of the file that marks a folder as the results of a run of ours; None where there is none."""
    for name in _MARKERS:
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                if _BEGINNING.match(file.read(100)):
                    return name
        except OSError:
            continue
    return None


def is_prepared(folder: str) -> bool:
    """Whether this is a prepared folder with its clean text."""
    return (
        os.path.isdir(os.path.join(folder, CLEAN))
        and os.path.isfile(os.path.join(folder, PREPARE_JSON))
        and result_in(folder) is not None
    )


def clean_folder(path: str) -> str:
    """The clean text of a prepared folder; any other path is its own.

    Raises:
        CorpusError: the preparation is not finished.
    """
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return path
    if (folder / PREPARE_JSON).is_file() and (folder / CLEAN).is_dir():
        return str(folder / CLEAN)
    if (folder / PREPARE_JSON).is_file() and (folder / OPTIONS_JSON).is_file():
        raise CorpusError(
            f"{path}: holds a preparation whose {CLEAN}/ is gone. Prepare the text again, into a new folder."
        )
    if (folder / WORK).is_dir() and (folder / OPTIONS_JSON).is_file():
        raise CorpusError(f"{path}: holds a preparation that is not finished. Run `vocabopt prepare` again to go on.")
    return path


def prepare_record(urls: Iterable[str]) -> dict[str, Any] | None:
    """What prepare.json says of the text in these files; None where they were not prepared, or not all together.

    Raises:
        RunDirectoryError: it is broken.
    """
    folders = {Path(url).parent for url in urls if "://" not in url}
    if len(folders) != 1 or (folder := folders.pop()).name != CLEAN:
        return None
    path = folder.parent / PREPARE_JSON
    return read_json(path, next_step="Run `vocabopt prepare` again.") if path.is_file() else None
