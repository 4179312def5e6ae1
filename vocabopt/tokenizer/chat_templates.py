"""Chat templates of a tokenizer, rendered by the engine and settings that transformers renders them with."""

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vocabopt.tokenizer.load import TEMPLATE_FOLDER
from vocabopt.tokenizer.tokenizer import Tokenizer

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")

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


def names_of(tokenizer: Tokenizer) -> dict[str, str | None]:
    """bos_token and its like, as tokenizer_config.json or special_tokens_map.json name them; {} without these files."""
    names: dict[str, str | None] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        config = tokenizer.config(file)
        for name in (name for name in NAMES if config.get(name) is not None):
            value = config[name]
            names[name] = value.get("content") if isinstance(value, dict) else value
    return names


def prompts(tokenizer: Tokenizer) -> list[str]:
    """Every chat template of a tokenizer, rendered for a few conversations."""
    names = names_of(tokenizer)
    return [render(template, names, case) for template in templates(tokenizer).values() for case in cases()]


def templates(tokenizer: Tokenizer) -> dict[str, str]:
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


def render(template: str, names: Mapping[str, str | None], case: Mapping[str, Any]) -> str:
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
