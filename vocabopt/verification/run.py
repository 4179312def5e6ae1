"""`vocabopt verify`: does NEW encode as BASE plus new tokens, and is nothing else changed?"""

import hashlib
import time
from dataclasses import asdict

from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.merging.extension import Proof
from vocabopt.options import VerifyOptions
from vocabopt.tokenizer import Tokenizer, load_tokenizer
from vocabopt.verification.checks_settings import chat_templates, settings
from vocabopt.verification.checks_swap import KeptTextPass
from vocabopt.verification.checks_text import FormsPass, LengthPass, OtherTextPass, RoundTripPass, UsagePass
from vocabopt.verification.checks_transformers import ReloadPass, as_loaded
from vocabopt.verification.checks_vocabulary import (
    base_ids,
    base_pieces,
    llama_cpp,
    reachability,
    special_tokens,
    spelling,
)
from vocabopt.verification.checks_widening import WideningPass
from vocabopt.verification.pair import make_pair
from vocabopt.verification.record import Compared, Report
from vocabopt.verification.text import read_through, sets_of
from vocabopt.versions import versions


def verify(
    base: str | Tokenizer, new: str, options: VerifyOptions, console: Console, *, proof: Proof | None = None
) -> Report:
    """Compare two tokenizers of any kind that can encode.

    Args:
        base, new: as `load_tokenizer` takes them; the base may be loaded already.
        proof: what a merge proved of the counts of `new`, for verify.json.

    Raises:
        BaseTokenizerError: one cannot be loaded, and nothing here can encode with it.
        OptionError: an option cannot be used.
        CorpusError: a text cannot be read.
    """
    start = time.perf_counter()
    sets = sets_of(options)
    with console.step("load"):
        rank_options = {"pattern": options.pattern, "specials": options.specials}
        before = load_tokenizer(base, **rank_options) if isinstance(base, str) else base
        after = load_tokenizer(new, **rank_options)
        if (options.pattern or options.specials) and "tiktoken" not in (before.written, after.written):
            option = "--pattern" if options.pattern else "--specials"
            raise OptionError(
                f"{option}: is for tiktoken rank files, and neither {before.source} nor {new} is one. Leave it out."
            )
        pair = make_pair(before, after, options.scripts)
    # What swapped rows do to other text is promised in tokens, not in ids.
    other = KeptTextPass(pair) if pair.reused else OtherTextPass(pair)
    decoded, length, used = RoundTripPass(pair), LengthPass(pair), UsagePass(pair)
    forms, reload, cuts = FormsPass(pair), ReloadPass(pair), WideningPass(pair)
    read_through(pair, sets, options, (other, decoded, length, used, forms, reload, cuts), console)
    with console.step("compare"):
        checks = [base_ids(pair), special_tokens(pair), settings(pair), base_pieces(pair), chat_templates(pair)]
        checks += [other.check(), reachability(pair, used.used, used.n_lines), decoded.check(), length.check()]
    with console.step("reload"):
        checks += [reload.check(), as_loaded(pair, reload.documents)]
    checks += [forms.check(), spelling(pair), llama_cpp(pair)]
    if (widened := cuts.check()) is not None:
        checks.append(widened)
    statuses = {check.status for check in checks}
    return Report(
        passed="fail" not in statuses,
        verdict="fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass",
        base=_compared(before),
        new=_compared(after),
        n_new=len(pair.new_ids),
        n_reused=len(pair.reused),
        scripts=pair.scripts,
        scripts_from=pair.scripts_from,
        options=asdict(options),
        checks=tuple(checks),
        versions=versions("transformers", "tiktoken"),
        seconds={**console.seconds, "total": round(time.perf_counter() - start, 3)},
        proof=proof,
    )


def _compared(tokenizer: Tokenizer) -> Compared:
    return Compared(
        name=tokenizer.name,
        source=tokenizer.source,
        sha256=tokenizer.sha256,
        written=tokenizer.written,
        forms={kind: hashlib.sha256(data).hexdigest() for kind, data in tokenizer.forms.items()},
        n_tokens=tokenizer.n_tokens,
        refusal=tokenizer.refusal,
    )
