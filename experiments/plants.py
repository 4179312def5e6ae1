"""Faults planted into real text, prepared, and looked for: precision and recall of every step."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
import zstandard

from experiments.near_copies import edited
from vocabopt.console import Console
from vocabopt.preparation.ngrams import jaccard, shingles
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.options import chain as chain_of
from vocabopt.preparation.run import run_prepare
from vocabopt.text.corpus import named_set
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.text.storage import chunks, file_format

STEPS = ("repair", "nfc", "script", "decontaminate", "personal", "exact", "near")
#: Documents of each kind, as shares of the clean ones.
_EXACT, _NEAR, _OTHER = 0.10, 0.05, 0.01
_MIN_NEAR_CHARS = 200


@dataclass(frozen=True)
class Plant:
    """A document as it stands in the text. kind: "" for a clean one. of: the document it was made from."""

    kind: str
    text: str
    of: str


@dataclass(frozen=True)
class Score:
    """n_planted: of the kind. n_hit: of them dealt with as they should be. n_taken: what the step took or changed in
    all; n_true: of it rightly."""

    step: str
    kind: str
    n_planted: int
    n_hit: int
    n_taken: int
    n_true: int


def texts_of(path: str, n: int) -> list[str]:
    """The first n paragraphs of a text."""
    blocks = (read_blocks(file, ReadOptions()) for file in named_set("text", path, "eval").files)
    documents = chain.from_iterable(block.documents.to_list() for block in chain.from_iterable(blocks))
    lines = chain.from_iterable(document.split("\n") for document in documents)
    return list(islice((line for line in lines if line.strip()), n))


def items_of(benchmarks: Mapping[str, str]) -> list[str]:
    """The longest text of each item of some benchmarks, of at least forty characters."""
    found: dict[str, None] = {}
    for path in benchmarks.values():
        for file in named_set("items", path, "eval").files:
            for data, _ in chunks(file.url, file_format(file.url)[1], 1 << 30):
                for line in data.decode().split("\n") if data else ():
                    texts = [value for value in json.loads(line).values() if isinstance(value, str)] if line else []
                    found.update(dict.fromkeys(text for text in texts if len(text) >= 40))
    return list(found)


def plant(clean: Sequence[str], english: Sequence[str], items: Sequence[str], seed: int) -> list[Plant]:
    """The clean documents with faults among them, shuffled; copies come behind what they copy."""
    rng = random.Random(seed)
    words = [word for text in clean for word in text.split()]
    n_other = round(_OTHER * len(clean))
    plants = [Plant("", text, text) for text in clean]

    def hangul(n: int) -> list[str]:
        return rng.sample([text for text in clean if sum("가" <= c <= "힣" for c in text) >= 10], n)

    for text in hangul(n_other):
        plants.append(Plant("utf-8 as latin-1", text.encode().decode("latin-1"), text))
    for text in (text for text in hangul(2 * n_other) if _encodable(text, "cp949")):
        plants.append(Plant("cp949 as latin-1", text.encode("cp949").decode("latin-1"), text))
    for text in rng.sample(list(english), min(n_other, len(english))):
        plants.append(Plant("english", text, text))
    for item, text in zip(rng.sample(list(items), min(n_other, len(items))), hangul(n_other), strict=False):
        middle = text.find(" ", len(text) // 2)
        plants.append(Plant("benchmark", f"{text[:middle]} {item}{text[middle:]}" if middle > 0 else item, text))
    for kind, make in _PERSONAL.items():
        for text in hangul(n_other // 2):
            plants.append(Plant(kind, f"{text} {make(rng)} {rng.choice(words)}", text))
    rng.shuffle(plants)
    copies = [Plant("exact", text, text) for text in rng.sample(list(clean), round(_EXACT * len(clean)))]
    long = [text for text in clean if len(text) >= _MIN_NEAR_CHARS]
    copies += [
        Plant("near", edited(text, rng.uniform(0.02, 0.10), words, rng), text)
        for text in rng.sample(long, min(len(long), round(_NEAR * len(clean))))
    ]
    rng.shuffle(copies)
    return [*plants, *copies]


def web_noise(clean: Sequence[str], english: Sequence[str], seed: int) -> list[str]:
    """The clean documents among as many that a crawl of the web would hold: menus and notices that repeat, lists of
    words for search engines, English, text read as Latin-1, and copies. Shuffled."""
    rng = random.Random(seed)
    words = [word for text in clean for word in text.split()]

    def menu() -> str:
        return " | ".join(rng.sample(_MENU, rng.randrange(6, len(_MENU)))) + f" {rng.randrange(1, 500)}"

    def keywords() -> str:
        few = rng.sample(words, 12)
        return " ".join(rng.choice(few) for _ in range(rng.randrange(40, 160)))

    noise: list[Callable[[], str]] = [
        menu,
        keywords,
        lambda: rng.choice(english),
        lambda: rng.choice(clean).encode().decode("latin-1"),
        lambda: rng.choice(clean),
        lambda: edited(rng.choice(clean), rng.uniform(0.02, 0.10), words, rng),
    ]
    texts = [*clean, *(noise[index % len(noise)]() for index in range(len(clean)))]
    rng.shuffle(texts)
    return texts


def _encodable(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _digits(rng: random.Random, n: int) -> str:
    return "".join(str(rng.randrange(10)) for _ in range(n))


def _card(rng: random.Random) -> str:
    """Sixteen digits that pass Luhn's check."""
    digits = [4, *(rng.randrange(10) for _ in range(14))]
    doubled = sum(d if i % 2 else (2 * d - 9 if 2 * d > 9 else 2 * d) for i, d in enumerate(digits))
    number = "".join(map(str, [*digits, -doubled % 10]))
    return "-".join(number[i : i + 4] for i in range(0, 16, 4))


_PERSONAL: Mapping[str, Callable[[random.Random], str]] = {
    "phone": lambda rng: f"010-{rng.randrange(2000, 9999)}-{_digits(rng, 4)}",
    "e-mail": lambda rng: f"user{_digits(rng, 4)}@example.co.kr",
    "resident number": lambda rng: (
        f"{rng.randrange(50, 99)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}-"
        f"{rng.randrange(1, 5)}{_digits(rng, 6)}"
    ),
    "card": _card,
}
#: What stands around the text of a Korean page.
_MENU = (
    "로그인", "회원가입", "장바구니", "고객센터", "이용약관", "개인정보처리방침", "공지사항", "사이트맵", "검색",
    "이전 글", "다음 글", "목록", "댓글 0", "공유하기", "좋아요", "신고", "맨 위로", "무료 배송", "오늘의 특가",
    "지금 구매하기",
)  # fmt: skip
_MASKS = {"phone": "[PHONE]", "e-mail": "[EMAIL]", "resident number": "[RRN]", "card": "[CARD]"}


def run(plants: Sequence[Plant], benchmarks: Mapping[str, str], out: Path) -> list[Score]:
    """Write the plants, every twentieth of the clean ones in a file of CP949, prepare them, and score the steps."""
    modern = [p for i, p in enumerate(plants) if i % 20 or p.kind or not _encodable(p.text, "cp949")]
    old = [p for i, p in enumerate(plants) if not (i % 20 or p.kind or not _encodable(p.text, "cp949"))]
    folder = out / "text"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "b.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": p.text}, ensure_ascii=False) + "\n" for p in modern)
    (folder / "a.txt").write_bytes("".join(p.text.replace("\n", " ") + "\n" for p in old).encode("cp949"))
    steps = chain_of(STEPS, {"decontaminate": {"benchmarks": dict(benchmarks)}}, place="plants")
    options = PrepareOptions(paths=(str(folder),), out=out / "prepared", steps=steps)
    run_prepare(options, Console())
    by_place = {("a.txt", i): p for i, p in enumerate(old, 1)} | {("b.jsonl", i): p for i, p in enumerate(modern, 1)}
    clean = {_place(r): r["text"] for r in _records(out / "prepared" / "clean")}
    removed = {_place(r): r for r in _records(out / "prepared" / "removed")}
    return list(_scores(by_place, clean, removed))


_Place = tuple[str, int]


def _place(record: Mapping[str, Any]) -> _Place:
    return Path(record["source"]).name, record["line"]


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl.zst")):
        text = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).decode()
        yield from (json.loads(line) for line in text.split("\n") if line)


def _scores(
    plants: Mapping[_Place, Plant], clean: Mapping[_Place, str], removed: Mapping[_Place, Mapping[str, Any]]
) -> Iterator[Score]:
    kinds: dict[str, list[_Place]] = {}
    for place, given in plants.items():
        kinds.setdefault(given.kind, []).append(place)
    # 1. Old encodings: the file's lines come out as they were.
    old = [place for place in kinds[""] if place[0] == "a.txt"]
    yield Score(
        "decode", "cp949 file", len(old), sum(_came_through(plants[p].text, p, clean, removed) for p in old), 0, 0
    )
    # 2. Mojibake: the text comes out as it was before it was broken. Taken: every document with another text.
    texts = {place: str(record["text"]) for place, record in removed.items()} | dict(clean)
    changed = [p for p in texts if " ".join(texts[p].split()) != " ".join(plants[p].text.split())]
    broken = ("utf-8 as latin-1", "cp949 as latin-1")
    repaired = [p for p in changed if plants[p].kind not in _PERSONAL]
    n_true = sum(plants[p].kind in broken for p in repaired)
    for kind in broken:
        hits = sum(_came_through(plants[p].of, p, clean, removed) for p in kinds[kind])
        yield Score("repair", kind, len(kinds[kind]), hits, len(repaired), n_true)
    # 3. Steps that remove a kind.
    for step, kind in (("script", "english"), ("decontaminate", "benchmark")):
        taken = [p for p, record in removed.items() if record["step"] == step]
        hits = sum(p in removed for p in kinds[kind])
        yield Score(step, kind, len(kinds[kind]), hits, len(taken), sum(plants[p].kind == kind for p in taken))
    # 4. Masks. Right: the document was planted with it.
    for kind, mask in _MASKS.items():
        masked = [p for p in texts if mask in texts[p] and mask not in plants[p].text]
        # A short text with an address in it is mostly Latin: the step script, which runs before, takes some.
        left = [p for p in kinds[kind] if p in clean or removed[p]["step"] not in STEPS[: STEPS.index("personal")]]
        hits = sum(mask in texts[p] for p in left)
        yield Score("personal", kind, len(left), hits, len(masked), sum(plants[p].kind == kind for p in masked))
    # 5. Copies. Planted or not, a pair is right when the two are equal, or have a similarity of 0.7 or more.
    for step, kind in (("exact", "exact"), ("near", "near")):
        taken = [p for p, record in removed.items() if record["step"] == step]
        n_right = sum(_is_copy(step, removed[p], texts) for p in taken)
        hits = sum(p in removed for p in kinds[kind])
        yield Score(step, kind, len(kinds[kind]), hits, len(taken), n_right)


def _came_through(text: str, place: _Place, clean: Mapping[_Place, str], removed: Mapping[_Place, Any]) -> bool:
    """Kept, or removed as somebody's copy, with this text."""
    found = clean.get(place) or removed.get(place, {}).get("text", "")
    return " ".join(found.split()) == " ".join(text.split())


def _is_copy(step: str, record: Mapping[str, Any], texts: Mapping[_Place, str]) -> bool:
    source, _, line = record["why"].removeprefix("copy of ").rpartition(":")
    other = texts[Path(source).name, int(line)]
    if step == "exact":
        return " ".join(record["text"].split()) == " ".join(other.split())
    hashes, ends = shingles(pl.Series([record["text"], other]), 3)
    return bool(jaccard(hashes[: ends[0]], hashes[ends[0] :]) >= 0.7)


def as_markdown(scores: Sequence[Score]) -> str:
    """The table for the log."""
    rows = ["| step | planted | n | recall | taken in all | precision |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for score in scores:
        recall = f"{score.n_hit / score.n_planted:.4f}" if score.n_planted else "-"
        precision = f"{score.n_true / score.n_taken:.4f}" if score.n_taken else "-"
        rows.append(
            f"| {score.step} | {score.kind} | {score.n_planted:,} | {recall} | {score.n_taken:,} | {precision} |"
        )
    return "\n".join(rows)
