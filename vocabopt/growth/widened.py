"""Growing a base whose split pattern is widened (tokenizer/widening.py): whether it is, and where its curve begins.

Size 0 of the curve is the base as it is; the tokens are learned, and counted, with the widened pattern. What that
pattern gives without any added token stands beside the text sets (`records.Widened`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from vocabopt.errors import OptionError, quoted
from vocabopt.growth.balance import Balance
from vocabopt.growth.chunk_kernel import add_up_groups
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.curve import Curve, Merges, Uses
from vocabopt.growth.symbols import segment
from vocabopt.records import Guard, Widened, WidenedSet
from vocabopt.text.scripts import contains_target, parse_scripts
from vocabopt.text.sets import N_FOLDS
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import refine
from vocabopt.tokenizer.widening import (
    check_widened,
    pattern_to_widen,
    scripts_cut_at_marks,
    widened_pattern,
    with_pattern,
)

C = TypeVar("C", bound=Curve)
#: With `auto` a pattern stays as it is where it would join fewer of the training text's chunks than this share.
MIN_JOINED = 0.01
_SHOWN_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class Widening:
    """The base with its pattern widened for some scripts."""

    base: Tokenizer
    scripts: tuple[str, ...]
    pattern: str

    def record(self, curve: Curve, start: Curve) -> Widened:
        """What sweep.json says of it. curve: of the widened base, start: of the base as it is."""
        sets = {
            name: WidenedSet(n_tokens=n_tokens, n_chunks_base=start.n_chunks[name])
            for name, n_tokens in curve.n_tokens_base.items()
        }
        return Widened(scripts=self.scripts, pattern=self.pattern, sets=sets)


def widening_of(
    base: Tokenizer,
    wanted: str | None,
    guard: Guard,
    counts: ChunkCounts,
    protected: Sequence[str],
    n_targets: int,
    tell: Callable[[str], None],
) -> Widening | None:
    """Whether and for which scripts the base's pattern is widened.

    Args:
        wanted: --widen-pattern. counts: chunks of the text, not yet cut into pre-tokens.
        protected: texts that must be cut as before. n_targets: the first text sets, which are learned from.
        tell: given a sentence on what was decided.

    Raises:
        OptionError: the pattern cannot be widened, or not for these scripts.
    """
    if wanted is None:
        return None
    if wanted == "auto":
        scripts = scripts_cut_at_marks(base, guard.scripts) if base.family == "byte-level-bpe" else ()
        if not scripts:
            shown = ", ".join(guard.scripts)
            why = f"{base.name} does not cut words of {shown} at marks" if shown else "there is no target script"
            tell(f"--widen-pattern auto: {why}; its pattern stays.")
            return None
    else:
        scripts = _asked_for(wanted, guard)
    own = pattern_to_widen(base)
    if missing := [script for script in scripts if script not in scripts_cut_at_marks(base, scripts)]:
        raise OptionError(
            f"--widen-pattern {wanted}: the pattern of {base.name} keeps words of {', '.join(missing)} together with "
            "their marks already. Leave it out."
        )
    pattern = widened_pattern(own, scripts)
    widening = Widening(base=with_pattern(base, pattern), scripts=scripts, pattern=pattern)
    if left := scripts_cut_at_marks(widening.base, scripts):
        raise OptionError(
            f"--widen-pattern {wanted}: another step of the pre-tokenizer of {base.name} cuts words of "
            f"{', '.join(left)} at marks before the pattern does. Leave it out."
        )
    if wanted == "auto":
        # Of the target that gains most.
        before, after = (refine(one, counts).weights()[:, :n_targets].sum(axis=0) for one in (base, widening.base))
        joined = float(((before - after) / np.maximum(before, 1)).max())
        if joined < MIN_JOINED:
            tell(
                f"--widen-pattern auto: the pattern stays: widened for {', '.join(scripts)} it would join "
                f"{joined:.2%} of the chunks of the training text."
            )
            return None
    concerned = [text for text in protected if contains_target(text, scripts)]
    if (changed := check_widened(base, widening.base, concerned)) is not None:
        raise OptionError(
            f"--widen-pattern {wanted}: would cut protected text otherwise: {quoted(changed, _SHOWN_CHARS)}. Leave it "
            "out, or protect text without that script."
        )
    tell(f"The split pattern is widened: words of {', '.join(scripts)} keep their marks. Other text is cut as before.")
    return widening


def _asked_for(wanted: str, guard: Guard) -> tuple[str, ...]:
    """The scripts named, which the text has, and the guard lets learn."""
    scripts = parse_scripts(wanted, flag="--widen-pattern")
    if not scripts:
        raise OptionError(f"--widen-pattern {wanted}: write auto, or names of scripts such as Devanagari.")
    has = ", ".join(guard.n_letters) or "none"
    if absent := [script for script in scripts if not guard.n_letters.get(script)]:
        raise OptionError(
            f"--widen-pattern {wanted}: the training text has no letter of {', '.join(absent)} (its scripts: {has}). "
            "Name a script of the text, or auto."
        )
    if guard.scripts and (other := [script for script in scripts if script not in guard.scripts]):
        raise OptionError(
            f"--widen-pattern {wanted}: no token is learned for {', '.join(other)}, whose text would only be cut "
            f"otherwise. Add it to --script {','.join(guard.scripts)}, or leave it out."
        )
    return scripts


def curve_as_it_is(base: Tokenizer, counts: ChunkCounts, balance: Balance) -> Curve:
    """The curve of no added tokens, of a byte-level base. counts: chunks, not yet cut into pre-tokens; balance: which
    sets of the curve are sums."""
    counts = refine(base, counts)
    segmentation = segment(base, counts, counts.weights())
    merges = Merges.none(base)
    uses = Uses.none(merges, len(counts.sets))
    add_up_groups(counts.offsets, counts.groups, counts.counts, segmentation.tokens_per_chunk, uses.fold_tokens)
    uses = replace(
        uses,
        token_counts=segmentation.token_counts,
        n_lost_chars=segmentation.n_lost_chars_of,
        n_parts=segmentation.n_parts_of,
    )
    return Curve.of(base, merges, balance.uses_with_sums(uses, counts.sets), balance.with_sums(counts.sets))


def beginning_at(curve: C, start: Curve) -> C:
    """A curve whose size 0 is that of `start`, the base as it is."""
    of_start = start.folds.filter(pl.col("n_added") == 0)
    assert len(of_start) == N_FOLDS
    folds = pl.concat([of_start, curve.folds.filter(pl.col("n_added") > 0)])
    return replace(curve, folds=folds, n_tokens_base=start.n_tokens_base, entropy_bits=start.entropy_bits)
