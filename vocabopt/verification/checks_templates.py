"""The check that chat templates render as before, by the engine and settings that transformers renders them with."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.load import TEMPLATE_FOLDER
from vocabopt.verification.checks import Check, Example, NotChecked, first_examples
from vocabopt.verification.checks_vocabulary import names_of
from vocabopt.verification.pair import Pair

TEMPLATES = "Chat templates render the same"

_USER = {"role": "user", "content": "Hello, who are you?"}
_ASSISTANT = {"role": "assistant", "content": "A model.  With  spaces,\nand lines. "}
_KOREAN = {"role": "user", "content": "안녕하세요? 한국어로 답해 주세요.\n"}
_SYSTEM = {"role": "system", "content": "Be brief. <|im_end|> </s> {{ x }}"}
_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [_USER],
    [_USER, _ASSISTANT],
    [_KOREAN, {"role": "assistant", "content": "네, 알겠습니다."}, _USER],
    [_SYSTEM, _KOREAN],
    [_SYSTEM, _USER, _ASSISTANT, _KOREAN],
    [{"role": "user", "content": ""}],
)
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "날씨",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class Templates(Check, frozen=True, kw_only=True):
    """n_templates: of either. n_rendered: renderings. lone: which of the two is a lone file without templates."""

    name: str = TEMPLATES
    n_base: int
    n_new: int
    n_rendered: int
    n_different: int
    names: tuple[str, ...]
    lone: Literal["BASE", "NEW"] | None


def chat_templates(pair: Pair) -> Check:
    """Every chat template of either, by name, rendered for a few conversations."""
    before, after = _templates(pair.base), _templates(pair.new)
    if not before and not after:
        return NotChecked(name=TEMPLATES, reason="neither has a chat template")
    wrong: list[Example] = []
    doubtful: list[Example] = []
    n_rendered = 0
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            example = Example(what=name, base=_has(name in before), new=_has(name in after))
            lacks = pair.new if name in before else pair.base
            # A lone file cannot say what template belongs to it.
            (wrong if lacks.folder is not None else doubtful).append(example)
            continue
        for case in cases():
            n_rendered += 1
            old, new = (
                _render(template, names_of(tokenizer), case)
                for template, tokenizer in ((before[name], pair.base), (after[name], pair.new))
            )
            if old != new:
                wrong.append(Example(what=f"{name}: {in_words(case)}", base=repr(old), new=repr(new)))
    lone: Literal["BASE", "NEW"] | None = None
    if doubtful:
        lone = "BASE" if pair.base.folder is None else "NEW"
    return Templates(
        status="fail" if wrong else "warn" if doubtful else "pass",
        n_base=len(before),
        n_new=len(after),
        n_rendered=n_rendered,
        n_different=len(wrong),
        names=tuple(sorted(before.keys() | after.keys())),
        lone=lone,
        examples=first_examples([*wrong, *doubtful]),
    )


def _has(value: bool) -> str:
    return "has this template" if value else "has no such template"


def _templates(tokenizer: Tokenizer) -> dict[str, str]:
    """Chat templates by name, "default" for the unnamed one; files of their own stand before tokenizer_config.json."""
    templates: dict[str, str] = {}
    for file in ("tokenizer_config.json", "chat_template.json"):
        try:
            value = json_value(tokenizer.companions.get(file, b"{}")).get("chat_template")
        except ValueError:
            continue
        if isinstance(value, str):
            templates["default"] = value
        elif value:
            pairs = value.items() if isinstance(value, dict) else ((each["name"], each["template"]) for each in value)
            templates |= dict(pairs)
    for file, data in tokenizer.companions.items():
        if file.endswith(".jinja"):
            in_folder = file.startswith(f"{TEMPLATE_FOLDER}/")
            name = file.removeprefix(f"{TEMPLATE_FOLDER}/").removesuffix(".jinja") if in_folder else "default"
            templates[name] = data.decode(errors="replace")
    return templates


def cases() -> list[dict[str, Any]]:
    """What templates are rendered with: conversations, with and without a prompt for the answer, with tools."""
    plain = [
        {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": prompt}
        for messages in _CONVERSATIONS
        for prompt in (False, True)
    ]
    return [*plain, {**plain[0], "tools": _TOOLS}, {**plain[-1], "tools": _TOOLS}]


def in_words(case: Mapping[str, Any]) -> str:
    """A conversation in a few words: its roles, what else goes into it."""
    roles = ", ".join(message["role"] for message in case["messages"])
    extras = [name for name in ("tools", "add_generation_prompt") if case[name]]
    return "; ".join([roles, *extras])


class _Generation(jinja2.ext.Extension):
    """{% generation %}: marks what an assistant said; its body is rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads this attribute

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _render(template: str, names: Mapping[str, str | None], case: Mapping[str, Any]) -> str:
    """The text, or the error that the template raises: a role that it refuses must be refused by both."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = datetime(2024, 2, 29, 12, 0, 0).strftime
    try:
        return environment.from_string(template).render(**names, **case)
    except Exception as error:  # a template can raise anything
        return f"{type(error).__name__}: {error}"


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
