"""The order of the code: which package may import which. `python tests/house.py` measures it."""

from pathlib import Path

import pytest
from house import House, read

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def house() -> House:
    return read(ROOT)


def test_no_modules_import_each_other(house: House) -> None:
    assert house.circles() == []


def test_vocabopt_imports_the_trainer_only_when_a_command_is_called(house: House) -> None:
    for name, imported in house.imports.items():
        if name.startswith("vocabopt"):
            assert not [inner for inner in imported if inner.startswith("trainer")], name
    later = {
        name
        for name, imported in house.all_imports.items()
        if name.startswith("vocabopt") and any(inner.startswith("trainer") for inner in imported)
    }
    assert all(name.startswith("vocabopt.cli") for name in later)


def test_no_private_name_of_a_library_is_used(house: House) -> None:
    assert house.private_names() == []
