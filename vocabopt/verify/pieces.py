"""Checks on single tokens: those of the base still come from their own text, and every new one comes from its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Kind
from vocabopt.tokenizer.sentencepiece_model import read_model
from vocabopt.verify.checks_ids import first_examples
from vocabopt.verify.pair import Pair
from vocabopt.verify.report import N_EXAMPLES, Check, Example

BASE_PIECES = "Base pieces still come from their own text"
REACHABILITY = "Every new token comes from its own text"

_SHORT: Mapping[Kind, str] = {"tokenizer.json": "json", "tokenizer.model": "model"}


@dataclass(frozen=True)
class Usage:
    """Which new tokens the target text gives; n_lines: of that text."""

    used: frozenset[int]
    n_lines: int


def base_pieces(pair: Pair) -> Check:
    """Tokens of the base that their own text (no dummy prefix) gave before, and does not give any more."""
    counts: dict[str, int] = {}
    examples: list[Example] = []
    for kind, short in _SHORT.items():
        if kind not in pair.base.bare or kind not in pair.new.bare:
            continue
        texts = _whole_texts(pair.base)
        old, new = (side.bare[kind].encode([*texts.values()]) for side in (pair.base, pair.new))
        judged = [(text, a, b) for (index, text), a, b in zip(texts.items(), old, new, strict=True) if a == [index]]
        if kind == "tokenizer.json":
            judged += _cut_before_and_after(pair)
        broken = [row for row in judged if row[1] != row[2]]
        counts[f"n_judged_{short}"] = len(judged)
        counts[f"n_broken_{short}"] = len(broken)
        examples += [_piece_example(pair, f"{kind}: {text!r}", a, b) for text, a, b in broken]
    return _check_by_form(BASE_PIECES, counts, "broken", "base pieces broken", examples)


def _cut_before_and_after(pair: Pair) -> list[tuple[str, list[int], list[int]]]:
    """Pieces that are cut inside a character, which have no text of their own, by merges alone: spelling and ids."""
    if pair.base.by_merges is None or pair.new.by_merges is None:
        return []
    spelled = {index: pair.base.spelling[index] for index in _cut_pieces(pair.base)}
    old, new = (encoder.encode([*spelled.values()]) for encoder in (pair.base.by_merges, pair.new.by_merges))
    return [(piece, a, b) for (index, piece), a, b in zip(spelled.items(), old, new, strict=True) if a == [index]]


def _piece_example(pair: Pair, what: str, before: list[int], after: list[int]) -> Example:
    base, new = pair.show(before, after)
    return Example(what=what, base=base, new=new)


def _check_by_form(name: str, counts: dict[str, int], key: str, told: str, examples: list[Example]) -> Check:
    bad = {short: counts[f"n_{key}_{short}"] for short in _SHORT.values() if f"n_{key}_{short}" in counts}
    if not bad:
        return Check(name=name, status="not_checked", summary="there is no form in which single pieces can be encoded")
    said: dict[str, list[str]] = {}
    for kind, short in _SHORT.items():
        if short in bad:
            said.setdefault(f"{bad[short]:,} of {counts[f'n_judged_{short}']:,} {told}", []).append(kind)
    notes = [f"{found} ({', '.join(kinds)})" for found, kinds in said.items()]
    return Check(
        name=name,
        status="fail" if any(bad.values()) else "pass",
        summary="; ".join(notes),
        counts=counts,
        examples=first_examples(examples),
    )


def _whole_texts(side: Tokenizer) -> dict[int, str]:
    """Id -> text, of pieces that are text: those that end or begin inside a character are not."""
    return {index: data.decode() for index, data in side.texts.items() if data and _is_whole(data)}


def _cut_pieces(side: Tokenizer) -> list[int]:
    return [index for index, data in side.texts.items() if data and not _is_whole(data)]


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- New tokens ------------------------------------------------------------------------------------------------------


def reachability(pair: Pair, usage: Usage | None) -> Check:
    """A new token that its own text does not give is unreachable, unless a reachable one is built through it.

    Args:
        usage: what the target text given uses; None where none was given, so that scaffold and unused are not known.
    """
    counts: dict[str, int] = {}
    examples: list[Example] = []
    steps: set[int] = set()
    n_whole = 0
    for kind, short in _SHORT.items():
        if kind not in pair.new.bare:
            continue
        found = _encoded_alone(pair, kind)
        reached = [index for index, ids in found.items() if ids == [index]]
        missed = [index for index, ids in found.items() if ids != [index]]
        # How each token is built takes a second for 40,000, and tells nothing where all are reached by their merges
        # and no text says which are used.
        model = pair.new.tokenizer_json["model"]
        is_asked = bool(missed) or (usage is not None and usage.n_lines > 0) or bool(model.get("ignore_merges"))
        steps_here, whole_here = _steps(pair, kind, reached) if is_asked else (set(), 0)
        steps, n_whole = steps | steps_here, n_whole + whole_here
        lost = [index for index in missed if index not in steps_here]
        counts |= {f"n_judged_{short}": len(found), f"n_unreachable_{short}": len(missed)}
        counts |= {f"n_steps_unreachable_{short}": len(missed) - len(lost), f"n_lost_{short}": len(lost)}
        before = pair.base.bare.get(kind) or next(iter(pair.base.encoders.values()))
        for index in lost[:N_EXAMPLES]:
            text = pair.new.texts[index].decode(errors="backslashreplace")
            base = pair.base.show(before.encode([text])[0])
            examples.append(Example(what=f"{kind}: {text!r}", base=base, new=pair.new.show(found[index])))
    check = _check_by_form(REACHABILITY, counts, "lost", "new tokens unreachable", examples)
    notes = [check.summary] if check.counts else []
    if n_whole:
        counts["n_whole_pretokens_only"] = n_whole
        notes.append(f"{n_whole:,} come only as a whole pre-token (ignore_merges), not from their merges")
    if pair.new_ids:
        notes.append(_use(pair, usage, steps, counts))
    status = "warn" if check.status == "pass" and n_whole else check.status
    return Check(name=REACHABILITY, status=status, summary="; ".join(notes), counts=counts, examples=check.examples)


def _encoded_alone(pair: Pair, kind: Kind) -> dict[int, list[int]]:
    """New id -> what its own text gives; one that is cut inside a character is judged by merges alone."""
    side, new = pair.new, {*pair.new_ids}
    whole = {index: text for index, text in _whole_texts(side).items() if index in new}
    found = dict(zip(whole, side.bare[kind].encode([*whole.values()]), strict=True))
    if not side.can_grow:
        # Some pipelines drop spaces and let the dummy prefix stand for one.
        spaced = [index for index, ids in found.items() if ids != [index] and whole[index].startswith(" ")]
        rows = side.encoders[kind].encode([whole[index][1:] for index in spaced])
        found |= {index: ids for index, ids in zip(spaced, rows, strict=True) if ids == [index]}
    cut = [index for index in _cut_pieces(side) if index in new]
    if cut and kind == "tokenizer.json" and side.by_merges is not None:
        rows = side.by_merges.encode([side.spelling[index] for index in cut])
        found |= dict(zip(cut, rows, strict=True))
    return dict(sorted(found.items()))


def _use(pair: Pair, usage: Usage | None, steps: set[int], counts: dict[str, int]) -> str:
    if usage is None or not usage.n_lines:
        return "scaffold: not checked (give target text with --text)"
    unused = [index for index in pair.new_ids if index not in usage.used]
    n_scaffold = sum(index in steps for index in unused)
    counts |= {"n_target_lines": usage.n_lines, "n_unused": len(unused), "n_scaffold": n_scaffold}
    steps_told = f"{n_scaffold:,} of them scaffold (steps to other new tokens)"
    text = "target text" if pair.scripts else "the --text given"  # without a guard all of it
    return f"{len(unused):,} not used on {usage.n_lines:,} lines of {text}, {steps_told}"


def _steps(pair: Pair, kind: Kind, reached: list[int]) -> tuple[set[int], int]:
    """New tokens through which the new ones in `reached` are built; and how many of those no merges build."""
    rank = _rank(pair.new, kind)
    if rank is None:
        return set(), 0
    id_of = {pair.new.spelling[index]: index for index in pair.new_ids}
    steps: set[int] = set()
    n_whole = 0
    for index in reached:
        piece = pair.new.spelling[index]
        if len(piece) == 1:
            continue
        made = built_through(piece, rank)
        n_whole += made[-1:] != [piece]
        steps |= {id_of[step] for step in (*piece, *made[:-1]) if step in id_of}
    return steps, n_whole


def _rank(side: Tokenizer, kind: Kind) -> Callable[[str, str], float | None] | None:
    """The order of merges in a form: lower first; None where it has none."""
    if kind == "tokenizer.model":
        model = read_model(side.forms[kind])
        scores = {piece.piece: -piece.score for piece in model.pieces if piece.type == 1}
        return lambda left, right: scores.get(left + right)
    if side.tokenizer_json["model"].get("type") != "BPE":
        return None
    ranks = {(left, right): i for i, (left, right) in enumerate(side.tokenizer_json["model"]["merges"])}
    return lambda left, right: ranks.get((left, right))


def built_through(piece: str, rank: Callable[[str, str], float | None]) -> list[str]:
    """The pieces that BPE makes of the characters of `piece`, in order; the last is `piece` if merges lead to it."""
    symbols = list(piece)
    made: list[str] = []
    while True:
        pairs = zip(symbols, symbols[1:], range(len(symbols)), strict=False)
        ranked = [(found, i) for left, right, i in pairs if (found := rank(left, right)) is not None]
        if not ranked:
            return made
        _, i = min(ranked)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        made.append(symbols[i])
