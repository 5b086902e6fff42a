"""Reads JSON as the other daily-limits do: json.loads, less what only Python takes for JSON."""

import json
import re

# Deeper than this nothing is read, so that no publisher can exhaust the stack.
DEPTH_MAX = 127

STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# A text in whose escapes every surrogate has its other half. Possessive: there is nothing to try again.
WHOLE = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F])*+"
)
EXPONENT = re.compile(r"[eE]\+?(?=[0-9])")


class Numeral(str):
    """A number as it was written (a limit is counted by that), with its exponent as e+5 or e-5."""

    def __new__(cls, written: str):
        return super().__new__(cls, EXPONENT.sub("e+", written).replace("E", "e"))


def read(text: str):
    """Raises ValueError where the text is no JSON."""
    if is_too_deep(text):
        raise ValueError("nested too deep")
    value = json.loads(text, parse_int=Numeral, parse_float=Numeral, parse_constant=refuse)
    if "\\u" in text and not WHOLE.fullmatch(text):
        raise ValueError("half of a surrogate pair")
    return value


def refuse(constant: str):
    raise ValueError(f"{constant} is no JSON")


def is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if DEPTH_MAX < depth:
            return True
    return False
