"""`vocabopt verify`: does NEW encode as BASE plus new tokens, and is nothing else changed?"""

import time
from dataclasses import asdict

from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.options import VerifyOptions
from vocabopt.verify.checks_ids import base_ids, llama_cpp, special_tokens, spelling
from vocabopt.verify.checks_text import OtherText, RoundTrip, UsageCounter
from vocabopt.verify.forms import FormsAgree
from vocabopt.verify.load import load_side
from vocabopt.verify.loaded import as_loaded
from vocabopt.verify.pair import Pair, make_pair
from vocabopt.verify.pieces import base_pieces, reachability
from vocabopt.verify.reload import Reload
from vocabopt.verify.report import Report
from vocabopt.verify.settings import settings
from vocabopt.verify.templates import chat_templates
from vocabopt.verify.text_files import Texts
from vocabopt.verify.text_pass import read_through
from vocabopt.versions import versions


def verify(base: str, new: str, options: VerifyOptions, console: Console) -> Report:
    """Compare two tokenizers of any kind that can encode.

    Args:
        base, new: as `load_base` takes them.

    Raises:
        BaseTokenizerError: one cannot be loaded, and nothing here can encode with it.
        OptionError: an option cannot be used.
        CorpusError: a text cannot be read.
    """
    start = time.perf_counter()
    texts = Texts(options)
    with console.step("load"):
        pair = _load(base, new, options)
    other, decoded, used = OtherText(pair), RoundTrip(pair), UsageCounter(pair)
    forms, reload = FormsAgree(pair), Reload(pair)
    read_through(pair, texts, (other, decoded, used, forms, reload), console)
    with console.step("compare"):
        checks = [
            base_ids(pair),
            special_tokens(pair),
            settings(pair),
            base_pieces(pair),
            chat_templates(pair),
            other.check(),
            reachability(pair, used.usage()),
            decoded.check(),
        ]
    with console.step("reload"):
        checks += [reload.check(), as_loaded(pair, reload.documents)]
    checks += [forms.check(), spelling(pair), llama_cpp(pair)]
    return Report(
        base=pair.base.as_record(),
        new=pair.new.as_record(),
        scripts=pair.scripts,
        scripts_from=pair.scripts_from,
        n_new=len(pair.new_ids),
        checks=tuple(checks),
        options=asdict(options),
        versions=versions("transformers", "tiktoken"),
        seconds={**console.seconds, "total": round(time.perf_counter() - start, 3)},
    )


def _load(base: str, new: str, options: VerifyOptions) -> Pair:
    before, after = (load_side(value, pattern=options.pattern, specials=options.specials) for value in (base, new))
    if (options.pattern or options.specials) and "tiktoken" not in (before.written, after.written):
        option = "--pattern" if options.pattern else "--specials"
        raise OptionError(f"{option}: is for tiktoken rank files, and neither {base} nor {new} is one. Leave it out.")
    return make_pair(before, after, options.scripts)
