"""The check that chat templates render as before, by the engine and settings that transformers renders them with."""

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.load import TEMPLATE_FOLDER
from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair, names_of
from vocabopt.verification.record import Check

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


def chat_templates(pair: Pair) -> Check:
    """Every chat template of either, by name, rendered for a few conversations."""
    before, after = _templates(pair.base), _templates(pair.new)
    names, new_names = names_of(pair.base), names_of(pair.new)
    if not before and not after:
        return not_checked(TEMPLATES, "neither has a chat template")
    found, n_rendered = Findings(), 0
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            lacks = pair.new if name in before else pair.base
            has, lacking = "has this template", "has no such template"
            row = (name, has, lacking) if name in before else (name, lacking, has)
            # A lone file cannot say what template belongs to it.
            found.add("missing", [row], certain=lacks.folder is not None)
            continue
        for case in cases():
            n_rendered += 1
            old = _render(before[name], names, case)
            new = _render(after[name], new_names, case)
            if old != new:
                found.add("differ", [(f"{name}: {in_words(case)}", repr(old), repr(new))])
    summary = f"{len(before.keys() | after.keys()):,} templates, {n_rendered:,} renderings"
    summary += f": {found.n_wrong:,} differ" if found.wrong else ""
    if found.doubtful:
        lone = "BASE" if pair.base.folder is None else "NEW"
        summary += f"; {lone} is a lone file, which has none to compare with"
    counts = {"n_base": len(before), "n_new": len(after), "n_rendered": n_rendered, "n_different": found.n_wrong}
    return found.check(TEMPLATES, summary, counts)


def prompts(tokenizer: Tokenizer) -> list[str]:
    """Every chat template of a tokenizer, rendered for a few conversations."""
    names = names_of(tokenizer)
    return [_render(template, names, case) for template in _templates(tokenizer).values() for case in cases()]


def _templates(tokenizer: Tokenizer) -> dict[str, str]:
    """Chat templates by name, "default" for the unnamed one; files of their own stand before tokenizer_config.json."""
    templates: dict[str, str] = {}
    for file in ("tokenizer_config.json", "chat_template.json"):
        value = tokenizer.config(file).get("chat_template")
        if isinstance(value, str):
            templates["default"] = value
        elif value:
            pairs = value.items() if isinstance(value, dict) else ((each["name"], each["template"]) for each in value)
            templates |= dict(pairs)
    for file, data in tokenizer.companions.items():
        if file.endswith(".jinja"):
            name = file.removeprefix(f"{TEMPLATE_FOLDER}/")
            templates["default" if name == file else name.removesuffix(".jinja")] = data.decode(errors="replace")
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


@functools.lru_cache(maxsize=4)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = datetime(2024, 2, 29, 12, 0, 0).strftime
    return environment.from_string(template)


def _render(template: str, names: Mapping[str, str | None], case: Mapping[str, Any]) -> str:
    """The text, or the error that the template raises: a role that it refuses must be refused by both."""
    try:
        return _compiled(template).render(**names, **case)
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
