"""Whose folder it is: an adaptation is gone on with only with the same options and inputs."""

import json
from pathlib import Path
from typing import Any

from trainer.adapt.inputs import Inputs
from trainer.adapt.options import IDLE_OPTIONS, AdaptOptions
from vocabopt.artifacts import FORMAT_VERSION, check_own_folder, check_writable, read_json, write_json_atomic
from vocabopt.errors import RunDirectoryError

_MARKER = "options.json"


def open_run(options: AdaptOptions, inputs: Inputs, *, resume: bool) -> None:
    """Take an empty folder or a sweep's own, or with `resume` that of the same adaptation.

    Raises:
        RunDirectoryError: the folder holds another adaptation, or other files; resumed with other options or inputs.
    """
    marker = options.out / "stages" / _MARKER
    # As JSON gives it back: tuples are lists there.
    identity = json.loads(json.dumps({"options": options.as_record(), "inputs": inputs.identity()}))
    # A run that failed before it had computed anything left nothing to lose: its mended command may take the folder.
    computed = [*marker.parent.glob("0-init/start.json"), *marker.parent.glob("*/stage.json")]
    if marker.is_file() and computed:
        earlier = read_json(marker, next_step="Choose another folder with --out.")
        if not resume:
            raise RunDirectoryError(
                f"{options.out}: holds an adaptation already. Go on with it by --resume, or choose another folder with "
                "--out."
            )
        _check_same(options.out, earlier, identity)
        return
    if options.run is not None and options.out.resolve() == options.run.resolve():
        check_writable(options.out)
    else:
        check_own_folder(options.out, "stages")
    write_json_atomic(marker, {"format_version": FORMAT_VERSION, **identity})


def _check_same(out: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    for part in ("options", "inputs"):
        before = earlier.get(part, {})
        for name, value in now[part].items():
            if name not in IDLE_OPTIONS and before.get(name) != value:
                raise RunDirectoryError(
                    f"{out}: --resume with another {_option(part, name)}: {before.get(name)!r} then, {value!r} now. "
                    "Give what the run was started with, or choose another folder with --out."
                )


def _option(part: str, name: str) -> str:
    """As the user writes or knows it."""
    if part == "inputs":
        return f"{name} (its content changed)"
    spelled = {
        "texts": "text",
        "context_tokens": "context",
        "replays": "replay",
        "evals": "eval",
        "base_evals": "base-eval",
        "n_samples": "samples",
    }
    return "--" + spelled.get(name, name).replace("_", "-")
