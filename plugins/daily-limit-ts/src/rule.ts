// So many events of one key per UTC day, and not one more: daily-limit, in TypeScript.
//
// The same configuration, verdicts, messages, notices and state as plugins/daily-limit, whose
// README.md says what they are; a test holds both to it.
//
// The state of a key and day is one counter, 8 bytes, little endian. Its bit 62 says that the notice
// was sent; below that are the events admitted. A number of JavaScript is exact up to 2^53 only, so
// the counter is read from its bytes and the flag is added as the power of two that it is.

import * as context from 'weir:plugin/context';
import { emit } from 'weir:plugin/outbox';
import * as state from 'weir:plugin/state';
import type { Event, Verdict } from 'weir:plugin/types';

import { type Config, configOf } from './config';
import { DAY_MS, dayOf, endOf, nameOf } from './day';
import { bytesOf, textOf } from './utf8';
import { cellOf, keyOf, shortOf } from './key';

const NOTICE_SENT = 2 ** 62;

// How long a day of event time is remembered after its last change: a month of stragglers.
const EVENT_TIME_TTL_MS = 32 * DAY_MS;

let config: Config;

export function configure(json: string): void {
  // What is thrown refuses the binding, with its message.
  config = configOf(json);
}

export function process(event: Event): Verdict {
  const key = keyOf(event, config.pointer);
  if ('missing' in key) {
    return reject('no-key', key.missing);
  }
  const time = config.byEventTime ? event.timestamp : context.now();
  return count(key.bytes, dayOf(time), time);
}

function count(key: Uint8Array, day: number, time: number): Verdict {
  const cell = cellOf(key, day);
  const opensInMs = endOf(day) - time;
  const ttl = config.byEventTime ? EVENT_TIME_TTL_MS : opensInMs;
  const { admitted, isNoticeSent } = counterAt(cell);
  if (admitted < config.limit) {
    state.increment(cell, 1, ttl);
    return { tag: 'accept' };
  }
  if (config.notice !== undefined && !isNoticeSent) {
    emit(config.notice, notice(key, day, time));
    state.increment(cell, NOTICE_SENT, ttl);
  }
  const message =
    `${shortOf(key)} has used its ${config.limit} for ${nameOf(day)} (UTC); ` +
    `it opens again at ${nameOf(day + 1)}T00:00:00Z`;
  return reject('daily-limit', message, opensInMs);
}

function counterAt(cell: Uint8Array) {
  const bytes = state.get(cell);
  if (bytes == null) {
    return { admitted: 0, isNoticeSent: false };
  }
  let admitted = bytes[7]! & 0x3f;
  for (let i = 6; i >= 0; i--) {
    admitted = admitted * 256 + bytes[i]!;
  }
  return { admitted, isNoticeSent: (bytes[7]! & 0x40) !== 0 };
}

function notice(key: Uint8Array, day: number, time: number): Event {
  const value = {
    day: nameOf(day),
    key: textOf(key).text,
    limit: config.limit,
    opens_at: `${nameOf(day + 1)}T00:00:00Z`,
    topic: context.topic(),
  };
  return { key, value: bytesOf(JSON.stringify(value)), headers: [], timestamp: time };
}

function reject(code: string, message: string, retryAfterMs?: number): Verdict {
  return { tag: 'reject', val: { code, message, retryAfterMs } };
}
