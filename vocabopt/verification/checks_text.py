"""Checks on text: what must not change does not, what is decoded is the same, all files of NEW are one tokenizer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from vocabopt.failures import encoded
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.tokenizer.model_check import ids_with_names_as_text
from vocabopt.verification.checks import N_EXAMPLES, PLAIN, Check, Example, NotChecked, Status, one_of_each
from vocabopt.verification.pair import Pair, View, difference, shown
from vocabopt.verification.text import Batch

OTHER_TEXT = "Other text gives the same ids"
ROUND_TRIP = "Text decodes as with the base"
FORMS = "All forms of the new tokenizer agree"


class TextTally(msgspec.Struct, kw_only=True):
    """Lines of one text without characters of the target."""

    n_lines: int = 0
    n_bytes: int = 0
    n_changed: int = 0


def total_of(tallies: Mapping[str, TextTally]) -> TextTally:
    """The sum of tallies."""
    values = tallies.values()
    sums = {name: sum(getattr(tally, name) for tally in values) for name in TextTally.__struct_fields__}
    return TextTally(**sums)


class OtherText(Check, frozen=True, kw_only=True):
    """judged, left: text -> lines that must not change, and lines that nothing says should stay.

    changed_in, n_names: form -> changed lines, and lines not judged in it as they hold added tokens new to the base.
    scripts: the target's. protected_in_sweep: texts that the sweep protected.
    """

    name: str = OTHER_TEXT
    judged: Mapping[str, TextTally]
    left: Mapping[str, TextTally]
    changed_in: Mapping[str, int]
    n_with_target: int
    n_names: Mapping[str, int]
    scripts: tuple[str, ...]
    protected_in_sweep: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        total, left = total_of(self.judged), total_of(self.left)
        counts = {"n_lines": total.n_lines, "n_bytes": total.n_bytes, "n_changed": total.n_changed}
        counts["n_with_target"] = self.n_with_target
        for name, tally in (*self.judged.items(), *self.left.items()):
            counts |= {f"n_lines ({name})": tally.n_lines, f"n_changed ({name})": tally.n_changed}
        counts |= {"n_not_judged": left.n_lines, "n_not_judged_changed": left.n_changed}
        counts |= {f"n_changed ({name})": n for name, n in self.changed_in.items()}
        return counts | {f"n_not_judged ({name})": n for name, n in self.n_names.items()}


@dataclass
class OtherTextPass:
    """Lines without characters of the target must not change; without a target those of --protect must not.

    Without a target and without --protect nothing is known to be other text but the built-in lines, and nothing says
    that they should stay: what changed is a warning. Lines with added tokens that BASE does not have in a
    form are not judged in it, and counted.
    """

    pair: Pair
    judged: dict[str, TextTally] = field(default_factory=dict)
    left: dict[str, TextTally] = field(default_factory=dict)
    changed_in: Counter[str] = field(default_factory=Counter)
    n_target: int = 0
    n_names: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def see(self, batch: Batch) -> None:
        other = [i for i, is_target in enumerate(batch.is_target) if not is_target]
        self.n_target += len(batch) - len(other)
        # Without a guard the text may be what the new tokens are for: only protected text says that it is not.
        is_judged = bool(self.pair.scripts) or not self.pair.new_ids or batch.role == "protect"
        tally = (self.judged if is_judged else self.left).setdefault(batch.name, TextTally())
        changed: set[int] = set()
        for view in self.pair.views:
            here = self._changed(batch, view, other)
            changed.update(here)
            if is_judged:
                self.changed_in[view.name] += len(here)
            self._keep(batch, view, here)
        tally.n_lines += len(other)
        tally.n_bytes += sum(len(batch.documents[i].encode()) for i in other)
        tally.n_changed += len(changed)

    def _changed(self, batch: Batch, view: View, rows: list[int]) -> list[int]:
        before, after = batch.ids(view)
        judged = [i for i in rows if not (batch.has_special[i] and self._is_new_to(view, batch.documents[i]))]
        self.n_names[view.name] += len(rows) - len(judged)
        return [i for i in judged if before[i] != after[i]]

    def _is_new_to(self, view: View, text: str) -> bool:
        """Whether a text with the name of an added token has one that BASE does not have in this form.

        A token that a folder adds beside its tokenizer.model becomes a piece of the merged one.
        """
        if view.kind is None:
            return True
        if view.kind != "tokenizer.model":
            return False
        known = self.pair.base.model_pieces
        return any(name in text for name in self.pair.special_strings if name not in known)

    def _keep(self, batch: Batch, view: View, changed: list[int]) -> None:
        before, after = batch.ids(view)
        kept = self.examples.setdefault(batch.name, [])
        for i in changed[: N_EXAMPLES - len(kept)]:
            base, new = self.pair.show(before[i], after[i])
            what = f"{view.name}, {batch.name}: {shown(batch.documents[i])}"
            kept.append(Example(what=what, base=base, new=new))

    def check(self) -> OtherText:
        return OtherText(
            status=self._status(),
            judged=self.judged,
            left=self.left,
            changed_in=self.changed_in,
            n_with_target=self.n_target,
            n_names=self.n_names,
            scripts=self.pair.scripts,
            protected_in_sweep=self.pair.protected_in_sweep,
            # The user's text says more than the built-in lines, which were read first, the plain ones last.
            examples=one_of_each(reversed(self.examples.values())),
        )

    def _status(self) -> Status:
        """Plain English that changes is a warning also where other text was protected, which then was too little."""
        judged = total_of(self.judged)
        if judged.n_changed:
            return "fail"
        is_plain_changed = PLAIN in self.left and self.left[PLAIN].n_changed > 0
        if self.left and (is_plain_changed or not (judged.n_lines or self.pair.protected_in_sweep)):
            return "warn"
        return "pass" if judged.n_lines else "not_checked"


class RoundTrip(Check, frozen=True, kw_only=True):
    """n_changed: lines that decode to something else than with the base."""

    name: str = ROUND_TRIP
    n_lines: int
    n_changed: int


@dataclass
class RoundTripPass:
    """What decoding gives back, with special tokens and without.

    The two can differ only for lines that hold a special token, so that others are decoded once. The built-in lines are
    decoded with the special tokens as well that documents begin and end with.
    """

    pair: Pair
    n_lines: int = 0
    n_changed: int = 0
    examples: list[Example] = field(default_factory=list)

    def see(self, batch: Batch) -> None:
        self.n_lines += len(batch)
        every = list(range(len(batch)))
        changed: set[int] = set()
        for view in self.pair.views:
            ids = batch.ids(view)
            changed |= self._changed(batch, view, ids, every, skip_special=True)
            changed |= self._changed(batch, view, ids, [i for i in every if batch.has_special[i]], skip_special=False)
        base, other = self.pair.base, self.pair.new
        if batch.role == "hard" and base.encodes_as_json and other.encodes_as_json:
            view = self.pair.views[0]
            old, new = (
                [encoding.ids for encoding in encoded(tokenizer, batch.documents, source, add_special_tokens=True)]
                for tokenizer, source in ((base.full, base.source), (other.full, other.source))
            )
            plain = batch.ids(view)
            rows = [i for i in every if (old[i], new[i]) != (plain[0][i], plain[1][i])]
            for skip_special in (True, False):
                changed |= self._changed(batch, view, (old, new), rows, skip_special=skip_special)
        self.n_changed += len(changed)

    def _changed(
        self, batch: Batch, view: View, ids: tuple[Ids, Ids], rows: list[int], *, skip_special: bool
    ) -> set[int]:
        if not rows:
            return set()
        before = view.base.decode([ids[0][i] for i in rows], skip_special=skip_special)
        after = view.new.decode([ids[1][i] for i in rows], skip_special=skip_special)
        changed = [(i, a, b) for i, a, b in zip(rows, before, after, strict=True) if a != b]
        for i, old, new in changed[: N_EXAMPLES - len(self.examples)]:
            what = f"{view.name}: {shown(batch.documents[i])}"
            self.examples.append(Example(what=what, base=shown(old), new=shown(new)))
        return {i for i, _, _ in changed}

    def check(self) -> RoundTrip:
        status: Status = "fail" if self.n_changed else "pass"
        return RoundTrip(status=status, n_lines=self.n_lines, n_changed=self.n_changed, examples=tuple(self.examples))


@dataclass
class UsagePass:
    """Which tokens the target text uses: lines of --text with characters of the target, all where nothing guards."""

    pair: Pair
    used: set[int] = field(default_factory=set)
    n_lines: int = 0

    def see(self, batch: Batch) -> None:
        if batch.role != "text":
            return
        rows = next(iter(batch.new.values()))
        if self.pair.scripts:
            rows = [ids for ids, is_target in zip(rows, batch.is_target, strict=True) if is_target]
        self.n_lines += len(rows)
        self.used.update(chain.from_iterable(rows))


# --- Forms ------------------------------------------------------------------------------------------------------------


class FormTally(msgspec.Struct, kw_only=True):
    """Lines in which one form was compared with the first."""

    n_lines: int = 0
    n_not_compared: int = 0
    n_different: int = 0
    n_base_as_well: int = 0
    n_by_new_token: int = 0

    @property
    def n_wrong(self) -> int:
        """Lines that differ where the base's two files do not."""
        return self.n_different - self.n_base_as_well


class FormsAgree(Check, frozen=True, kw_only=True):
    """tallies: of each form that was compared with `first`. missing: form -> the package that would read it.

    n_of_loading: lines on which the base, as it was loaded from a lone tokenizer.model, is not that model.
    """

    name: str = FORMS
    first: Kind | None
    tallies: Mapping[Kind, FormTally]
    missing: Mapping[Kind, str]
    n_of_loading: int
    base_name: str

    @property
    def counts(self) -> dict[str, int]:
        counts = {"n_of_loading": self.n_of_loading} if self.tallies else {}
        for kind, tally in self.tallies.items():
            counts |= {f"n_lines ({kind})": tally.n_lines, f"n_different ({kind})": tally.n_wrong}
            counts |= {f"n_not_compared ({kind})": tally.n_not_compared}
            counts |= {f"n_base_as_well ({kind})": tally.n_base_as_well}
            counts |= {f"n_by_new_token ({kind})": tally.n_by_new_token}
        return counts


@dataclass
class FormsPass:
    """Each other form gives the ids of tokenizer.json, but for lines on which the base's two files differ as well; and
    even there the new tokens are the same.

    A base that is a lone tokenizer.model excuses nothing: its tokenizer.json is made here, and a line on which that is
    not the model is a fault of ours, and counted as one. Names of special tokens are text in the other forms, and are
    compared as text; lines with added tokens that are no special ones, which other forms do not have, are counted.
    """

    pair: Pair
    tallies: dict[Kind, FormTally] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    n_of_loading: int = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The forms in NEW's folder that can be encoded with; the others are compared with the first."""
        tokenizer = self.pair.new
        if tokenizer.folder is None:
            return ()
        # A folder without tokenizer.json is compared as it is, not with what would be made of it.
        return tuple(
            kind for kind in tokenizer.encoders if kind in tokenizer.forms or tokenizer.written == "tokenizer.json"
        )

    @property
    def _base_is_model(self) -> bool:
        return self.pair.base.written == "tokenizer.model" and self.pair.base.encodes_as_json

    def see(self, batch: Batch) -> None:
        if self._base_is_model:
            self._compare_base(batch)
        if len(self.kinds) < 2:
            return
        for kind in self.kinds[1:]:
            self._compare(batch, kind)

    def _compare_base(self, batch: Batch) -> None:
        tokenizer = self.pair.base
        rows = self._rows(batch, "tokenizer.model", tokenizer)
        texts = [batch.documents[i] for i in rows]
        by_json, by_model = _as_text(tokenizer, texts), tokenizer.encoders["tokenizer.model"].encode(texts)
        for text, one, other in zip(texts, by_json, by_model, strict=True):
            if one != other:
                self.n_of_loading += 1
                if len(self.examples) < N_EXAMPLES:
                    ids = difference(tokenizer, one, tokenizer, other)
                    ids_shown = f"as it was loaded: {ids[0]} | tokenizer.model: {ids[1]}"
                    self.examples.append(Example(what=shown(text), base=ids_shown, new="not looked at"))

    def _rows(self, batch: Batch, kind: Kind, tokenizer: Tokenizer) -> list[int]:
        """Documents without added tokens that the form does not have and that are not special."""
        own = {token["content"] for token in tokenizer.added.values() if not token.get("special")}
        if kind == "tokenizer.model" and self._base_is_model:
            own -= self.pair.base.model_pieces
        held = [
            is_special and any(content in text for content in own)
            for text, is_special in zip(batch.documents, batch.has_special, strict=True)
        ]
        return [i for i, is_held in enumerate(held) if not is_held]

    def _compare(self, batch: Batch, kind: Kind) -> None:
        first = self.kinds[0]
        tally = self.tallies.setdefault(kind, FormTally())
        rows = self._rows(batch, kind, self.pair.new)
        tally.n_lines += len(rows)
        tally.n_not_compared += len(batch) - len(rows)
        one, other = self._ids(batch, rows, self.pair.new, batch.new), batch.new[kind]
        different = [i for i in rows if one[i] != other[i]]
        base: Mapping[int, list[int]] = {}
        if not self._base_is_model and first in batch.base and kind in batch.base:
            base = self._ids(batch, different, self.pair.base, batch.base)
        for i in different:
            tally.n_different += 1
            by_new_token = self._new(one[i]) != self._new(other[i])
            base_as_well = i in base and base[i] != batch.base[kind][i]
            tally.n_by_new_token += by_new_token
            tally.n_base_as_well += base_as_well and not by_new_token
            # What is excused is shown as well, behind what is not.
            if by_new_token or not base_as_well:
                self.examples.insert(0, self._example(batch, kind, i, one[i], "both files give the same"))
            elif len(self.examples) < N_EXAMPLES:
                ids_shown = difference(self.pair.base, base[i], self.pair.base, batch.base[kind][i])
                before = f"its two files differ as well: {first}: {ids_shown[0]} | {kind}: {ids_shown[1]}"
                self.examples.append(self._example(batch, kind, i, one[i], before))
        del self.examples[N_EXAMPLES:]

    def _ids(
        self, batch: Batch, rows: Sequence[int], tokenizer: Tokenizer, ids: Mapping[Kind, Ids]
    ) -> Mapping[int, list[int]]:
        """What the first form gives, names of special tokens taken as text."""
        first = self.kinds[0]
        found = {i: ids[first][i] for i in rows}
        named = [i for i in rows if batch.has_special[i]] if first == "tokenizer.json" else []
        return found | dict(zip(named, _as_text(tokenizer, [batch.documents[i] for i in named]), strict=True))

    def _new(self, ids: list[int]) -> list[int]:
        first_id = self.pair.base.n_tokens
        return [index for index in ids if index >= first_id]

    def _example(self, batch: Batch, kind: Kind, i: int, ids: list[int], before: str) -> Example:
        new = self.pair.new
        first = self.kinds[0]
        ids_shown = difference(new, ids, new, batch.new[kind][i])
        if first not in batch.base or kind not in batch.base:
            before = "not known: it has no such two files"
        return Example(
            what=shown(batch.documents[i]), base=before, new=f"{first}: {ids_shown[0]} | {kind}: {ids_shown[1]}"
        )

    def check(self) -> Check:
        new = self.pair.new
        missing = new.missing if new.folder is not None else {}
        if not (self.tallies or missing or self.n_of_loading):
            lone = "a file, not a folder" if new.folder is None else "in a single form"
            return NotChecked(name=FORMS, reason=f"{new.name} is {lone}")
        n_wrong = self.n_of_loading + sum(tally.n_wrong for tally in self.tallies.values())
        is_doubtful = bool(missing) or any(tally.n_base_as_well for tally in self.tallies.values())
        status: Status = "fail" if n_wrong else "warn" if is_doubtful else "pass"
        return FormsAgree(
            status=status if self.tallies or n_wrong else "not_checked",
            first=self.kinds[0] if self.kinds else None,
            tallies=self.tallies,
            missing=missing,
            n_of_loading=self.n_of_loading,
            base_name=self.pair.base.name,
            examples=tuple(self.examples),
        )


def _as_text(tokenizer: Tokenizer, texts: list[str]) -> Ids:
    """What tokenizer.json gives where names of special tokens are text."""
    return ids_with_names_as_text(tokenizer.full, texts)
