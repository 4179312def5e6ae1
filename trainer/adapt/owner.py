"""Whose folder it is: an adaptation is gone on with only with the same options and inputs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.options import IDLE_OPTIONS, AdaptOptions, option_of
from vocabopt.artifacts import FORMAT_VERSION, check_own_folder, check_writable, read_json, write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import RunDirectoryError
from vocabopt.fields import NUMBER, Shape, check_fields, or_null

ADAPT_JSON = "adapt.json"
_MARKER = "options.json"


def check_folder(
    options: AdaptOptions, identity: Mapping[str, Any], console: Console, *, resume: bool
) -> dict[str, Any] | None:
    """Whether the folder may be taken: an empty one or a sweep's own, or with `resume` that of the same adaptation.

    Args:
        identity: what is known of the inputs so far; the rest is compared by `take_folder`.

    Returns:
        What adapt.json holds, where the run is finished and these options ask for nothing more.

    Raises:
        RunDirectoryError: the folder holds another adaptation, or other files; resumed with other options or inputs.
    """
    if _is_begun(options):
        if not resume:
            raise RunDirectoryError(
                f"{options.out}: holds an adaptation already. Go on with it by --resume, or choose another folder with "
                "--out."
            )
        _check_same(options, identity)
        return _finished(options)
    if resume:
        console.note(f"{options.out}: holds no adaptation to go on with; this one starts.")
    if options.run is not None and options.out.resolve() == options.run.resolve():
        check_writable(options.out)
    else:
        check_own_folder(options.out, "stages")
    return None


def take_folder(options: AdaptOptions, identity: Mapping[str, Any]) -> None:
    """Mark the folder as this adaptation's, or see that all its inputs are those that it was begun with.

    Raises:
        RunDirectoryError: they are not, or the folder cannot be written.
    """
    if _is_begun(options):
        _check_same(options, identity)
    else:
        record = {"format_version": FORMAT_VERSION, "options": options.as_record(), "inputs": dict(identity)}
        write_json_atomic(options.out / "stages" / _MARKER, record)


def _is_begun(options: AdaptOptions) -> bool:
    """Whether anything was computed. A run that failed before left nothing to lose: its folder may be taken anew."""
    stages = options.out / "stages"
    computed = [*stages.glob("0-init/start.json"), *stages.glob("*/stage.json")]
    return (stages / _MARKER).is_file() and bool(computed)


def _finished(options: AdaptOptions) -> dict[str, Any] | None:
    path = options.out / ADAPT_JSON
    if not (path.is_file() and (options.out / "model" / "config.json").is_file()):
        return None
    next_step = "Remove it: --resume writes it anew from the finished stages."
    record = read_json(path, next_step=next_step)
    shape: Shape = {"status": str, "control?": {}, "options": {"max_forgetting": or_null(NUMBER)}}
    check_fields(record, shape, path, next_step)
    # Both may be given to a finished run: another arm to train, another gate to pass.
    asks_more = options.control and record.get("control") is None
    asks_more = asks_more or options.max_forgetting != record["options"]["max_forgetting"]
    return record if record["status"] == "finished" and not asks_more else None


def _check_same(options: AdaptOptions, identity: Mapping[str, Any]) -> None:
    path, next_step = options.out / "stages" / _MARKER, "Choose another folder with --out."
    earlier = read_json(path, next_step=next_step)
    check_fields(earlier, {"options": {}, "inputs": {}}, path, next_step)
    # As JSON gives it back: tuples are lists there.
    now = json.loads(json.dumps({"options": options.as_record(), "inputs": dict(identity)}))
    given = earlier["options"]
    for name, value in now["options"].items():
        if name not in IDLE_OPTIONS and given.get(name) != value:
            raise _another(options, f"another {option_of(name)}: {given.get(name)!r} then, {value!r} now")
    for name, value in now["inputs"].items():
        before = earlier["inputs"].get(name)
        if before != value:
            raise _another(options, _change_of(name, before, value, options))


def _another(options: AdaptOptions, what: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{options.out}: --resume with {what}. Give what the run was started with, or choose another folder with --out."
    )


def _change_of(name: str, before: Any, now: Any, options: AdaptOptions) -> str:
    if name == "plan":
        return f"another --plan {options.plan}: {'; '.join(_plan_changes(before, now))}"
    if name == "precision":
        return f"another --precision: {before} then, {now} now"
    return f"another {name}: its content changed (hash {str(before)[:12]} then, {str(now)[:12]} now)"


def _plan_changes(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    """Which fields of which stages differ, with both values."""
    names = [[stage["name"] for stage in stages] for stages in (before, now)]
    if names[0] != names[1]:
        yield f"stages {', '.join(names[0])} then, {', '.join(names[1])} now"
        return
    for earlier, later in zip(before, now, strict=True):
        for field, value in _flat(later).items():
            if (then := _flat(earlier).get(field)) != value:
                yield f"stage {later['name']!r}, {field} {then!r} then, {value!r} now"


def _flat(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's fields, those of its adapters as lora.rank."""
    lora = stage["lora"] or {}
    return {**stage, "lora": bool(lora)} | {f"lora.{field}": value for field, value in lora.items()}
