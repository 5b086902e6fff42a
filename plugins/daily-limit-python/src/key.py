"""What an event is about: found where the configuration says, named in the state and to people."""

import hashlib
import re

from strict_json import Numeral, read
from wit_world.imports.types import Event

# Longer keys are refused, so that a publisher's key can never make a notice that does not fit.
KEY_BYTES_MAX = 4096

# Keys up to here stand in the state as they are; longer ones as their SHA-256. It must be a
# cryptographic one: publishers choose keys, and two with one hash would share a limit.
PLAIN_BYTES_MAX = 128

# What of a key a message shows: a message takes 512 bytes.
SHORT_CHARS = 48

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
INDEX = re.compile("0|[1-9][0-9]*")


class NoKey(Exception):
    """What was looked for and not found."""


def key_of(event: Event, pointer: str | None) -> bytes:
    key = own_key(event) if pointer is None else key_at(pointer, event.value)
    if KEY_BYTES_MAX < len(key):
        raise NoKey(f"The key is {len(key)} bytes long; keys of up to {KEY_BYTES_MAX} bytes are counted")
    return key


def own_key(event: Event) -> bytes:
    if event.key is None:
        raise NoKey("The event has no key; publish it with the key that its daily limit is counted by")
    return event.key


def key_at(pointer: str, value: bytes) -> bytes:
    try:
        document = read(value.decode())
    except ValueError:  # of bytes that are no UTF-8, too
        raise NoKey(f"The value is not JSON, so {pointer} was not looked for")
    try:
        found = follow(pointer, document)
    except LookupError:
        raise NoKey(f"There is nothing at {pointer}; a daily limit is counted by it")
    if found is None:
        raise NoKey(f"There is null at {pointer}; a daily limit is counted by it")
    if isinstance(found, (dict, list)):
        raise NoKey(f"What is at {pointer} must be a string, a number or a bool to be counted by")
    return (str(found).lower() if isinstance(found, bool) else found).encode()


def follow(pointer: str, document):
    """RFC 6901. Raises LookupError where there is nothing."""
    target = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict):
            target = target[name]
        elif isinstance(target, list) and INDEX.fullmatch(name) and len(name) < 10:
            target = target[int(name)]
        else:
            raise LookupError
    return target


def short(key: bytes) -> str:
    """One line of text for a message, cut where it is long."""
    text = CONTROL.sub("\ufffd", key.decode(errors="replace"))
    return text if len(text) <= SHORT_CHARS else text[:SHORT_CHARS] + "…"


def cell_of(key: bytes, day: int) -> bytes:
    """The state key for a day: | form u8: 'k' plain, 'h' hashed | day u64 BE | key or SHA-256 ... |"""
    is_plain = len(key) <= PLAIN_BYTES_MAX
    name = key if is_plain else hashlib.sha256(key).digest()
    return (b"k" if is_plain else b"h") + day.to_bytes(8, "big") + name
