"""Records: a file with a wrong, missing or damaged field is refused with the file, the field and what to do."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

from vocabopt.errors import RunDirectoryError
from vocabopt.options import SweepOptions
from vocabopt.records import Count, FileRecord, Record, Share, json_of, read_record, write_record


class Part(Record, frozen=True, kw_only=True):
    n: Count
    ratio: float | None = None


class Whole(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Make it again."

    name: str
    part: Part
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = msgspec.field(default_factory=dict)
    window: tuple[Count, Count] | None = None
    kind: Literal["one", "two"] = "one"
    share: Share = 0.5
    some: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = (1,)
    mixed: dict[str, float | tuple[float, ...]] = msgspec.field(default_factory=dict)
    is_whole: bool = True
    options: SweepOptions | None = None


WHOLE = {"format_version": 1, "name": "x", "part": {"n": 1}}


def write(path: Path, **changed: Any) -> None:
    record = {name: value for name, value in {**WHOLE, **changed}.items() if value is not ...}
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": ...}, "field name is missing"),
        ({"name": 3}, "field name is not a text"),
        ({"part": {}}, "field part.n is missing"),
        ({"part": []}, "field part is not a mapping"),
        ({"part": {"n": -1}}, "field part.n is not a whole number from 0"),
        ({"part": {"n": True}}, "field part.n is not a whole number from 0"),
        ({"part": {"n": 1.5}}, "field part.n is not a whole number from 0"),
        ({"part": {"n": 1, "ratio": "x"}}, "field part.ratio is not a number or null"),
        ({"parts": [{"n": 1}, {"n": None}]}, "field parts.1.n is not a whole number from 0"),
        ({"parts": {}}, "field parts is not a list"),
        ({"named": {"a": {"n": 1}, "b.c": {}}}, "field named.b.c.n is missing"),
        ({"named": {"a": {"n": 1}, "b": {"n": "x"}}}, "field named.b.n is not a whole number from 0"),
        ({"window": [1, "x"]}, "field window.1 is not a whole number from 0"),
        ({"window": [1]}, "field window is not a list or null of 2"),
        ({"kind": "three"}, 'field kind is not "one" or "two"'),
        ({"share": 1.5}, "field share is not a number from 0 to 1"),
        ({"some": []}, "field some is empty"),
        ({"mixed": {"a": 1, "b": ["x"]}}, "field mixed.b.0 is not a number"),
        ({"is_whole": 0}, "field is_whole is not true or false"),
        ({"options": {"paths": ["a"], "out": 3}}, "field options.out is not a text"),
        ({"options": {"paths": ["a"], "out": "x", "heldout": 2}}, "field options: --heldout 2.0: must be at least 0"),
        ({"format_version": 2}, "format_version is not 1, so another version of vocabopt wrote it"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_was_expected(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "whole.json"
    write(path, **changed)
    with pytest.raises(RunDirectoryError, match=rf"{re.escape(f'{path}: {message}')}.* Make it again\.$"):
        read_record(path, Whole)
    with pytest.raises(RunDirectoryError, match=r"Do this\."):
        read_record(path, Whole, next_step="Do this.")


def test_a_file_that_is_not_there_or_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"whole\.json: not found\. Make it again\."):
        read_record(tmp_path / "whole.json", Whole)
    for data in (b"", b"[]", b'{"format_version": 1', b"\xff\x00", b"[" * 100_000):
        (tmp_path / "whole.json").write_bytes(data)
        with pytest.raises(RunDirectoryError, match=r"whole\.json: .* Make it again\."):
            read_record(tmp_path / "whole.json", Whole)


def test_what_is_written_is_read_again_and_a_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    options = SweepOptions(paths=("a\udcff.txt",), out=Path("b"))
    record = Whole(
        name="\ud800", part=Part(n=2**70), named={"신라": Part(n=1, ratio=0.1)}, window=(1, 2), options=options
    )
    write_record(path, record)
    assert read_record(path, Whole) == record
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(json_of(record)))
    assert list(json_of(record))[:2] == ["format_version", "name"]


def test_a_field_that_is_not_known_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "whole.json", more=1, part={"n": 1, "more": 2})
    assert read_record(tmp_path / "whole.json", Whole) == Whole(name="x", part=Part(n=1))
