"""Commands by template: words with placeholders, as a machine's configuration writes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

Word = str | Sequence[str]
"""A word, or a group of words that stand and go together."""
Value = str | Sequence[str]

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_WORDS_LIMIT = 200


def flaw(template: object, known: Collection[str]) -> str:
    """What is wrong with a template, in one sentence; empty when it can be expanded."""
    if not isinstance(template, list) or not template or not isinstance(template[0], str) or not template[0]:
        return "it is no list that begins with a program"
    words: list[str] = []
    for item in template:
        group = item if isinstance(item, list) else [item]
        if not all(isinstance(word, str) for word in group):
            return "it has something that is no word and no list of words"
        words += group
    if len(words) > _WORDS_LIMIT or any("\0" in word for word in words):
        return f"it has more than {_WORDS_LIMIT} words, or a NUL"
    for word in words:
        for name in _PLACEHOLDER.findall(word):
            if name not in known:
                return f"{{{name}}} is no placeholder; known are {', '.join(sorted(known))}"
    return ""


def expanded(template: Sequence[Word], values: Mapping[str, Value]) -> list[str]:
    """The command. A word, or a group, is left out where a placeholder in it has nothing; a word that is a
    placeholder of several words becomes those.
    """
    found: list[str] = []
    for item in template:
        group = [item] if isinstance(item, str) else list(item)
        named = {name for word in group for name in _PLACEHOLDER.findall(word)}
        if all(values.get(name) for name in named):
            for word in group:
                found += _words(word, values)
    return found


def _words(word: str, values: Mapping[str, Value]) -> list[str]:
    whole = _PLACEHOLDER.fullmatch(word)
    if whole is not None:
        value = values[whole[1]]
        return [value] if isinstance(value, str) else list(value)

    def filled(match: re.Match[str]) -> str:
        value = values[match[1]]
        return value if isinstance(value, str) else ",".join(value)

    return [_PLACEHOLDER.sub(filled, word)]
