"""`vocabopt chat-vector`: three models in, a chat model out, measured before and after."""

from pathlib import Path

from trainer.adaptation.checks import weights_identity
from trainer.adaptation.record import OptionsRecord
from trainer.chat.files import chat_files, check_template, special_ids, write_settings
from trainer.chat.options import ChatVectorOptions
from trainer.chat.record import CHAT_VECTOR_JSON, ChatVectorRecord, StartedRecord
from trainer.chat.vector import Added, ChatVector
from trainer.evaluate.run import evaluate
from trainer.init import read_extension
from trainer.init.models import checked_config, model_folder, refuse_quantized, write_whole
from trainer.measuring_options import EvalOptions
from trainer.options import NONE
from vocabopt.console import Console
from vocabopt.errors import ModelError, RunDirectoryError
from vocabopt.folder import check_own_folder
from vocabopt.model.weights import weight_files
from vocabopt.records import read_record, write_record
from vocabopt.tokenizer import load_tokenizer
from vocabopt.training_record import ADAPT_JSON, AdaptRecord
from vocabopt.versions import versions


def run_chat_vector(options: ChatVectorOptions, console: Console | None = None) -> ChatVectorRecord:
    """Add the difference of an instruct model and its base to the base's adaptation, and write the model.

    Returns:
        What chat_vector.json holds.

    Raises:
        RunDirectoryError: ADAPTED holds no finished adaptation, or `out` cannot be written or holds anything else.
        ModelError: the base is not the one that was adapted, or the instruct model is of another shape or vocabulary.
        CorpusError, OptionError: text or option cannot be used.
    """
    console = console or Console(quiet=True)
    base, instruct = model_folder(options.base), model_folder(options.instruct)
    adaptation = _adaptation(options, base)
    adapted = options.adapted / "model"
    command = {**options.as_record(), "base": str(base.resolve()), "instruct": str(instruct.resolve())}
    _check_out(options, (adapted, base, instruct), command)
    with console.step("compare the models"):
        vector = _vector(options, adapted, base, instruct)
    before = _bits_per_byte(options, adapted, adaptation, console)
    template_before = check_template(adapted, instruct, vector.extension.scripts)
    write_record(options.out / CHAT_VECTOR_JSON, StartedRecord(status="running", command=command))
    added: list[Added] = []
    notes: list[str] = []

    def write(partial: Path) -> None:
        added.append(vector.write(partial))
        notes.extend(write_settings(adapted, instruct, partial))
        index = adapted / "model.safetensors.index.json"
        if index.is_file():
            (partial / index.name).write_bytes(index.read_bytes())

    with console.step("add the difference"):
        n_bytes = sum(path.stat().st_size for path in weight_files(adapted))
        write_whole(options.out, write, chat_files(adapted, instruct), n_bytes)
    record = ChatVectorRecord(
        status="finished",
        command=command,
        n_params=added[0].n_params,
        n_rows=added[0].n_rows,
        n_old_rows=added[0].n_old_rows,
        n_new_rows=added[0].n_new_rows,
        special_ids=tuple(vector.special_ids),
        relative_norm=added[0].relative_norm,
        before=before,
        after=_bits_per_byte(options, options.out, adaptation, console),
        template_before=template_before,
        template_after=check_template(options.out, instruct, vector.extension.scripts),
        notes=tuple(notes),
        versions=versions("torch", "transformers", "safetensors"),
    )
    write_record(options.out / CHAT_VECTOR_JSON, record)
    return record


def _adaptation(options: ChatVectorOptions, base: Path) -> AdaptRecord:
    """What adapt.json of ADAPTED holds, where it is finished and began with this base."""
    path = options.adapted / ADAPT_JSON
    if not path.is_file():
        raise RunDirectoryError(
            f"{options.adapted}: holds no {ADAPT_JSON}, which says what base was adapted. Name the folder that "
            "`vocabopt adapt` wrote, not its model/."
        )
    record = read_record(path, AdaptRecord)
    if record.status != "finished":
        raise RunDirectoryError(f"{path}: says {record.status!r}. Finish the adaptation with --resume first.")
    begun = read_record(options.adapted / "stages" / "options.json", OptionsRecord)
    if begun.inputs.get("model") != weights_identity(base):
        raise ModelError(
            f"--base {options.base}: is not the model that {options.adapted} was adapted from, which was "
            f"{record.model}: config.json or weights differ. Name that one."
        )
    return record


def _check_out(options: ChatVectorOptions, models: tuple[Path, ...], command: dict[str, object]) -> None:
    out = options.out
    if any(out.resolve() == folder.resolve() for folder in (*models, options.adapted)):
        raise RunDirectoryError(f"--out {out}: is the folder of one of the models. Name a folder of its own.")
    if not check_own_folder(out, CHAT_VECTOR_JSON):
        return
    done = read_record(out / CHAT_VECTOR_JSON, StartedRecord)
    if done.status == "finished" and (unlike := [name for name in command if done.command.get(name) != command[name]]):
        raise RunDirectoryError(
            f"{out}: holds another model, made with {unlike[0]} {done.command.get(unlike[0])}, not "
            f"{command[unlike[0]]}. Choose another folder with --out."
        )


def _vector(options: ChatVectorOptions, adapted: Path, base: Path, instruct: Path) -> ChatVector:
    """The vector, where the three models go together."""
    tied = {}
    for name, folder in {"ADAPTED": adapted, "--base": base, "--instruct": instruct}.items():
        config = checked_config(folder).config
        refuse_quantized(config, folder)
        tied[name] = bool(getattr(config, "tie_word_embeddings", False))
    if odd := next((name for name in ("--base", "--instruct") if tied[name] != tied["ADAPTED"]), None):
        words = {True: "one table for input and output (tied)", False: "two tables (untied)"}
        raise ModelError(
            f"{odd} {options.base if odd == '--base' else options.instruct}: has {words[tied[odd]]}, and "
            f"{options.adapted} {words[tied['ADAPTED']]}. Name models of one kind."
        )
    own, chat = load_tokenizer(str(base)), load_tokenizer(str(instruct))
    if changed := [piece for piece, index in chat.vocab.items() if own.vocab.get(piece, index) != index]:
        raise ModelError(
            f"--instruct {options.instruct}: {len(changed):,} tokens of its tokenizer have another id than in --base "
            f"{options.base}, first {changed[0]!r}. Name an instruct model with the tokenizer of that base."
        )
    taken = {*own.vocab.values()}
    renamed = {index: piece for piece, index in chat.vocab.items() if piece not in own.vocab and index in taken}
    if renamed:
        index, piece = next(iter(renamed.items()))
        raise ModelError(
            f"--instruct {options.instruct}: {len(renamed):,} tokens of --base {options.base} have another name there, "
            f"first {piece!r} (id {index:,}). Sweep and adapt with the instruct model's tokenizer beside the base's "
            "weights, then add the chat vector."
        )
    if beyond := [piece for piece, index in chat.vocab.items() if piece not in own.vocab and index >= own.n_tokens]:
        raise ModelError(
            f"--instruct {options.instruct}: has {len(beyond):,} tokens that --base {options.base} lacks, first "
            f"{beyond[0]!r}, at ids that the adaptation gave to new tokens. Sweep and adapt with the instruct model's "
            "tokenizer beside the base's weights, then add the chat vector."
        )
    vector = ChatVector(
        adapted=adapted,
        base=base,
        instruct=instruct,
        extension=read_extension(adapted, base),
        special_ids=special_ids(chat),
        rows=options.rows,
        scale=options.scale,
    )
    vector.check()
    return vector


def _bits_per_byte(
    options: ChatVectorOptions, model: Path, adaptation: AdaptRecord, console: Console
) -> dict[str, float]:
    """Of every text, opened as the adaptation opened documents."""
    if not options.texts:
        return {}
    found = evaluate(
        EvalOptions(
            model=str(model),
            texts=options.texts,
            limit_bytes=options.limit_bytes,
            batch_size=options.batch_size,
            device=options.device,
            document_start=adaptation.document_ends.start or NONE,
            **{name: getattr(options, name) for name in ("unit", "column", "encoding", "format", "on_error")},
        ),
        console,
    )
    return {name: text.bits_per_byte for name, text in found.texts.items()}
