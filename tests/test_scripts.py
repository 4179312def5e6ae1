"""Scripts and the byte guard, against the `regex` module, fontTools' own lookup and Python's UTF-8 encoder."""

import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import regex
from fontTools import unicodedata
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.text.scripts import (
    BORROWED,
    JAPANESE,
    N_CODE_POINTS,
    byte_guard,
    contains_target,
    dominant_script,
    find_target_scripts,
    guard_of_mask,
    parse_scripts,
    piece_is_guarded,
    scripts_of_counts,
    target_mask,
)

GUARDED = [("Hangul",), ("Devanagari",), ("Thai",), ("Cyrillic",), ("Greek",), JAPANESE]
SCRIPT_NAMES = sorted(unicodedata.Scripts.NAMES.values())
NO_SCRIPT = {"Common", "Inherited", "Unknown", "Katakana_Or_Hiragana"}
ENCODABLE = np.array([code for code in range(N_CODE_POINTS) if not 0xD800 <= code < 0xE000])

# Blocks that share lead bytes with Hangul (Georgian to Cherokee, CJK symbols, Yi to Meetei Mayek, halfwidth forms);
# ASCII, Latin-1, Cyrillic, Devanagari, Thai, emoji.
EDGE_BLOCKS = [(0x00, 0xFF), (0x400, 0x530), (0x900, 0x980), (0xE00, 0xE80), (0x1000, 0x13FF), (0x3000, 0x32FF)]
EDGE_BLOCKS += [(0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xE0FF), (0xFF00, 0xFFFF), (0x1F600, 0x1F64F)]
edge_characters = st.one_of(
    *(st.characters(min_codepoint=first, max_codepoint=last, exclude_categories=["Cs"]) for first, last in EDGE_BLOCKS),
    st.characters(exclude_categories=["Cs"]),
)
edge_text = st.text(edge_characters, max_size=12)


# --- Properties of code points ---------------------------------------------------------------------------------------


def spans(pattern: str, text: str) -> npt.NDArray[np.bool_]:
    """Which characters of `text` the class matches, as `regex` sees it."""
    matched = np.zeros(len(text), dtype=np.bool_)
    for match in regex.finditer(f"(?:{pattern})+", text):
        matched[match.start() : match.end()] = True
    return matched


@cache
def assigned_in_both() -> tuple[npt.NDArray[np.int64], str]:
    """fontTools and regex may follow different versions of Unicode: only what both know is compared."""
    known_to_regex = ~spans(r"\p{Script=Unknown}", "".join(map(chr, ENCODABLE)))
    known_to_us = np.array([unicodedata.script(chr(code)) != "Zzzz" for code in ENCODABLE])
    code_points = ENCODABLE[known_to_regex & known_to_us]
    return code_points, "".join(map(chr, code_points))


@cache
def extensions_by_regex() -> dict[str, npt.NDArray[np.bool_]]:
    _, text = assigned_in_both()
    return {name: spans(rf"\p{{Script_Extensions={name}}}", text) for name in SCRIPT_NAMES}


def test_scripts_of_counts_agrees_with_regex_on_every_script() -> None:
    code_points, text = assigned_in_both()
    assert len(code_points) > 150_000
    expected = {name: int(spans(rf"\p{{Script={name}}}", text).sum()) for name in SCRIPT_NAMES if name not in NO_SCRIPT}
    assert scripts_of_counts(Counter(text)) == {name: n for name, n in expected.items() if n}


def test_target_is_what_has_no_script_extension_outside() -> None:
    code_points, _ = assigned_in_both()
    extensions = extensions_by_regex()
    n_extensions = np.sum(list(extensions.values()), axis=0, dtype=np.int16)
    for scripts in [*((name,) for name in SCRIPT_NAMES if name not in NO_SCRIPT), JAPANESE, ("Greek", "Latin")]:
        n_inside = np.sum([extensions[name] for name in scripts], axis=0, dtype=np.int16)
        wrong = code_points[target_mask(scripts)[code_points] != (n_inside == n_extensions)]
        assert [chr(code) for code in wrong] == [BORROWED[name] for name in scripts if name in BORROWED]


@cache
def is_assigned() -> npt.NDArray[np.bool_]:
    """[0x110000]: private use is not assigned to a script either."""
    return np.array([unicodedata.script(chr(code)) != "Zzzz" for code in range(N_CODE_POINTS)])


@pytest.mark.parametrize("scripts", [*GUARDED, ("Tamil",), ("Georgian",), ("Adlam",)])
def test_unassigned_code_points_follow_the_assigned_ones_that_share_their_first_bytes(scripts: tuple[str, ...]) -> None:
    assert len({chr(code).encode()[:-1] for code in range(0xB80, 0xBC0)}) == 1, "64 at a time share them"
    mask, assigned = target_mask(scripts).reshape(-1, 64), is_assigned().reshape(-1, 64)
    is_targets = assigned.any(axis=1) & (mask | ~assigned).all(axis=1)
    assert np.array_equal(mask & ~assigned, ~assigned & is_targets[:, None])
    assert (mask & ~assigned).sum() < 300
    assert not target_mask(scripts)[0xD800:0xF900].any(), "surrogates and private use"


def test_a_borrowed_character_is_the_only_other_one_among_its_scripts_letters() -> None:
    """Without it the first two bytes of a script begin nothing that the guard admits (ftp.unicode.org, Scripts.txt)."""
    for name, char in BORROWED.items():
        row = [chr(code) for code in range(ord(char) & ~63, (ord(char) & ~63) + 64)]
        assigned = [c for c in row if unicodedata.script(c) != "Zzzz"]
        codes = [code for code, script in unicodedata.Scripts.NAMES.items() if script == name]
        assert [c for c in assigned if unicodedata.script_extension(c) != set(codes)] == [char]
        assert name.upper() in unicodedata.name(char)
        assert target_mask((name,))[ord(char)]
        assert not target_mask(("Hangul",))[ord(char)]


@pytest.mark.parametrize(
    ("script", "first_bytes"),
    [
        ("Tamil", "e0ae"),
        ("Telugu", "e0b0 e0b1"),
        ("Malayalam", "e0b4 e0b5"),
        ("Lao", "e0ba e0bb"),
        ("Thai", "e0b8 e0b9"),
        ("Bengali", "e0a6"),  # e0a7 begins digits that Chakma and Syloti Nagri have too
        ("Georgian", "e183"),
        ("Devanagari", "e0a4"),  # e0a5 begins the danda
        ("Ol_Chiki", ""),  # e1b1 begins Lepcha
    ],
)
def test_the_first_two_bytes_that_a_script_may_join(script: str, first_bytes: str) -> None:
    """What a base that spells the script in single bytes needs to gain any token."""
    guard = byte_guard((script,))
    joined = [bytes([first, second]) for first in range(0xE0, 0xF0) for second in range(0x80, 0xC0)]
    admitted = [piece.hex() for piece in joined if piece_is_guarded(piece, guard)]
    assert [piece for piece in admitted if piece < "e2"] == first_bytes.split()


def test_shared_marks_are_not_hangul_and_enclosed_letters_are() -> None:
    mask = target_mask(("Hangul",))
    assert all(mask[ord(c)] for c in "가힣ᄀㄱ㉠ﾡ\u3200\u302e\ua960\ud7b0\ud7a4")
    assert not any(mask[ord(c)] for c in "、。〈a漢あ \u312f\u318f")
    assert target_mask(JAPANESE)[ord("ー")]
    assert not target_mask(("Hiragana",))[ord("ー")]


def test_a_mask_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        target_mask(("Hangul",))[0] = True


def test_wrong_script_names_are_a_programming_error() -> None:
    with pytest.raises(AssertionError, match="Korean"):
        target_mask(("Korean",))


@given(edge_text)
def test_contains_target_is_the_mask_asked_of_each_character(text: str) -> None:
    for scripts in [*GUARDED, ("Latin",), ("Adlam",)]:
        assert contains_target(text, scripts) == any(target_mask(scripts)[ord(c)] for c in text)
    assert not contains_target(text, ())


# --- Which script a text is in ---------------------------------------------------------------------------------------


@given(st.text(max_size=30))
def test_scripts_of_counts_agrees_with_the_lookup_of_each_character(text: str) -> None:
    names = Counter(unicodedata.Scripts.NAMES[unicodedata.script(c)] for c in text)
    expected = {name: n for name, n in names.items() if name not in NO_SCRIPT}
    found = scripts_of_counts(Counter(text))
    assert found == expected
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert dominant_script(text) == next(iter(found), None)


def test_scripts_of_counts_holds_counts_of_64_bits() -> None:
    assert scripts_of_counts({"가": 2**62, "나": 2**62, "a": 1, "b": 0}) == {"Hangul": 2**63, "Latin": 1}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("안녕하세요, RedWhale 123!", "Latin"),
        ("안녕하세요 반갑습니다 RedWhale", "Hangul"),
        ("𐌀𐌁𐌂", "Old_Italic"),
        ("123 …! ◌̀ 😀", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_dominant_script(text: str, script: str | None) -> None:
    assert dominant_script(text) == script


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("모든 국민은 법 앞에 平等하다. 누구든지 차별을 받지 아니한다. LLM", ("Hangul",)),
        ("모든 國民은 法 앞에 平等하다.", ("Han", "Hangul")),  # more than a tenth of the letters
        ("우리는 책을 읽는다. 吾輩は猫である。", ("Han", "Hangul", "Hiragana", "Katakana")),
        ("吾輩は猫である。名前はまだ無い。", JAPANESE),
        ("カタカナ", JAPANESE),
        ("他在黑板上写了一个日文的假名の字然后继续讲课", ("Han",)),
        ("The word 신라 is a name.", ()),
        ("Все люди рождаются свободными", ("Cyrillic",)),
        ("ab가나", ("Hangul",)),  # a draw: at least half
        ("abc가나漢字", ("Han", "Hangul")),  # each less than Latin, more together
        ("abcde가나漢字", ()),  # less than Latin also together
        ("ab" + "가" * 9 + "漢", ("Hangul",)),  # 12 letters, one of them less than a tenth
        ("1234 !?", ()),
        ("", ()),
    ],
)
def test_find_target_scripts(text: str, scripts: tuple[str, ...]) -> None:
    assert find_target_scripts(Counter(text)) == scripts
    assert find_target_scripts(Counter(reversed(text))) == scripts


def test_a_share_of_the_letters_decides_what_is_a_language_of_the_text() -> None:
    counts = Counter("가" * 90 + "д" * 8 + "α" * 2)
    assert find_target_scripts(counts) == ("Hangul",)
    assert find_target_scripts(counts, min_share=0.08) == ("Cyrillic", "Hangul")
    assert find_target_scripts(counts, min_share=1.0) == ("Hangul",)  # the largest always
    many = Counter({"ა": 5, "д": 4, "α": 4, "א": 4, "ا": 4, "a": 4})
    assert find_target_scripts(many, min_share=0.5) == ("Georgian",)


# --- --script --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "scripts"),
    [
        ("auto", None),
        ("None", ()),
        ("Hangul", ("Hangul",)),
        ("hang", ("Hangul",)),
        ("KANA, hira ,Hani,han", JAPANESE),
        ("old italic", ("Old_Italic",)),
        ("nko", ("Nko",)),
    ],
)
def test_parse_scripts(value: str, scripts: tuple[str, ...] | None) -> None:
    assert parse_scripts(value) == scripts


def test_every_name_and_code_parses_to_its_name() -> None:
    for code, name in unicodedata.Scripts.NAMES.items():
        if name not in NO_SCRIPT:
            assert parse_scripts(name) == parse_scripts(code) == (name,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Hangull", r"--script 'Hangull': 'Hangull' is not a Unicode script\. Did you mean Hangul\?"),
        ("ko", r"Did you mean Hangul\?"),
        ("korean", r"Did you mean Hangul\?"),
        ("ja", r"Did you mean Han,Hiragana,Katakana\?"),
        ("zh-Hant", r"Did you mean Han\?"),
        ("th", r"Did you mean Thai\?"),
        ("Hangul,hi", r"'hi' is not a Unicode script\. Did you mean Devanagari\?"),
        ("Hangul,Cyrilic", r"'Cyrilic' is not a Unicode script\. Did you mean Cyrillic\?"),
        ("", r"--script '': '' is not a Unicode script\. Give auto, none, or names such as Hangul"),
        ("Common", r"'Common' is not a Unicode script\."),
        ("auto,Hangul", r"--script 'auto,Hangul': 'auto' is not a Unicode script"),
    ],
)
def test_unknown_scripts_are_named(value: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_scripts(value)


def test_importing_reads_no_table() -> None:
    code = "import sys, vocabopt.text.scripts; sys.exit(any(name.startswith('fontTools') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- The guard on bytes ----------------------------------------------------------------------------------------------


@cache
def encodings(n_bytes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """All code points that Python encodes in `n_bytes` bytes, and these bytes."""
    lengths = 1 + (ENCODABLE >= 0x80) + (ENCODABLE >= 0x800) + (ENCODABLE >= 0x10000)
    code_points = ENCODABLE[lengths == n_bytes]
    encoded = "".join(map(chr, code_points)).encode()
    return code_points, np.frombuffer(encoded, dtype=np.uint8).reshape(-1, n_bytes)


@cache
def first_of_each_prefix(n_bytes: int, length: int) -> npt.NDArray[np.int64]:
    """Where, among these encodings, each distinct prefix of `length` bytes begins; they are in order."""
    _, encoded = encodings(n_bytes)
    differs = np.any(encoded[1:, :length] != encoded[:-1, :length], axis=1)
    return np.flatnonzero(np.concatenate([[True], differs]))


PREFIX_SHAPES = [(n_bytes, length) for n_bytes in (1, 2, 3, 4) for length in range(1, n_bytes + 1)]


def all_inside(mask: npt.NDArray[np.bool_], n_bytes: int, length: int) -> npt.NDArray[np.bool_]:
    """By brute force, for each distinct prefix: are all code points that begin with it in the target?"""
    code_points, _ = encodings(n_bytes)
    inside: npt.NDArray[np.bool_] = mask[code_points]
    return np.logical_and.reduceat(inside, first_of_each_prefix(n_bytes, length))


@cache
def accepted_prefixes(scripts: tuple[str, ...]) -> frozenset[bytes]:
    accepted: list[bytes] = []
    for n_bytes, length in PREFIX_SHAPES:
        rows = first_of_each_prefix(n_bytes, length)[all_inside(target_mask(scripts), n_bytes, length)]
        accepted.extend(map(bytes, encodings(n_bytes)[1][rows, :length]))
    return frozenset(accepted)


def assert_guard_is_exact(mask: npt.NDArray[np.bool_]) -> None:
    """A prefix is accepted exactly when all it can begin is in the target, for every prefix there is."""
    guard = guard_of_mask(mask)
    for n_bytes, length in PREFIX_SHAPES:
        prefixes = encodings(n_bytes)[1][first_of_each_prefix(n_bytes, length), :length]
        state = np.zeros(len(prefixes), dtype=np.int16)
        for k in range(length - 1):
            state = guard.next_state[state, prefixes[:, k]]
        accepts = guard.accepts[state, prefixes[:, -1]]
        wrong = prefixes[accepts != all_inside(mask, n_bytes, length)]
        assert [bytes(prefix).hex(" ") for prefix in wrong] == []
        is_pending = guard.next_state[state, prefixes[:, -1]] != 0
        assert np.all(is_pending == (length < n_bytes)), "only a completed character leaves nothing pending"


@pytest.mark.parametrize("scripts", [*GUARDED, ("Latin",), ("Han",), ()])
def test_guard_of_a_script_is_exact(scripts: tuple[str, ...]) -> None:
    assert_guard_is_exact(target_mask(scripts))


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 0x10FFFF), (0x80, 0xFFFF), (0x800, 0xFFF), (0xD000, 0xD7FF), (0xE000, 0xFFFFF), (0x7F, 0x7FF)],
)
def test_guard_of_a_range_is_exact(first: int, last: int) -> None:
    # The edges of the encoding lengths; ED alone is accepted where D000-D7FF are in, as surrogates have no encoding.
    mask = np.zeros(N_CODE_POINTS, dtype=np.bool_)
    mask[first : last + 1] = True
    assert_guard_is_exact(mask)


def minimal_prefixes(scripts: tuple[str, ...]) -> list[str]:
    """The shortest accepted prefixes, in order; neighbours that differ in their last byte are joined."""
    accepted = accepted_prefixes(scripts)
    ranges: list[tuple[bytes, int]] = []
    for prefix in sorted(accepted):
        if any(prefix[:k] in accepted for k in range(1, len(prefix))):
            continue
        first, last = ranges[-1] if ranges else (b"", 0)
        if first[:-1] == prefix[:-1] and len(first) == len(prefix) and last + 1 == prefix[-1]:
            ranges[-1] = first, prefix[-1]
        else:
            ranges.append((prefix, prefix[-1]))
    shown = ((first.hex(" ").upper(), f"{last:02X}") for first, last in ranges)
    return [first if first[-2:] == last else f"{first}-{last}" for first, last in shown]


def test_minimal_prefixes_of_hangul() -> None:
    # The syllable blocks by lead byte; EA is shared with Yi. All that ED begins is Hangul's or nobody's.
    assert minimal_prefixes(("Hangul",)) == [
        "E1 84-87",
        *("E3 80 AE-AF", "E3 84 B1-BF", "E3 85", "E3 86 80-8E", "E3 88 80-9E", "E3 89 A0-BE"),
        *("EA A5 A0-BC", "EA B0-BF"),
        "EB-ED",
        *("EF BE A0-BE", "EF BF 82-87", "EF BF 8A-8F", "EF BF 92-97", "EF BF 9A-9C"),
    ]


@pytest.mark.parametrize("scripts", [*GUARDED, ("Latin",)])
def test_bytes_that_begin_no_character_are_not_accepted(scripts: tuple[str, ...]) -> None:
    # Overlong forms, surrogates, code points above U+10FFFF, stray continuation bytes.
    for piece in (
        b"\xc0\x80",
        b"\xc1",
        b"\xe0\x80",
        *([] if scripts == ("Hangul",) else [b"\xed\xa0\x80"]),  # all that ED begins in text is Hangul's or nobody's
        b"\xf0\x80\x80",
        b"\xf4\x90",
        b"\xf5",
        b"\xff",
        b"\x80",
        b"",
    ):
        assert not piece_is_guarded(piece, byte_guard(scripts)), piece
    assert not byte_guard(scripts).next_state[0, [*range(0x80, 0xC2), *range(0xF5, 0x100)]].any()


def test_a_byte_that_cannot_follow_is_read_as_if_nothing_were_pending() -> None:
    guard = byte_guard(("Hangul",))
    assert piece_is_guarded(b"\xe1\xeb", guard)
    assert piece_is_guarded(b"\xe4\xb8\xe1\x84", guard)
    assert not piece_is_guarded(b"\xe1a\x84\xe1\xe2\x84\xea\x80\xf0", guard)
    assert piece_is_guarded(b"\xc4A", byte_guard(("Latin",)))


def test_states_are_shared() -> None:
    assert len(byte_guard(("Hangul",)).next_state) < 32
    assert byte_guard(("Hangul",)) is byte_guard(("Hangul",))
    assert byte_guard(JAPANESE).next_state.shape == byte_guard(JAPANESE).accepts.shape
    assert byte_guard(("Hangul",)).next_state.dtype == np.int16


def guarded_by_brute_force(piece: bytes, scripts: tuple[str, ...]) -> bool:
    """The guard in the words of the design, lead byte by lead byte."""
    accepted = accepted_prefixes(scripts)
    starts_inside = piece[:1] != b"" and 0x80 <= piece[0] < 0xC0
    prefixes = (piece[i : i + k] for i in range(len(piece)) for k in range(1, 5))
    return not starts_inside and any(prefix in accepted for prefix in prefixes)


@given(edge_text, st.data())
def test_piece_is_guarded_as_the_design_words_it(text: str, data: st.DataObject) -> None:
    encoded = text.encode()
    first = data.draw(st.integers(0, len(encoded)))
    piece = encoded[first : data.draw(st.integers(first, len(encoded)))]
    for scripts in (("Hangul",), ("Devanagari",), ("Latin",), JAPANESE):
        assert piece_is_guarded(piece, byte_guard(scripts)) == guarded_by_brute_force(piece, scripts)


@given(edge_text, st.data())
def test_no_guarded_piece_occurs_in_text_without_target_characters(text: str, data: st.DataObject) -> None:
    for scripts in (("Hangul",), ("Cyrillic",), JAPANESE):
        other = "".join(c for c in text if not target_mask(scripts)[ord(c)]).encode()
        first = data.draw(st.integers(0, len(other)))
        last = data.draw(st.integers(first, len(other)))
        assert not piece_is_guarded(other[first:last], byte_guard(scripts))


@given(edge_text, edge_text, st.sampled_from("가힣ㄱᄀ㉠ﾡ\ud7fb"))
def test_a_whole_target_character_is_always_enough(before: str, after: str, target: str) -> None:
    assert piece_is_guarded((before + target + after).encode(), byte_guard(("Hangul",)))


def test_a_piece_may_end_inside_a_character() -> None:
    guard = byte_guard(("Hangul",))
    assert piece_is_guarded(b"\xeb", guard)
    assert piece_is_guarded(b"\xc4\xa0\xeb\x8b", guard)
    assert not piece_is_guarded(b"\xea", guard), "EA is shared with Yi and Vai"
    assert piece_is_guarded(b"\xed", guard), "what else ED begins is unassigned"
    assert not piece_is_guarded("꿀".encode()[1:] + "가".encode(), guard), "starts inside a character"
