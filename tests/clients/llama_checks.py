"""Two checks that llama.cpp's own files make possible: its 47 test cases, and its names of split patterns."""

from pathlib import Path

from compare import Row
from installs import LLAMA
from lines import data_folder
from programs.llama_names import Names
from tokenizers_made import BaseFile, Made

from vocabopt.tokenizer import load_base

#: Our name of a base -> llama.cpp's name of its cases. Qwen's ordinary tokens are those of Qwen2.
_CASES = {"llama2": "llama-spm", "llama3": "llama-bpe", "gpt2": "gpt-2", "qwen": "qwen2"}
_SEPARATOR = "\n__ggml_vocab_test__\n"


def check_cases(base: BaseFile) -> Row | None:
    """llama.cpp's test cases with the base as vocabopt loads it; None where there are none for it."""
    data = data_folder()
    if data is None or base.name not in _CASES:
        return None
    stem = data / "tok_llamacpp_vocab" / f"ggml-vocab-{_CASES[base.name]}.gguf"
    inputs, outputs = Path(f"{stem}.inp"), Path(f"{stem}.out")
    if not (inputs.is_file() and outputs.is_file()):
        return None
    texts = inputs.read_bytes().decode().split(_SEPARATOR)
    # A line each: the last text is empty, and so is the last line.
    expected = [[int(index) for index in line.split()] for line in outputs.read_text(encoding="utf-8").split("\n")]
    tokenizer = load_base(base.option).full
    found = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    differing = [i for i, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other]
    examples = [{"text": texts[i], "expected": expected[i], "found": found[i]} for i in differing]
    return Row(
        client="llama.cpp's 47 cases",
        version=_CASES[base.name],
        base=base.name,
        n_added=0,
        n_lines=len(texts),
        n_apart=0,
        n_differing=len(differing),
        n_unexplained=len(differing),
        examples=examples,
    )


def check_name(made: Made, names: Names) -> Row | None:
    """Does llama.cpp's converter know the merged tokenizer for what it knows the base for? None for other families."""
    if not made.merged.is_byte_level:
        return None
    base, merged = (names.hash_of(form.tokenizer) for form in (made.base, made.merged))
    name = names.known.get(merged)
    if base == merged:
        why = f"{name}: hash {merged[:12]}, as the base has" if name else f"the hash {merged} is not known"
    else:
        why = f"the hash {merged} is not the base's {base}"
    is_wrong = base != merged or name is None
    return Row(
        client="llama.cpp's name",
        version=LLAMA,
        base=made.name,
        n_added=made.n_added,
        n_lines=1,
        n_apart=0,
        n_differing=int(base != merged),
        n_unexplained=int(is_wrong),
        why=why,
    )
