"""Hugging Face's tokenizers in JavaScript, which run in browsers, here under node: on tokenizer.json."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from installs import JAVASCRIPT, Say, javascript_folder
from tokenizers_made import Form

_SCRIPT = Path(__file__).with_name("encode.mjs")


class JavaScript:
    """@huggingface/tokenizers."""

    name = "javascript"
    version = JAVASCRIPT
    reads_special = True

    def prepare(self, cache: Path, say: Say) -> None:
        self.folder = javascript_folder(cache, say)

    def reads(self, form: Form) -> bool:
        return True

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        with tempfile.TemporaryDirectory() as name:
            job, result = Path(name) / "texts.json", Path(name) / "ids.json"
            job.write_text(json.dumps(list(texts)), encoding="utf-8")
            module = self.folder / "node_modules" / "@huggingface" / "tokenizers" / "dist" / "tokenizers.mjs"
            command = ["nice", "node", str(_SCRIPT), str(module), str(form.folder), str(job), str(result)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{form.folder}: node failed:\n{done.stderr[-2000:]}")
            ids: list[list[int]] = json.loads(result.read_text(encoding="utf-8"))
            return ids
