// PLUGIN_NAME: lets each key through a number of times, then refuses it until it was quiet for a
// minute. The config is that number, as 3.

import * as state from 'weir:plugin/state';
import type { Event, Verdict } from 'weir:plugin/types';

const QUIET_MS = 60_000;

let limit: number;

// Called once, before the first event. What is thrown refuses the binding, with its message.
export function configure(config: string): void {
  limit = Number(config);
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new Error('write how often a key may pass, as 3');
  }
}

// Called for each event.
export function process(event: Event): Verdict {
  if (event.key === null) {
    return reject('no-key', 'Publish with a key: each has its own limit.');
  }
  // What a refusal does to the state stands as well: who goes on trying stays out.
  if (limit < state.increment(event.key, 1, QUIET_MS)) {
    return reject('too-many', `That was more than ${limit}; be quiet for a minute.`, QUIET_MS);
  }
  return { tag: 'accept' };
}

function reject(code: string, message: string, retryAfterMs?: number): Verdict {
  return { tag: 'reject', val: { code, message, retryAfterMs } };
}
