"""The tutorial notebook runs from its first cell to its last, and its results are as it says."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def executed() -> Any:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": TUTORIAL.parent}}).execute()
    return notebook


def outputs(notebook: Any, mime: str) -> list[str]:
    found = [output.get("data", {}).get(mime) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [text for text in found if text]


@pytest.mark.slow
def test_the_tutorial_has_ten_cells_and_ends_in_a_verified_tokenizer(executed: Any) -> None:
    assert len(executed.cells) == 10
    pages = outputs(executed, "text/html")
    assert any("<svg" in page and "ratio_embedding" in page for page in pages)
    (verified,) = [page for page in pages if "PASS" in page]
    assert "added tokens" in verified


@pytest.mark.slow
def test_the_outputs_that_are_stored_are_those_of_this_version(executed: Any) -> None:
    """`python docs/generate.py --tutorial` writes them anew."""
    stored = nbformat.read(TUTORIAL, as_version=4)
    of_both = [
        [re.sub(r"[^ ']*/(run|tokenizer)\b", r"\1", text) for text in outputs(notebook, "text/plain")]
        for notebook in (stored, executed)
    ]
    assert of_both[0] == of_both[1]
