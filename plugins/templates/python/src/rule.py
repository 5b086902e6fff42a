"""PLUGIN_NAME: lets each key through a number of times, then refuses it until it was quiet for a
minute. The config is that number, as 3.

Import at the top, never inside of a function: what is there is fixed when the component is built.
"""

import wit_world
from componentize_py_types import Err
from wit_world.imports import state
from wit_world.imports.types import Event, Rejection, Verdict, Verdict_Accept, Verdict_Reject

QUIET_MS = 60_000

# Of the module, not of the class: every call gets an object of its own.
limit = 0


class WitWorld(wit_world.WitWorld):
    def configure(self, config: str) -> None:
        """Called once, before the first event. Err refuses the binding; any other exception is a fault."""
        global limit
        limit = int(config) if config.isdecimal() else 0
        if limit < 1:
            raise Err("write how often a key may pass, as 3")

    def process(self, event: Event) -> Verdict:
        """Called for each event."""
        if event.key is None:
            return Verdict_Reject(Rejection("no-key", "Publish with a key: each has its own limit.", None))
        # What a refusal does to the state stands as well: who goes on trying stays out.
        if limit < state.increment(event.key, 1, QUIET_MS):
            message = f"That was more than {limit}; be quiet for a minute."
            return Verdict_Reject(Rejection("too-many", message, QUIET_MS))
        return Verdict_Accept()
