"""Every sentence about a sweep, made from its records where it is shown: the same in the terminal and on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vocabopt.amounts import counted, shown_bytes
from vocabopt.choice.knee import MIN_INTERVAL_FOLDS
from vocabopt.choice.measured_table import best_words, measured_sentence
from vocabopt.choice.options import DEFAULT_WINDOW, ChoiceOptions
from vocabopt.choice.rules import MUV_STEP, kneedle_sizes
from vocabopt.option_fields import flag_of
from vocabopt.records import (
    Answer,
    Bound,
    Choice,
    DocumentProof,
    Guard,
    Learned,
    SizeFit,
    SweepRecord,
    Targets,
    TermCut,
    TermsRecord,
    TextSet,
    UnionRecord,
)
from vocabopt.tables import DASH, N_TERMS_SHOWN
from vocabopt.text.scripts import BORROWED
from vocabopt.text.sets import HELDOUT, TRAIN, WEIGHTED, set_of

#: Held-out documents below which a choice is said to rest on few.
MIN_HELDOUT_DOCUMENTS = 30
#: Tokens of a text over its floor, from which on the floor is no reason any more to say so.
_NEAR_FLOOR = 1.15
#: Chunks a word from which on a pattern may cut words at marks.
_MANY_CHUNKS = 1.5
#: Scripts with a smaller share of the letters are not named.
_MIN_NAMED_SHARE = 0.001
_MAX_NAMED = 5

_COST = "compute per byte of text from config.json: docs/explanation/choice.md, The cost model"
_OURS = "vocabopt: docs/explanation/choice.md, The rules"
_LAWS = "Scaling Laws with Vocabulary (2407.13623), approach {}"
#: Rule -> how a figure calls it, in at most 18 characters, which a phone has room for; and where it comes from.
_RULES = {
    "knee": (
        "knee",
        "RedWhale (2408.11294) names the two ratios; the chord is Kneedle's distance (Satopaa et al. 2011)",
    ),
    "measured": ("measured", "short runs at several sizes: docs/explanation/choice.md, What was measured"),
    "kneedle": ("knee (Kneedle)", "Satopaa et al. 2011, Finding a Kneedle in a Haystack"),
    "flops-train": ("compute, training", _COST),
    "flops-serve": ("compute, serving", _COST),
    "flops-mix": ("compute, both", _COST),
    "used": ("still used", _OURS),
    "marginal": ("marginal saving", _OURS),
    "memory-train": ("memory, training", _COST),
    "memory-serve": ("memory, serving", _COST),
    "muv": ("VOLT's utility", "VOLT (2012.15671)"),
    **{f"law-{number}": (f"scaling law {number}", _LAWS.format(number)) for number in (1, 2, 3)},
}
COST_LEAVES_OUT = (
    "Counted are the matrix products of body, attention over the full context and head; left out are norms, "
    "activations, softmax, positions, biases, the causal half of attention, recomputation and the optimizer's steps."
)
_NO_PAPER_AXIS = (
    "On the paper's axis, a vocabulary trained apart, the size is not known: sweep with --method union to measure it "
    "(for the model counted)."
)

# --- The guard --------------------------------------------------------------------------------------------------------


def guard_sentences(guard: Guard) -> list[str]:
    """What a user must know of the guard before tokens are grown."""
    scripts, protected, n_letters = guard.scripts, ", ".join(guard.protected_sets), guard.n_letters
    n_all = sum(n_letters.values())
    asked = guard.scripts_from == "option"
    if not scripts:
        letters = _shares(n_letters, n_all, n_letters) or "none"
        reason = "--script none" if asked else f"letters of the text: {letters}"
        if guard.is_open:
            sentence = (
                f"Warning: nothing guards other text: no target script ({reason}) and no --protect. The new tokens can "
                "change how any text is split, English included. Name text that must stay, for example --protect "
                "en=english.txt"
            )
        else:
            sentence = f"No target script ({reason}): only what --protect names keeps its tokens ({protected})"
        others = "" if asked else _to_learn(guard, n_all)
        return [sentence + (f"; {others}." if others else ".")]
    taken = _shares(n_letters, n_all, scripts, always=True)
    left = _shares(n_letters, n_all, [script for script in n_letters if script not in scripts])
    sentence = f"Target script{'s' if len(scripts) > 1 else ''}, of the letters in the text: {taken}."
    if left:
        others = _to_learn(guard, n_all)
        sentence += f" Not learned: {left}" + (f"; {others}." if others else ".")
    borrowed = [BORROWED[script] for script in scripts if script in BORROWED]
    if borrowed:
        listed = ", ".join(f"{char} (U+{ord(char):04X})" for char in borrowed)
        sentence += f" Counted with {'it' if len(scripts) == 1 else 'them'}: {listed}."
    missing = [script for script in scripts if not n_letters.get(script)]
    if missing:
        sentence = f"Warning: the text has no letter of {', '.join(missing)}. {sentence}"
    return [sentence]


def limit_sentence(scripts: Sequence[str], n_open: Mapping[str, tuple[int, int]]) -> str | None:
    """What the guard leaves open of the texts named with --protect; None where it keeps all of them.

    Args:
        n_open: protected set -> occurrences of chunks with characters of the target, which may be split anew, and of
            all chunks.
    """
    listed = [f"{n:,} of {n_all:,} chunks of {name}" for name, (n, n_all) in n_open.items() if n]
    if not listed:
        return None
    return (
        f"Not protected: {', '.join(listed)} hold characters of the target script ({', '.join(scripts)}), and may be "
        "split anew. --script none protects all of it."
    )


def share_sentence(learned: Learned, n_documents: int) -> str:
    """What was learned from, where that is not all of the text. n_documents: of the training set."""
    part = f"{learned.n_documents:,} of {n_documents:,} training documents ({shown_bytes(learned.n_bytes)})"
    if learned.share == 1:
        part = f"all training documents ({shown_bytes(learned.n_bytes)}) and from no other text set"
    return (
        f"Tokens are learned from {part}, picked by content: more does not fit into --memory, or --learn-from asks for "
        "less. All text is counted with them, exactly."
    )


def _shares(
    n_letters: Mapping[str, int], n_all: int, names: Sequence[str] | Mapping[str, int], *, always: bool = False
) -> str:
    """The most frequent of the scripts, with their shares of all letters; `always`: all of them, however rare."""
    shares = {name: n_letters.get(name, 0) / n_all if n_all else 0.0 for name in names}
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name, share) for name, share in ordered if always or share >= _MIN_NAMED_SHARE]
    return ", ".join(f"{name} {share:.1%}" for name, share in (shown if always else shown[:_MAX_NAMED]))


def _to_learn(guard: Guard, n_all: int) -> str:
    """How to have the most frequent of the other scripts learned too; Latin is none that a guard could tell apart."""
    others = [name for name, n in guard.n_letters.items() if name not in {*guard.scripts, "Latin"} and n > 0]
    if not others or guard.n_letters[others[0]] < 0.01 * n_all:
        return ""
    names = ",".join(sorted({*guard.scripts, others[0]}))
    return f"to learn {others[0]} {'too' if guard.scripts else 'alone'}: --script {names}"


def targets_sentences(sweep: SweepRecord) -> list[str]:
    """How several targets share the rows, and how far apart they are at the choice; none where there is one."""
    targets = sweep.targets
    if targets is None:
        return []
    if targets.weights is None:
        against = f"tokens for each of {targets.parity}, aligned" if targets.parity else "of its own tokens left"
        shared = f"each row goes to the one that has most {against} (--balance parity)"
    elif targets.is_weighted:
        weights = ", ".join(f"{name} {weight}" for name, weight in targets.weights.items())
        shared = f"by what a token saves in all their text, which counts {weights} (--balance)"
    else:
        shared = "by what a token saves in all their text (--balance tokens)"
    ratios, parities = targets.ratios(sweep.sets, sweep.choice.point), targets.parities(sweep.choice.point)
    left = ", ".join(f"{name} {ratio:.1%}" for name, ratio in ratios.items())
    told = [
        f"Targets {', '.join(targets.names)} share the rows: {shared}.",
        f"At the choice they have left of their tokens: {left}; worst over best {targets.spread(ratios):.3f}.",
    ]
    if parities:
        listed = ", ".join(f"{name} {parity:.3f}" for name, parity in parities.items())
        told.append(f"On aligned text, tokens for each token of {targets.parity} at the choice: {listed}.")
    latin = [name for name, scripts in targets.scripts.items() if not scripts]
    if latin and sweep.guard.scripts_from == "text":
        told.append(
            f"No script guards other text, as text of {', '.join(latin)} is mostly Latin: --protect alone does."
        )
    return told


# --- The sweep --------------------------------------------------------------------------------------------------------


def sweep_notes(sweep: SweepRecord) -> list[str]:
    """What belongs under the table of sizes."""
    notes = targets_sentences(sweep)
    if not sweep.learned.is_all:
        notes.append(share_sentence(sweep.learned, sweep.sets[TRAIN].n_documents))
    unserved = unserved_sentence(sweep)
    if unserved is not None:
        notes.append(unserved)
    if sweep.exhausted_at is not None and not (sweep.exhausted_at == 0 and unserved is not None):
        text = "The text" if sweep.learned.share == 1 else "The part of the text that tokens are learned from"
        note = f"{text} ran dry at {counted(sweep.exhausted_at, 'added token')}"
        is_marked = any(point.dry for point in sweep.points_shown)
        notes.append(f"{note}; larger sizes are marked * and repeat it." if is_marked else f"{note}.")
    if n := sweep.n_blocked:
        were = "was" if n == 1 else "were"
        notes.append(f"{counted(n, 'candidate')} {were} left out: protected text would have changed.")
    if skipped := ", ".join(f"{name} {given.n_skipped:,}" for name, given in sweep.sets.items() if given.n_skipped):
        notes.append(f"Unreadable documents left out (--on-error skip): {skipped}.")
    if lost := ", ".join(f"{name} {given.n_lost_chars:,}" for name, given in sweep.sets.items() if given.n_lost_chars):
        notes.append(
            f"Characters that the base has no token for: {lost}. They are left out or become its unknown token, and "
            "decoding does not bring them back; no token is learned from words that hold them."
        )
    if sweep.guard.is_open:
        # Before the growth it was said at length.
        notes.append("Warning: nothing guards other text; name text that must stay with --protect.")
    notes += [told for told in (widened_sentence(sweep), floor_sentence(sweep)) if told is not None]
    if (few := small_heldout_sentence(sweep)) is not None:
        notes.append(few)
    return [*notes, proof_note(sweep.proof)]


def unserved_sentence(sweep: SweepRecord) -> str | None:
    """Where the guard leaves no token to a target of a byte-level base, at no size; None where it does not."""
    if not sweep.scripts or sweep.base.family != "byte-level-bpe":
        return None
    of_targets = {TRAIN: "the text"} if sweep.targets is None else {set_of(TRAIN, n): n for n in sweep.targets.names}
    last = sweep.points_shown[-1]
    unserved = [
        words
        for name, words in of_targets.items()
        if sweep.exhausted_at == 0 or (last.n_added and last.sets[name].n_tokens == sweep.sets[name].n_tokens_base)
    ]
    if not unserved:
        return None
    scripts = ", ".join(sweep.scripts)
    return (
        f"No token was found for {', '.join(unserved)}. Where there is text enough, the guard is why: the base spells "
        f"its characters in bytes, and their first bytes also begin characters that are not of {scripts} "
        "alone, which must stay as they are. --script none learns them too; name text that must stay with "
        "--protect."
    )


def floor_sentence(sweep: SweepRecord) -> str | None:
    """What no added token can change, where the recommended size comes near to it; None where it does not."""
    choice = sweep.choice
    stats, n_tokens = sweep.sets[choice.set], choice.point.sets[choice.set].n_tokens
    if not stats.n_chunks or not n_tokens or n_tokens > _NEAR_FLOOR * stats.n_chunks:
        return None
    is_by_pattern = sweep.base.family == "byte-level-bpe"
    cut = "the base's own pattern cuts" if is_by_pattern else "spaces and newlines cut"
    above, hint = n_tokens / stats.n_chunks - 1, ""
    if sweep.widened is None and sweep.scripts and is_by_pattern and stats.n_chunks > _MANY_CHUNKS * stats.n_words:
        scripts = ", ".join(sweep.scripts)
        hint = f" Where that pattern cuts words of {scripts} at marks, --widen-pattern auto keeps them whole."
    return (
        f"The floor is near: {cut} the {text_of(choice.set, sweep.targets)} text into {stats.n_chunks:,} chunks, which "
        f"no added token joins, and at {counted(choice.n_added, 'added token')} it takes {n_tokens:,} tokens, "
        f"{above:.1%} more.{hint}"
    )


def widened_sentence(sweep: SweepRecord) -> str | None:
    """What a widened pattern alone gives; None where the base's own stays."""
    if sweep.widened is None:
        return None
    name = sweep.choice.set
    stats, given = sweep.sets[name], sweep.widened.sets[name]
    return (
        f"The split pattern is widened for {', '.join(sweep.widened.scripts)}; size 0 is the base as it is. With the "
        f"widened pattern and no added token the {text_of(name, sweep.targets)} text takes {given.n_tokens:,} tokens, "
        f"where the base takes {stats.n_tokens_base:,}; it is cut into {stats.n_chunks:,} chunks, where the base's own "
        f"pattern makes {given.n_chunks_base:,}."
    )


def small_heldout_sentence(sweep: SweepRecord) -> str | None:
    """A warning where the choice was made on few held-out documents, None where it was not."""
    # Weighted text has documents several times.
    stats = sweep.sets[HELDOUT if sweep.choice.set == WEIGHTED and sweep.targets else sweep.choice.set]
    if stats.role != "heldout" or not 0 < stats.n_documents < MIN_HELDOUT_DOCUMENTS:
        return None
    return (
        f"Warning: the choice rests on {counted(stats.n_documents, 'held-out document')}, fewer than "
        f"{MIN_HELDOUT_DOCUMENTS}: other documents may give another size. Hold out more with --heldout, or give more "
        "text."
    )


def proof_note(proof: DocumentProof) -> str:
    """What was proved on whole documents."""
    of_text = "all text of the run"
    if not proof.is_all:
        held, features = proof.n_features_held, proof.n_features
        of_text = (
            f"with {'each' if held == features else f'{held:,}'} of {features:,} characters, runs of white space and "
            "added tokens of the text"
        )
    sentence = (
        f"Counts are those of tokenizer.json on {proved_documents(proof)}, one by one "
        f"({shown_bytes(proof.n_bytes)}, {of_text})."
    )
    return " ".join([sentence, *model_note(proof)])


def model_note(proof: DocumentProof) -> list[str]:
    """What sentencepiece makes of the same documents, where tokenizer.json cannot do as the base's model does."""
    if proof.n_otherwise_by_model is None or proof.n_tokens_by_model is None:
        return []
    sentence = (
        "sentencepiece merges pieces of one score from the left, which no tokenizer.json can: it encodes "
        f"{proof.n_otherwise_by_model:,} of these documents otherwise, and all of them in {proof.n_tokens_by_model:,} "
        f"tokens where tokenizer.json has {proof.n_tokens:,}."
    )
    return [sentence]


def proved_documents(proof: DocumentProof) -> str:
    """How many whole documents, each counted once, and how many parts of longer ones."""
    whole = counted(proof.n_whole_documents, "distinct document")
    return f"{whole} and {counted(proof.n_excerpts, 'part')} of longer ones" if proof.n_excerpts else whole


def terms_notes(found: TermsRecord, run_dir: Path) -> list[str]:
    """What belongs under the table of terms."""
    n_more = len(found.terms) - N_TERMS_SHOWN
    more = f"{counted(n_more, 'more term')}: {run_dir / 'terms.json'}, and the report."
    return [terms_note(found), more] if n_more > 0 else [terms_note(found)]


def terms_note(found: TermsRecord) -> str:
    """How many terms become one token."""
    after, alone = (sum(cut.one_token_at is not None for cut in cuts) for cuts in _cuts(found))
    return (
        f"Of {counted(len(found.terms), 'term')} {after:,} come to be one token after a space, and {alone:,} with "
        "nothing before them (base: are one in the base already; not reached: are one at no size of this curve)."
    )


def _cuts(found: TermsRecord) -> tuple[list[TermCut], list[TermCut]]:
    return [term.after_space for term in found.terms], [term.alone for term in found.terms]


def union_reason(sweep: SweepRecord, union: UnionRecord) -> str:
    """The union's size in one sentence: which, why, and what it does."""
    choice, text = union.choice, text_of(union.choice.set, None)
    (first, last), n_sizes = choice.window, len(union.points)
    if choice.vocab_size is None:
        of_sizes = f"{n_sizes} vocabularies of {first:,}..{last:,} pieces"
        return f"The union has no size to choose: the {text} input ratio has no knee over {of_sizes}."
    point = next(point for point in union.points if point.vocab_size == choice.vocab_size)
    why = "the only size measured" if n_sizes == 1 else f"the knee over {first:,}..{last:,} pieces"
    ratio = sweep.sets[choice.set].ratio_input(point.sets[choice.set].n_tokens)
    outcome = "" if ratio is None else f", and {text} text takes {ratio:.1%} of the base's tokens"
    return (
        f"Union: a vocabulary of {point.vocab_size:,} pieces, {why}; the base has {point.n_overlap:,} of them, so "
        f"{point.n_added:,} rows are new{outcome}."
    )


def union_notes(union: UnionRecord) -> list[str]:
    """What belongs under the table of the union."""
    protected = union.points[0].protected
    if not protected:
        return [
            "No text was protected, so what the union changes in other text is not known: name some with --protect."
        ]
    names = ", ".join(f"{given.n_documents:,} of {name}" for name, given in protected.items())
    return [f"Lines changed are among those without the target script: {names}. The grown tokens change none."]


# --- The choice -------------------------------------------------------------------------------------------------------


def choice_notes(sweep: SweepRecord) -> list[str]:
    """The interval, the windows, other sets, the paper's axis, and last the recommendation."""
    choice = sweep.choice
    knees = (f"{name} {DASH if knee is None else format(knee, ',')}" for name, knee in choice.knees.items())
    return [
        interval_sentence(choice),
        window_sentence(choice),
        f"Knee by text set over the same window: {', '.join(knees)}.",
        *targets_sentences(sweep),
        agreement_sentence(choice),
        paper_axis_sentence(choice) or _NO_PAPER_AXIS,
        f"Options: {as_command_line(choice.options)}.",
        reason(sweep),
    ]


def reason(sweep: SweepRecord) -> str:
    """The recommendation in one sentence: what to add, why that many, and what it does."""
    choice, text = sweep.choice, text_of(sweep.choice.set, sweep.targets)
    if (fit := _deciding_fit(choice)) is not None:
        why = best_words(fit)
    elif choice.rule == "padding":
        why = f"all of {choice.named:,} fit into padding rows that the table has already"
    elif choice.knee is not None:
        knee = f"{choice.knee:,}"
        why = f"the knee of the {text} input ratio against the embedding ratio {_of_window(sweep)} is at {knee}"
    else:
        why = f"the {text} input ratio has no knee {_of_window(sweep)}{_instead(choice)}"
    rounding = _rounding(sweep) if choice.n_added else ""
    if choice.clipped_by is not None:
        # What decided comes first, then what it held back.
        why = f"{_limit(choice)}{rounding}; {why}, which is more"
    else:
        why += rounding
    if choice.n_added == 0:
        return f"Add no tokens: {why}."
    ratio = _text_set(sweep).ratio_input(choice.point.sets[choice.set].n_tokens)
    outcome = "."
    if ratio is not None:
        outcome = (
            f"; {text} text then takes {ratio:.1%} of the base's tokens, and the embedding "
            f"{sweep.base.ratio_embedding(choice.point.n_rows_total):.2f} times its rows."
        )
    return f"Add {counted(choice.n_added, 'token')}{_for_targets(sweep)}: {why}{outcome}"


def text_of(text_set: str, targets: Targets | None) -> str:
    """A text set as an adjective: held-out, training, 'news'; of several targets held-out ko."""
    words = {HELDOUT: "held-out", TRAIN: "training"}
    if targets is not None:
        of_targets = {set_of(part, name): f"{word} {name}" for part, word in words.items() for name in targets.names}
        words |= {WEIGHTED: "weighted held-out", **of_targets}
    return words.get(text_set, f"{text_set!r}")


def _for_targets(sweep: SweepRecord) -> str:
    """Whom the tokens are for, and whose text decided."""
    targets, choice = sweep.targets, sweep.choice
    if targets is None:
        return ""
    worst = {text_set: name for name, text_set in targets.measured_sets(sweep.sets).items()}
    if choice.options.text_set is not None:
        decided = f"decided on {choice.set}"
    elif choice.set in worst:
        decided = f"decided on the target served worst, {worst[choice.set]}"
    else:
        decided = f"decided on their {'weighted ' if choice.set == WEIGHTED else ''}sum"
    return f" for {', '.join(targets.names)}, {decided}"


def _deciding_fit(choice: Choice) -> SizeFit | None:
    """What was measured, where that decides."""
    return next((answer.fit for answer in choice.rules if answer.name == choice.rule == "measured"), None)


def _text_set(sweep: SweepRecord) -> TextSet:
    return sweep.sets[sweep.choice.set]


def _of_window(sweep: SweepRecord) -> str:
    (first, last), options = sweep.choice.window, sweep.choice.options
    words = f"over {first:,}..{counted(last, 'added token')}"
    if options.window is not None or (first, last) == DEFAULT_WINDOW:
        return words
    if sweep.exhausted_at is not None:
        return f"{words} (the text ran dry at {last:,}, so the window starts at a fifth of that)"
    return f"{words} (the curve ends there, so the window starts at a fifth of that)"


def _limit(choice: Choice) -> str:
    if choice.clipped_by == "exposure":
        n_planned, n_times = choice.options.train_tokens or 0, choice.options.min_exposure
        plan = f"{counted(n_planned, 'training token')} of the base allow{'s' if n_planned == 1 else ''}"
        seen = f"later tokens are seen fewer than {counted(n_times, 'time')}"
        return f"{choice.limit:,} is the most that {plan}, as {seen}"
    if any(answer.n_bytes_base is not None for answer in choice.rules):
        return "0 is the most that the memory budget allows, as not even the base fits (see the rules)"
    return f"{choice.limit:,} is the most that the memory budget allows"


def _instead(choice: Choice) -> str:
    """What decides where there is no knee."""
    if choice.rule == "none":
        return ""
    if choice.rule == "end":
        return f", and no rule without a window bounds a size on this curve, so its end decides: {choice.named:,}"
    return f", so the smallest size that a rule without a window names decides: {choice.named:,} by {choice.rule!r}"


def _rounding(sweep: SweepRecord) -> str:
    choice, multiple = sweep.choice, sweep.choice.options.row_multiple
    rows = sweep.base.n_rows_at(choice.n_added)
    if choice.rule == "padding":
        return ""
    if rows == sweep.base.n_rows:
        return ", which fills padding rows that the table has already"
    if choice.n_added != min(choice.named, choice.limit):
        return f", rounded so that the total of {rows:,} rows is a multiple of {multiple}"
    if rows % multiple == 0:
        return ""
    within = f"up to {counted(choice.limit, 'added token')}"
    return f", not rounded: no size {within} makes the total rows a multiple of {multiple}"


def window_sentence(choice: Choice) -> str:
    """How the knee moves with its window, on the axis of rows and, where a union was measured, on the paper's."""
    found, window = choice.windows.found(), choice.window
    if not found:
        return "No window of this curve has a knee."
    (low, low_start, low_end), (high, high_start, high_end) = found[0], found[-1]
    at_window = "none" if choice.knee is None else f"{choice.knee:,}"
    here = f"{at_window} over {window[0]:,}..{window[1]:,}, "
    return (
        f"The knee follows its window: {here}but {low:,} over {low_start:,}..{low_end:,} and {high:,} over "
        f"{high_start:,}..{high_end:,} on the same curve: it is a convention to compare by, not a property of the text."
        f"{_union_windows(choice)}"
    )


def _union_windows(choice: Choice) -> str:
    """How the knee moves with its window among the vocabularies trained apart; "" where none were measured."""
    knees = {knee.window: knee for knee in choice.union_knees}
    if not knees:
        return ""
    here = knees[DEFAULT_WINDOW if DEFAULT_WINDOW in knees else max(knees)]
    others = [knees[window] for window in dict.fromkeys((min(knees), max(knees)))]
    moves = " and ".join(f"{o.knee:,} over {o.window[0]:,}..{o.window[1]:,}" for o in others if o.knee != here.knee)
    return (
        " On the paper's axis, vocabularies trained apart with what the base has of them, the knee over "
        f"{here.window[0]:,}..{here.window[1]:,} pieces is {here.knee:,} ({here.n_added:,} new rows)"
        f"{f', and moves too: {moves}' if moves else ''}."
    )


def agreement_sentence(choice: Choice) -> str:
    """What the rules without a window say of the recommendation; those that this curve does not bound are left out."""
    others = ("knee", "measured")
    without_window = [answer for answer in choice.rules if answer.kind not in others and not answer.second_opinion]
    named = sorted((a.n_added, a.name) for a in without_window if a.n_added is not None and a.bound == "at")
    unbounded = [answer.name for answer in without_window if answer.bound == "at_least"]
    parts = [
        f"{words} {', '.join(f'{name} {size:,}' for size, name in part)}"
        for words, part in (
            ("at or below it", [pair for pair in named if pair[0] <= choice.n_added]),
            ("above it", [pair for pair in named if pair[0] > choice.n_added]),
        )
        if part
    ]
    sizes = "; ".join(parts) if parts else "none names a size on this curve"
    left_out = f". Not bounded by this curve, so left out: {', '.join(unbounded)}" if unbounded else ""
    return f"Rules without a window, beside {choice.n_added:,}: {sizes}{left_out}."


def interval_sentence(choice: Choice) -> str:
    """How far other documents of the same kind would move the knee."""
    interval = choice.interval
    if interval is None:
        few = f"fewer than {MIN_INTERVAL_FOLDS} of the folds hold documents"
        return f"No interval: the curve has no knee, {few}, or --resamples is 0."
    without = interval.n_without_knee
    having = f" that have one, {interval.n_resamples - without:,} of" if without else ","
    return (
        f"Over resampled documents the knee lies in {interval.low:,}..{interval.high:,} ({interval.share:.0%} "
        f"of the resamples{having} {interval.n_resamples:,} of {interval.n_folds} folds)."
    )


def paper_axis_sentence(choice: Choice) -> str | None:
    """The size as the paper counts it; None where no union was measured up to it."""
    axis = choice.paper_axis
    if axis is None:
        return None
    return (
        f"{choice.n_added:,} new rows are what a vocabulary of about {axis.vocab_size:,} pieces trained apart brings, "
        f"the paper's axis: about {axis.n_overlap:,} of them the base has already."
    )


def as_command_line(options: ChoiceOptions) -> str:
    """The options of a choice, as they are given: "--window 8,000:40,000; --seed 0; not stated: --set"."""

    def word(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ":".join(map(word, value))
        return f"{value:,}" if isinstance(value, int) else str(value)

    values = {flag_of(ChoiceOptions, name): value for name, value in asdict(options).items()}
    stated = [f"{option} {word(value)}" for option, value in values.items() if value is not None]
    missing = [option for option, value in values.items() if value is None]
    return "; ".join([*stated, *([f"not stated: {', '.join(missing)}"] if missing else [])])


# --- The rules --------------------------------------------------------------------------------------------------------


def answered(answer: Answer, at_least: str = ">= ", dash: str = DASH) -> str:
    """The size a rule names: "18,890", ">= 40,000" where the curve does not bound it, a dash for none."""
    if answer.n_added is None:
        return dash
    return f"{at_least if answer.bound == 'at_least' else ''}{answer.n_added:,}"


def rule_label(answer: Answer, number: int) -> str:
    """How a figure calls a rule; its number where the figure's font has no letters for the name."""
    if answer.n_times is not None:
        return f"seen {answer.n_times:,}\u00d7"
    is_plain = answer.name.isascii() and answer.name.isprintable() and len(answer.name) <= 18
    return _RULES[answer.name][0] if answer.name in _RULES else answer.name if is_plain else f"rule {number}"


def rule_source(answer: Answer) -> str:
    """Where a rule comes from."""
    if answer.kind == "exposure":
        return f"EEVE (2402.14714); {_OURS}"
    return _RULES[answer.name][1] if answer.name in _RULES else _OURS


def rule_sentence(sweep: SweepRecord, answer: Answer) -> str:
    """A rule's answer in words that a colleague can check."""
    if answer.name == "kneedle":
        return _kneedle(sweep, answer)
    if answer.name == "muv":
        return _muv(sweep, answer)
    return {
        "knee": _knee, "flops": _flops, "exposure": _exposure, "used": _used, "marginal": _marginal, "memory": _memory,
        "law": _law, "measured": _measured,
    }[answer.kind](sweep, answer)  # fmt: skip


def _shown(n_added: int, bound: Bound) -> str:
    return f"at least {n_added:,} (not bounded by this curve)" if bound == "at_least" else f"{n_added:,}"


def _knee(sweep: SweepRecord, answer: Answer) -> str:
    against = (
        f"the {text_of(sweep.choice.set, sweep.targets)} input ratio against the embedding ratio {_of_window(sweep)}"
    )
    if answer.n_added is not None:
        return f"Knee of {against}: {answer.n_added:,}."
    first, last = sweep.choice.window
    if last - first < 2:
        return f"No knee: {first:,}..{last:,} holds fewer than three sizes."
    if sweep.base.n_rows_at(first) == sweep.base.n_rows_at(last):
        return f"No knee: all of {first:,}..{last:,} fits into padding rows that the table has already."
    return f"No knee: {against} does not bend below its chord."


def _kneedle(sweep: SweepRecord, answer: Answer) -> str:
    (first, last), options = sweep.choice.window, sweep.choice.options
    n_sizes = len(kneedle_sizes((first, last), options.kneedle_points))
    of = f"Kneedle at {n_sizes} even sizes of {first:,}..{last:,}, S = {options.kneedle_sensitivity:g}"
    return f"{of}, finds no knee." if answer.n_added is None else f"{of}: {answer.n_added:,}."


def _no_cost(sweep: SweepRecord) -> str:
    """Why compute and memory are not known."""
    if sweep.model is None:
        return "no model is known: pass --model"
    if sweep.choice.model_cost is None:
        return f"the layers of {sweep.model.name} are of a kind that is not known here"
    return "the text has no tokens"


def _flops(sweep: SweepRecord, answer: Answer) -> str:
    options = sweep.choice.options
    if answer.n_added is None:
        return f"Not computed: {_no_cost(sweep)}."
    what = {
        "flops-train": f"training, in sequences of {options.context_tokens:,} tokens",
        "flops-serve": f"serving texts of {options.context_tokens:,} tokens of the base",
        "flops-mix": f"training on {options.train_tokens or 0:,} and serving {options.serve_tokens or 0:,} tokens of "
        "the base",
    }[answer.name]
    least = f"Least compute for {what}: {_shown(answer.n_added, answer.bound)}"
    return f"{least}, with {answer.ratio_flops:.1%} of the base's FLOPs for the same text."


def _exposure(sweep: SweepRecord, answer: Answer) -> str:
    planned, n_times = sweep.choice.options.train_tokens, answer.n_times
    if answer.n_tokens_needed is not None:
        return (
            f"Needs {answer.n_tokens_needed:,} training tokens of the base, for the last of "
            f"{sweep.choice.n_added:,} added tokens to be seen {n_times:,} times; no plan is stated (--train-tokens), "
            "so this clips nothing."
        )
    if answer.n_added is None:
        return f"No training text is planned (--train-tokens), so no token is known to be seen {n_times:,} times."
    return (
        f"In {planned:,} training tokens of the base the last added token is seen {n_times:,} times or more up to "
        f"{_shown(answer.n_added, answer.bound)}."
    )


def _measured(sweep: SweepRecord, answer: Answer) -> str:
    assert answer.fit is not None, "the rule has no answer without"
    return measured_sentence(answer.fit)


def _used(sweep: SweepRecord, answer: Answer) -> str:
    if answer.n_added is None:
        return "Not known: no held-out text was counted."
    share, shown = sweep.choice.options.used_share, _shown(answer.n_added, answer.bound)
    return f"{share:.0%} or more of the added tokens occur in held-out text up to {shown}."


def _marginal(sweep: SweepRecord, answer: Answer) -> str:
    options = sweep.choice.options
    if answer.n_added is None:
        return "Not known: the text has no tokens."
    step = f"the next {options.marginal_step:,} tokens save less than {options.marginal_share:g} of the base's count"
    if answer.bound == "at_least":
        return f"Up to {answer.n_added:,}, the curve's end, there is no size at which {step}."
    return f"From {answer.n_added:,} on {step}."


def _memory(sweep: SweepRecord, answer: Answer) -> str:
    options = sweep.choice.options
    if answer.name == "memory-train":
        budget, option = options.train_memory_bytes, "--train-memory"
        what = f"weights, gradients, optimizer ({options.bytes_per_param_train} bytes a parameter) and the logits"
    else:
        budget, option = options.serve_memory_bytes, "--serve-memory"
        what = f"weights ({options.bytes_per_param_serve} bytes a parameter), keys and values"
    if budget is None:
        return f"Not asked: no budget is stated ({option})."
    if answer.n_added is None:
        return f"Not computed, so {option} holds nothing back: {_no_cost(sweep)}."
    if answer.n_bytes_base is not None:
        return f"Not even the base fits: {what} take {shown_bytes(answer.n_bytes_base)} of {shown_bytes(budget)}."
    fits = f"fit into {shown_bytes(budget)} up to {_shown(answer.n_added, answer.bound)}."
    return f"{what[0].upper()}{what[1:]} {fits}"


def _muv(sweep: SweepRecord, answer: Answer) -> str:
    if answer.n_added is not None:
        return f"VOLT's marginal utility, in steps of {MUV_STEP:,} tokens, is largest at {answer.n_added:,}."
    short = f"the curve is shorter than VOLT's step of {MUV_STEP:,} tokens"
    return f"Not known: {short if sweep.end < MUV_STEP else 'this run counted no characters or entropies'}."


def _law(sweep: SweepRecord, answer: Answer) -> str:
    cost = sweep.choice.model_cost
    if cost is None or answer.n_rows is None:
        return "Not computed: no model is known, or not its layers."
    return (
        f"A model with {cost.n_body_params / 1e9:.2f} B parameters outside the embedding deserves a whole vocabulary "
        f"of {answer.n_rows:,}: {answer.n_added:,} more than the base has. Fitted to English from scratch."
    )
