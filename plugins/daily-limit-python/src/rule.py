"""So many events of one key per UTC day, and not one more: daily-limit, in Python.

The same configuration, verdicts, messages, notices and state as plugins/daily-limit, whose README.md
says what they are; a test holds both to it.

The state of a key and day is one counter, 8 bytes, little endian. Its bit 62 says that the notice was
sent; below that are the events admitted.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import context, outbox, state
from wit_world.imports.types import Event, Rejection, Verdict_Accept, Verdict_Reject

from config import Config
from day import DAY_MS, end_of, name_of
from key import NoKey, cell_of, key_of, short

NOTICE_SENT = 1 << 62

# How long a day of event time is remembered after its last change: a month of stragglers.
EVENT_TIME_TTL_MS = 32 * DAY_MS

# The binding's. Of the module, not of the class: every call gets an object of its own.
settings = Config(0, None, False, None)


class WitWorld(wit_world.WitWorld):
    def configure(self, config: str) -> None:
        global settings
        # Err is the answer that refuses the binding; any other exception would be a trap.
        try:
            settings = Config.read(config)
        except ValueError as error:
            raise Err(str(error))

    def process(self, event: Event):
        try:
            key = key_of(event, settings.pointer)
        except NoKey as missing:
            return Verdict_Reject(Rejection("no-key", str(missing), None))
        return count(key, event.timestamp if settings.by_event_time else context.now())


def count(key: bytes, time: int):
    day = time // DAY_MS
    opens_in_ms = end_of(day) - time
    ttl = EVENT_TIME_TTL_MS if settings.by_event_time else opens_in_ms
    cell = cell_of(key, day)
    stored = int.from_bytes(state.get(cell) or b"", "little", signed=True)
    if stored & ~NOTICE_SENT < settings.limit:
        state.increment(cell, 1, ttl)
        return Verdict_Accept()
    if settings.notice is not None and not stored & NOTICE_SENT:
        outbox.emit(settings.notice, notice(key, day, time))
        state.increment(cell, NOTICE_SENT, ttl)
    message = (
        f"{short(key)} has used its {settings.limit} for {name_of(day)} (UTC); "
        f"it opens again at {name_of(day + 1)}T00:00:00Z"
    )
    return Verdict_Reject(Rejection("daily-limit", message, opens_in_ms))


def notice(key: bytes, day: int, time: int) -> Event:
    value = {
        "day": name_of(day),
        "key": key.decode(errors="replace"),
        "limit": settings.limit,
        "opens_at": f"{name_of(day + 1)}T00:00:00Z",
        "topic": context.topic(),
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Event(key, text.encode(), [], time)
