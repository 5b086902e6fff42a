"""The binding's configuration, checked whole before the first event."""

import re
from dataclasses import dataclass

from strict_json import Numeral, read

# More than this many events of one key a day is no limit that anyone counts by.
LIMIT_MAX = 1_000_000_000_000

# A pointer is shown in refusals, which take 512 bytes.
POINTER_BYTES_MAX = 256

KNOWN = ("limit", "key", "time", "notice")

# What a field is that is not there; null is something.
ABSENT = object()


@dataclass
class Config:
    limit: int
    pointer: str | None  # None: the event's own key
    by_event_time: bool
    notice: str | None

    @staticmethod
    def read(text: str) -> "Config":
        """Raises ValueError with one sentence that says what to write."""
        try:
            fields = read(text)
        except ValueError as error:
            raise ValueError(f'the config is not JSON ({error}); write at least {{"limit":10}}')
        if not isinstance(fields, dict):
            raise ValueError('write the config as a JSON object, at least {"limit":10}')
        unknown = sorted(name for name in fields if name not in KNOWN)
        if unknown:
            raise ValueError(
                f'there is no field "{unknown[0]}"; write "limit", "key", "time" or "notice"'
            )
        return Config(*(check(fields.get(name, ABSENT)) for name, check in CHECKS.items()))


def is_text(field) -> bool:
    return isinstance(field, str) and not isinstance(field, Numeral)


def limit_of(field) -> int:
    if field is ABSENT:
        raise ValueError('"limit" is missing; write the events per key and day, as in {"limit":10}')
    limit = int(field) if isinstance(field, Numeral) and re.fullmatch("[0-9]{1,20}", field) else 0
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(
            f'"limit" must be a whole number from 1 to {LIMIT_MAX}, as in {{"limit":10}}'
        )
    return limit


def pointer_of(field) -> str | None:
    if field is ABSENT or (is_text(field) and field == "event"):
        return None
    # RFC 6901: every ~ is followed by 0 or 1.
    is_pointer = is_text(field) and re.fullmatch(r"/(?:[^~]|~[01])*", field)
    if is_pointer and len(field.encode()) <= POINTER_BYTES_MAX:
        return field
    raise ValueError(
        f'"key" must be "event" or a JSON pointer of up to {POINTER_BYTES_MAX} bytes that begins with '
        '"/", as "/user/id" (with ~0 for ~ and ~1 for / in a name)'
    )


def by_event_time(field) -> bool:
    if field is ABSENT or (is_text(field) and field in ("broker", "event")):
        return field == "event"
    raise ValueError(
        '"time" must be "broker" (when the broker took the event) or "event" (its own timestamp)'
    )


def notice_of(field) -> str | None:
    if field is ABSENT:
        return None
    if is_text(field) and field != "":
        return field
    raise ValueError('"notice" must be the name of a topic, as "notices"; leave it out for none')


CHECKS = {"limit": limit_of, "key": pointer_of, "time": by_event_time, "notice": notice_of}
