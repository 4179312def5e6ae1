"""An option that holds one value is refused when it is given twice; click alone would keep the last in silence."""

from pathlib import Path

import click
import pytest

from tests.command_line import assert_refused, vocabopt
from vocabopt.cli import main

ONE_VALUE = [
    (name, option.opts[0])
    for name, command in main.commands.items()
    for option in command.parameters()
    if isinstance(option, click.Option) and not (option.multiple or option.is_flag)
]


def test_every_command_is_asked() -> None:
    assert {name for name, _ in ONE_VALUE} >= {"prepare", "sweep", "merge", "verify", "analyze", "adapt", "eval"}
    assert ("sweep", "--target") in ONE_VALUE


@pytest.mark.parametrize(("command", "option"), ONE_VALUE)
def test_an_option_of_one_value_is_refused_twice(command: str, option: str, tmp_path: Path) -> None:
    result = vocabopt(command, option, "1", f"{option}=2")
    assert_refused(
        result, rf"^Error: {option} 2: {option} is given 2 times and takes one value.*Give it once\.$", tmp_path
    )


def test_how_one_value_holds_several_is_said(tmp_path: Path) -> None:
    result = vocabopt("sweep", "text", "--script", "Hangul", "--script", "Han")
    assert_refused(result, "takes one value, with commas between several. Give it once", tmp_path)


def test_options_that_may_be_repeated_and_flags_are_not_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.txt"
    result = vocabopt("sweep", missing, "--quiet", "--quiet", "--eval", "a=x.txt", "--eval", "b=y.txt")
    assert_refused(result, r"missing\.txt: no such file or folder", tmp_path)
