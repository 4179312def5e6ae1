"""Checks on text: what must not change does not, what is decoded is the same, all files of NEW are one tokenizer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from vocabopt.failures import encoded
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.tokenizer.model_check import ids_with_names_as_text
from vocabopt.verification.checks import BUILT_IN, PLAIN, Findings, not_checked
from vocabopt.verification.pair import Pair, View, difference, shown
from vocabopt.verification.record import Check, Status
from vocabopt.verification.text import Batch

OTHER_TEXT = "Other text gives the same ids"
ROUND_TRIP = "Text decodes as with the base"
LENGTH = "No text takes more tokens than with the base"
FORMS = "All forms of the new tokenizer agree"

#: Numbers of one text, or of one form.
Tally = Counter[str]


@dataclass
class OtherTextPass:
    """Lines without characters of the target must not change; without a target those of --protect must not.

    Without a target and without --protect nothing is known to be other text but the built-in lines, and nothing says
    that they should stay: what changed is a warning. Lines with added tokens that BASE does not have in a
    form are not judged in it, and counted.

    judged, left: text -> lines that must not change, and lines that nothing says should stay. changed_in, n_names:
    form -> changed lines, and lines not judged in it.
    """

    pair: Pair
    judged: dict[str, Tally] = field(default_factory=dict)
    left: dict[str, Tally] = field(default_factory=dict)
    changed_in: Tally = field(default_factory=Counter)
    n_target: int = 0
    n_names: Tally = field(default_factory=Counter)
    found: Findings = field(default_factory=Findings)

    def see(self, batch: Batch) -> None:
        other = [i for i, is_target in enumerate(batch.is_target) if not is_target]
        self.n_target += len(batch) - len(other)
        # Without a guard the text may be what the new tokens are for: only protected text says that it is not.
        is_judged = bool(self.pair.scripts) or not self.pair.new_ids or batch.role == "protect"
        changed: set[int] = set()
        for view in self.pair.views:
            before, after = batch.ids(view)
            rows = [i for i in other if not (batch.has_special[i] and self._is_new_to(view, batch.documents[i]))]
            self.n_names[view.name] += len(other) - len(rows)
            here = [i for i in rows if before[i] != after[i]]
            changed.update(here)
            if is_judged:
                self.changed_in[view.name] += len(here)
            name = f"{view.name}, {batch.name}"
            examples = ((f"{name}: {shown(batch.documents[i])}", *self.pair.show(before[i], after[i])) for i in here)
            self.found.add(batch.name, examples, len(here), certain=is_judged)
        n_bytes = sum(len(batch.documents[i].encode()) for i in other)
        tally = (self.judged if is_judged else self.left).setdefault(batch.name, Counter())
        tally.update(n_lines=len(other), n_bytes=n_bytes, n_changed=len(changed))

    def _is_new_to(self, view: View, text: str) -> bool:
        """Whether a text with the name of an added token has one that BASE does not have in this form.

        A token that a folder adds beside its tokenizer.model becomes a piece of the merged one.
        """
        if view.kind != "tokenizer.model":
            return view.kind is None
        known = self.pair.base.model_pieces
        return any(name in text for name in self.pair.special_strings if name not in known)

    def check(self) -> Check:
        judged, left = (sum(tallies.values(), Counter()) for tallies in (self.judged, self.left))
        counts = {name: judged[name] for name in ("n_lines", "n_bytes", "n_changed")}
        counts["n_with_target"] = self.n_target
        for name, tally in (*self.judged.items(), *self.left.items()):
            counts |= {f"n_lines ({name})": tally["n_lines"], f"n_changed ({name})": tally["n_changed"]}
        counts |= {"n_not_judged": left["n_lines"], "n_not_judged_changed": left["n_changed"]}
        counts |= {f"n_changed ({name})": n for name, n in self.changed_in.items()}
        counts |= {f"n_not_judged ({name})": n for name, n in self.n_names.items()}
        notes = []
        if n := judged["n_lines"]:
            notes.append(f"{judged['n_changed']:,} of {n:,} lines changed ({judged['n_bytes']:,} bytes)")
        if judged["n_changed"] and len(self.changed_in) > 1:
            notes.append(", ".join(f"{n:,} in {name}" for name, n in self.changed_in.items()))
        if self.n_target:
            notes.append(f"{self.n_target:,} lines with {', '.join(self.pair.scripts)} not judged")
        if self.left:
            notes.append(self._left(is_protected=judged["n_lines"] > 0))
        notes += [f"{n:,} with added tokens not judged in {name}" for name, n in self.n_names.items() if n]
        status: Status = "fail" if judged["n_changed"] else "pass" if judged["n_lines"] else "not_checked"
        # Plain English that changes is a warning also where other text was protected, which then was too little.
        is_plain_changed = PLAIN in self.left and self.left[PLAIN]["n_changed"] > 0
        if self.left and status != "fail" and (is_plain_changed or not (judged["n_lines"] or self._protected)):
            status = "warn"
        # The user's text says more than the built-in lines, which were read first, the plain ones last.
        return self.found.check(OTHER_TEXT, "; ".join(notes), counts, status=status, last_first=True)

    @property
    def _protected(self) -> tuple[str, ...]:
        """Names of the texts that the sweep protected, as extension.json has them; not the texts themselves."""
        return self.pair.extension.protected_sets if self.pair.extension is not None else ()

    def _left(self, *, is_protected: bool) -> str:
        """What changed where nothing says that it should not: plain English and code first."""
        names = sorted(self.left, key=lambda name: (name != PLAIN, name != BUILT_IN))
        tallies = ((name, self.left[name]) for name in names)
        text = (f"{tally['n_changed']:,} of {tally['n_lines']:,} lines of {name}" for name, tally in tallies)
        changed = f"changed: {', '.join(text)}"
        unknown = "without a target script verify cannot tell which text the new tokens are for"
        if is_protected:
            return f"{unknown}, so these lines are not judged, {changed}"
        if protected := self._protected:
            options = " ".join(f"--protect {name}=PATH" for name in protected)
            return (
                f"not judged, {changed}; {unknown}; the sweep protected {', '.join(protected)}: give verify {options} "
                "to check it"
            )
        return (
            f"nothing guards other text (no target script, nothing protected), {changed}; {unknown}, so this is no "
            "fault by itself; name text that must not change with --protect"
        )


@dataclass
class RoundTripPass:
    """What decoding gives back, with special tokens and without.

    The two can differ only for lines that hold a special token, so that others are decoded once. The built-in lines are
    decoded with the special tokens as well that documents begin and end with.
    """

    pair: Pair
    n_lines: int = 0
    n_changed: int = 0
    found: Findings = field(default_factory=Findings)

    def see(self, batch: Batch) -> None:
        self.n_lines += len(batch)
        every = list(range(len(batch)))
        special = [i for i in every if batch.has_special[i]]
        changed: set[int] = set()
        for view in self.pair.views:
            ids = batch.ids(view)
            changed |= self._changed(batch, view, ids, every, skip_special=True)
            changed |= self._changed(batch, view, ids, special, skip_special=False)
        base, new = self.pair.base, self.pair.new
        if batch.role == "hard" and base.encodes_as_json and new.encodes_as_json:
            view = self.pair.views[0]
            before, after = (
                [row.ids for row in encoded(side.full, batch.documents, side.source, add_special_tokens=True)]
                for side in (base, new)
            )
            plain = batch.ids(view)
            rows = [i for i in every if (before[i], after[i]) != (plain[0][i], plain[1][i])]
            for skip_special in (True, False):
                changed |= self._changed(batch, view, (before, after), rows, skip_special=skip_special)
        self.n_changed += len(changed)

    def _changed(
        self, batch: Batch, view: View, ids: tuple[Ids, Ids], rows: list[int], *, skip_special: bool
    ) -> set[int]:
        if not rows:
            return set()
        before = view.base.decode([ids[0][i] for i in rows], skip_special=skip_special)
        after = view.new.decode([ids[1][i] for i in rows], skip_special=skip_special)
        changed = [(i, a, b) for i, a, b in zip(rows, before, after, strict=True) if a != b]
        examples = ((f"{view.name}: {shown(batch.documents[i])}", shown(a), shown(b)) for i, a, b in changed)
        self.found.add("lines", examples, len(changed))
        return {i for i, _, _ in changed}

    def check(self) -> Check:
        summary = f"{self.n_changed:,} of {self.n_lines:,} lines decode to something else than with the base"
        return self.found.check(ROUND_TRIP, summary, {"n_lines": self.n_lines, "n_changed": self.n_changed})


@dataclass
class LengthPass:
    """Documents that take more tokens than with the base: none where every new merge comes after all of the base's.

    That is promised of grown tokens (P8), where the split pattern stays. Of a widened pattern, a union, a swap, or
    tokenizers made elsewhere it is counted, not judged.

    tallies: text -> documents, those that take more and that take fewer, and all tokens of both.
    """

    pair: Pair
    tallies: dict[str, Tally] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)

    def see(self, batch: Batch) -> None:
        view = self.pair.views[0]
        before, after = batch.ids(view)
        longer = [i for i in range(len(batch)) if len(after[i]) > len(before[i])]
        self.tallies.setdefault(batch.name, Counter()).update(
            n_lines=len(batch),
            n_longer=len(longer),
            n_shorter=sum(len(new) < len(old) for old, new in zip(before, after, strict=True)),
            n_tokens_base=sum(map(len, before)),
            n_tokens=sum(map(len, after)),
            n_tokens_more=sum(len(after[i]) - len(before[i]) for i in longer),
        )
        examples = ((shown(batch.documents[i]), *self.pair.show(before[i], after[i])) for i in longer)
        self.found.add(batch.name, examples, len(longer))

    def check(self) -> Check:
        total = sum(self.tallies.values(), Counter())
        counts = {name: total[name] for name in ("n_lines", "n_longer", "n_shorter", "n_tokens_more")}
        for name, tally in self.tallies.items():
            counts |= {f"{number} ({name})": tally[number] for number in ("n_longer", "n_tokens_base", "n_tokens")}
        where = ", ".join(f"{name} {n:,}" for name, tally in self.tallies.items() if (n := tally["n_longer"]))
        summary = f"{total['n_longer']:,} of {total['n_lines']:,} lines take more tokens"
        summary += f" ({where}), {total['n_shorter']:,} fewer" if where else f", {total['n_shorter']:,} fewer"
        extension = self.pair.extension
        is_grown = extension is not None and extension.method == "grow"
        if total["n_longer"] and (not is_grown or self.pair.widened is not None):
            made = "tokenizers made elsewhere" if extension is None else f"a {extension.method}"
            made = "a widened pattern" if is_grown else made
            summary += f"; counted, not promised of {made}"
            return self.found.check(LENGTH, summary, counts, status="not_checked", last_first=True)
        return self.found.check(LENGTH, summary, counts, last_first=True)


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


@dataclass
class FormsPass:
    """Each other form gives the ids of tokenizer.json. Where the base's own files differ, they may differ too, but not
    in new tokens.

    A base that is a lone tokenizer.model excuses nothing: its tokenizer.json is made here, and a line on which that is
    not the model is a fault of ours, and counted as one. Names of special tokens are text in the other forms, and are
    compared as text; lines with added tokens that are no special ones, which other forms do not have, are counted.

    tallies: of each form that was compared with the first.
    """

    pair: Pair
    tallies: dict[Kind, Tally] = field(default_factory=dict)
    n_of_loading: int = 0
    found: Findings = field(default_factory=Findings)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The forms in NEW's folder that can be encoded with; the others are compared with the first."""
        new = self.pair.new
        if new.folder is None:
            return ()
        # A folder without tokenizer.json is compared as it is, not with what would be made of it.
        return tuple(kind for kind in new.encoders if kind in new.forms or new.written == "tokenizer.json")

    @property
    def _base_is_model(self) -> bool:
        return self.pair.base.written == "tokenizer.model" and self.pair.base.encodes_as_json

    def see(self, batch: Batch) -> None:
        if self._base_is_model:
            self._compare_base(batch)
        for kind in self.kinds[1:]:
            self._compare(batch, kind)

    def _compare_base(self, batch: Batch) -> None:
        base = self.pair.base
        texts = [batch.documents[i] for i in self._rows(batch, "tokenizer.model", base)]
        pairs = zip(
            texts, ids_with_names_as_text(base.full, texts), base.encoders["tokenizer.model"].encode(texts), strict=True
        )
        different = [(text, difference(base, one, base, other)) for text, one, other in pairs if one != other]
        self.n_of_loading += len(different)
        before = "as it was loaded: {} | tokenizer.model: {}"
        self.found.add("loading", [(shown(text), before.format(*ids), "not looked at") for text, ids in different])

    def _rows(self, batch: Batch, kind: Kind, tokenizer: Tokenizer) -> list[int]:
        """Documents without added tokens that the form does not have and that are not special."""
        own = {token["content"] for token in tokenizer.added_tokens if not token.get("special")}
        if kind == "tokenizer.model" and self._base_is_model:
            own -= self.pair.base.model_pieces
        texts = enumerate(zip(batch.documents, batch.has_special, strict=True))
        return [i for i, (text, is_special) in texts if not (is_special and any(name in text for name in own))]

    def _compare(self, batch: Batch, kind: Kind) -> None:
        new, base, first = self.pair.new, self.pair.base, self.kinds[0]
        rows = self._rows(batch, kind, new)
        one, other = self._ids(batch, rows, new, batch.new), batch.new[kind]
        different = [i for i in rows if one[i] != other[i]]
        has_both = first in batch.base and kind in batch.base
        judges_base = has_both and not self._base_is_model
        of_base = self._ids(batch, different, base, batch.base) if judges_base else {}
        as_well = {i for i in of_base if of_base[i] != batch.base[kind][i]}
        by_new = {i for i in different if self._new(one[i]) != self._new(other[i])}
        excused = [i for i in different if i in as_well - by_new]
        self.tallies.setdefault(kind, Counter()).update(
            n_lines=len(rows),
            n_different=len(different) - len(excused),
            n_not_compared=len(batch) - len(rows),
            n_base_as_well=len(excused),
            n_by_new_token=len(by_new),
        )

        def example(i: int) -> tuple[str, str, str]:
            before = "both files give the same" if has_both else "not known: it has no such two files"
            if i in as_well:
                two = difference(base, of_base[i], base, batch.base[kind][i])
                before = f"its two files differ as well: {first}: {two[0]} | {kind}: {two[1]}"
            two = difference(new, one[i], new, other[i])
            return shown(batch.documents[i]), before, f"{first}: {two[0]} | {kind}: {two[1]}"

        wrong = [i for i in different if i in by_new or i not in as_well]
        self.found.add(kind, map(example, wrong), len(wrong))
        # What is excused is shown as well, behind what is not.
        self.found.add(kind, map(example, excused), len(excused), certain=False)

    def _ids(
        self, batch: Batch, rows: Sequence[int], tokenizer: Tokenizer, ids: Mapping[Kind, Ids]
    ) -> Mapping[int, list[int]]:
        """What the first form gives, names of special tokens taken as text."""
        first = self.kinds[0]
        found = {i: ids[first][i] for i in rows}
        if named := [i for i in rows if first == "tokenizer.json" and batch.has_special[i]]:
            as_text = ids_with_names_as_text(tokenizer.full, [batch.documents[i] for i in named])
            found |= dict(zip(named, as_text, strict=True))
        return found

    def _new(self, ids: list[int]) -> list[int]:
        return [index for index in ids if index >= self.pair.base.n_tokens or index in self.pair.reused]

    def check(self) -> Check:
        new = self.pair.new
        missing = new.missing if new.folder is not None else {}
        if not (self.tallies or missing or self.n_of_loading):
            lone = "a file, not a folder" if new.folder is None else "in a single form"
            return not_checked(FORMS, f"{new.name} is {lone}")
        counts = {"n_of_loading": self.n_of_loading} if self.tallies else {}
        notes = [f"{kind} not checked: pip install {package}" for kind, package in missing.items()]
        if n := self.n_of_loading:
            notes.append(f"{self.pair.base.name} as it was loaded is not its tokenizer.model on {n:,} lines")
        for kind, tally in self.tallies.items():
            names = ("n_lines", "n_different", "n_not_compared", "n_base_as_well", "n_by_new_token")
            counts |= {f"{name} ({kind})": tally[name] for name in names}
            note = f"{kind}: {tally['n_different']:,} of {tally['n_lines']:,} lines differ from {self.kinds[0]}"
            if n := tally["n_by_new_token"]:
                note += f" ({n:,} by a new token)"
            if n := tally["n_base_as_well"]:
                note += f", {n:,} more where the base's two files differ as well, none by a new token"
            if n := tally["n_not_compared"]:
                note += f", {n:,} not compared, with added tokens that {kind} does not have"
            notes.append(note)
        status: Status | None = None
        if not self.found.wrong:
            status = "not_checked" if not self.tallies else "warn" if missing else None
        return self.found.check(FORMS, "; ".join(notes), counts, status=status)
