"""Several targets in one sweep: what was asked for, the scripts that guard other text, and how rows are shared.

`options -> Targets` is what sweep.json keeps; `balance_of` makes of it what the growth pass takes.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.balance import ONE_TARGET, Balance, Sums, added_up
from vocabopt.growth.counts import ChunkCounts, SetStats, char_counts, guard_of
from vocabopt.options import SweepOptions
from vocabopt.records import Guard, Targets
from vocabopt.records import TextSet as TextSetRecord
from vocabopt.text.corpus import TextSet
from vocabopt.text.scripts import find_target_scripts
from vocabopt.text.sets import ALIGNED, HELDOUT, TRAIN, WEIGHTED, set_of

V = TypeVar("V", int, list[int])

#: Weights as whole numbers: larger ones would leave 64 bits with much text.
_MAX_WEIGHT = 1_000_000


def targets_of(options: SweepOptions, text_sets: Sequence[TextSet]) -> Targets | None:
    """What the options say of several targets; None where there is one. Scripts are not known yet.

    Raises:
        OptionError: weights that cannot be used, or options about several targets where there is one, or aligned text
            that lacks one of them.
    """
    names = tuple(one.name for one in text_sets if one.role == "train")
    if len(names) == 1:
        given = {"balance": options.balance, "parity": options.parity}
        if flag := next((f"--{name} {value}" for name, value in given.items() if value is not None), None):
            raise OptionError(
                f"{flag}: is about several targets, and there is one ({names[0]}). Name more with --target ko,ja or "
                "--text, or leave it out."
            )
        return None
    if lacking := [name for name in names if options.aligned and name not in options.aligned]:
        raise OptionError(
            f"--parity {options.parity}: no aligned text of {', '.join(lacking)}. Name it with --aligned "
            f"{lacking[0]}=PATH."
        )
    if options.method != "grow":
        raise OptionError(
            f"--method {options.method}: is for one target, and there are {len(names)} ({', '.join(names)}). Leave it "
            "out, or give text of one target."
        )
    return Targets(
        names=names,
        balance="parity" if options.balance == "parity" else "tokens",
        weights=_weights(options.balance, names),
        scripts={},
        parity=options.parity,
        aligned=tuple(sorted(options.aligned)),
    )


def _weights(balance: str | None, names: Sequence[str]) -> dict[str, int] | None:
    """The weight of each target as the smallest whole numbers; None for parity. Raises OptionError."""
    if balance == "parity":
        return None
    if balance is None or balance == "tokens":
        return dict.fromkeys(names, 1)
    given: dict[str, Fraction] = {}
    for part in balance.split(","):
        name, separator, value = (text.strip() for text in part.partition(":"))
        if not separator:
            raise OptionError(f"--balance {balance}: write tokens, parity, or a weight each: {names[0]}:2,{names[1]}:1")
        if name not in names:
            raise OptionError(f"--balance {balance}: {name!r} is no target; the targets are {', '.join(names)}.")
        if name in given:
            raise OptionError(f"--balance {balance}: {name} has two weights. Write one.")
        try:
            given[name] = Fraction(value)
        except (ValueError, ZeroDivisionError):
            given[name] = Fraction(0)
        if given[name] <= 0:
            raise OptionError(
                f"--balance {balance}: the weight of {name} must be a number above 0, such as 2 or 0.5. To leave a "
                "target out, do not name it as one."
            )
    if lacking := [name for name in names if name not in given]:
        raise OptionError(f"--balance {balance}: no weight of {', '.join(lacking)}. Give each target one.")
    scale = lcm(*(weight.denominator for weight in given.values()))
    scaled = {name: int(given[name] * scale) for name in names}
    common = gcd(*scaled.values())
    if max(scaled.values()) // common > _MAX_WEIGHT:
        raise OptionError(
            f"--balance {balance}: as whole numbers these are larger than {_MAX_WEIGHT:,}. Round the weights."
        )
    return {name: weight // common for name, weight in scaled.items()}


def guard_of_targets(
    scripts: Sequence[str] | None,
    counts: ChunkCounts,
    weights: NDArray[np.int64],
    targets: Targets | None,
    protected: Sequence[str],
    min_script_share: float,
) -> tuple[Guard, Targets | None]:
    """The guard of the text of all targets, and the targets with their scripts.

    Each target's scripts are found in its own text, and new tokens may show any of them. Where one target is in Latin,
    there is no script that guards other text.

    Args:
        weights: int64 [n_chunks, n_sets], the targets first.

    Raises:
        CorpusError: a target has no text among what is learned from.
    """
    if targets is None:
        return guard_of(scripts, char_counts(counts, weights[:, 0]), protected, min_script_share), None
    for column, name in enumerate(targets.names):
        if not weights[:, column].any():
            raise CorpusError(
                f"target {name}: the documents that tokens are learned from hold no text of it. Name a larger share "
                "(--learn-from), raise --memory, or leave the target out."
            )
    chars = [char_counts(counts, weights[:, column]) for column in range(len(targets.names))]
    found = {
        name: find_target_scripts(of_target, min_script_share)
        for name, of_target in zip(targets.names, chars, strict=True)
    }
    together: dict[str, int] = {}
    for of_target in chars:
        for char, n in of_target.items():
            together[char] = together.get(char, 0) + n
    guard = guard_of(scripts, together, protected, min_script_share)
    if scripts is None:
        union = sorted({script for names in found.values() for script in names})
        guard = msgspec.structs.replace(guard, scripts=tuple(union) if all(found.values()) else ())
    return guard, msgspec.structs.replace(targets, scripts=found)


def balance_of(targets: Targets | None, sets: Sequence[str]) -> Balance:
    """How the growth pass shares rows. sets: names of those that are counted."""
    if targets is None:
        return ONE_TARGET
    is_aligned = targets.balance == "parity" and targets.parity is not None
    return Balance(
        n_targets=len(targets.names),
        weights=() if targets.weights is None else tuple(targets.weights[name] for name in targets.names),
        measured=tuple(sets.index(set_of(ALIGNED, name)) for name in targets.names) if is_aligned else (),
        reference=sets.index(set_of(ALIGNED, str(targets.parity))) if is_aligned else None,
        sums=sums_of(targets),
    )


def sums_of(targets: Targets | None) -> Sums:
    """Sets that are sums: name -> (role, set -> how often it is taken).

    train and heldout hold the text of all targets; `weighted`, where weights differ, held-out text with that of each
    target as often as its weight says.
    """
    if targets is None:
        return {}
    sums: dict[str, tuple[str, Mapping[str, int]]] = {
        part: (part, {set_of(part, name): 1 for name in targets.names}) for part in (TRAIN, HELDOUT)
    }
    if targets.is_weighted and targets.weights is not None:
        sums[WEIGHTED] = (HELDOUT, {set_of(HELDOUT, name): targets.weights[name] for name in targets.names})
    return sums


def with_sums(counts: Mapping[str, V], targets: Targets | None) -> dict[str, V]:
    """Whole numbers, or lists of them, of the sets of the curve, given those of the sets that are counted."""
    sums = added_up(sums_of(targets), {name: np.asarray(given, np.int64) for name, given in counts.items()})
    return {**{name: total.tolist() for name, total in sums.items()}, **counts}


def with_spread(curve: pl.DataFrame, sets: Mapping[str, TextSetRecord], targets: Targets | None) -> pl.DataFrame:
    """curve.parquet with `ratio_spread`: how much of its tokens the target served worst has left, over the best."""
    if targets is None:
        return curve
    ratios = [pl.col(f"n_tokens_{name}") / sets[name].n_tokens_base for name in targets.measured_sets(sets).values()]
    return curve.with_columns((pl.max_horizontal(ratios) / pl.min_horizontal(ratios)).alias("ratio_spread"))


def check_targets(targets: Targets | None, sets: Mapping[str, SetStats], balance: Balance, *, is_all: bool) -> None:
    """Refuse text that was counted and cannot be learned from for these targets.

    Args:
        is_all: whether all text is learned from.

    Raises:
        CorpusError: aligned text is not aligned.
        OptionError: rows are to go by aligned text that was not counted with what is learned from.
    """
    if targets is None:
        return

    def held(name: str) -> str:
        stats = sets[set_of(ALIGNED, name)]
        left_out = stats.n_blank + stats.n_skipped
        return f"{stats.n_documents:,} documents" + (f" ({left_out:,} blank or unreadable)" if left_out else "")

    for name in targets.aligned:
        if held(name) != held(str(targets.parity)):
            raise CorpusError(
                f"--parity {targets.parity}: has {held(str(targets.parity))}, but aligned text of {name} has "
                f"{held(name)}. Parity compares the same documents in each language: give aligned text."
            )
    if balance.reference is not None and not is_all:
        raise OptionError(
            "--balance parity with --parity: goes by aligned text, which is not counted where tokens are learned from "
            "a share of the text. Raise --memory, or leave --parity out."
        )
