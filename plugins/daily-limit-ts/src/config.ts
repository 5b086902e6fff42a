// The binding's configuration, checked whole before the first event.

import { type Json, Numeral, read } from './json';
import { bytesOf } from './utf8';

// More than this many events of one key a day is no limit that anyone counts by.
const LIMIT_MAX = 1_000_000_000_000;

// A pointer is shown in refusals, which take 512 bytes.
const POINTER_BYTES_MAX = 256;

const KNOWN = ['limit', 'key', 'time', 'notice'];

export interface Config {
  limit: number;
  /** Undefined: the event's own key. */
  pointer: string | undefined;
  byEventTime: boolean;
  notice: string | undefined;
}

// Throws one sentence that says what to write.
export function configOf(json: string): Config {
  const fields = fieldsOf(json);
  const unknown = [...fields.keys()].filter((name) => !KNOWN.includes(name)).sort(byBytes);
  if (unknown.length > 0) {
    throw new Error(`there is no field "${unknown[0]}"; write "limit", "key", "time" or "notice"`);
  }
  return {
    limit: limitOf(fields.get('limit')),
    pointer: pointerOf(fields.get('key')),
    byEventTime: byEventTime(fields.get('time')),
    notice: noticeOf(fields.get('notice')),
  };
}

function fieldsOf(json: string): Map<string, Json> {
  let fields: Json;
  try {
    fields = read(json);
  } catch (error) {
    throw new Error(`the config is not JSON (${(error as Error).message}); write at least {"limit":10}`);
  }
  if (!(fields instanceof Map)) {
    throw new Error('write the config as a JSON object, at least {"limit":10}');
  }
  return fields;
}

function limitOf(field: Json | undefined): number {
  if (field === undefined) {
    throw new Error('"limit" is missing; write the events per key and day, as in {"limit":10}');
  }
  const limit = field instanceof Numeral && /^[0-9]+$/.test(field.text) ? Number(field.text) : 0;
  if (limit < 1 || LIMIT_MAX < limit) {
    throw new Error(`"limit" must be a whole number from 1 to ${LIMIT_MAX}, as in {"limit":10}`);
  }
  return limit;
}

function pointerOf(field: Json | undefined): string | undefined {
  if (field === undefined || field === 'event') {
    return undefined;
  }
  // RFC 6901: every ~ is followed by 0 or 1.
  if (typeof field === 'string' && /^\/(?:[^~]|~[01])*$/u.test(field) && bytesOf(field).length <= POINTER_BYTES_MAX) {
    return field;
  }
  throw new Error(
    `"key" must be "event" or a JSON pointer of up to ${POINTER_BYTES_MAX} bytes that begins with ` +
    '"/", as "/user/id" (with ~0 for ~ and ~1 for / in a name)'
  );
}

function byEventTime(field: Json | undefined): boolean {
  if (field === undefined || field === 'broker' || field === 'event') {
    return field === 'event';
  }
  throw new Error('"time" must be "broker" (when the broker took the event) or "event" (its own timestamp)');
}

function noticeOf(field: Json | undefined): string | undefined {
  if (field === undefined || (typeof field === 'string' && field !== '')) {
    return field;
  }
  throw new Error('"notice" must be the name of a topic, as "notices"; leave it out for none');
}

// The order of UTF-8, in which every language names the same first one.
function byBytes(a: string, b: string): number {
  const [left, right] = [bytesOf(a), bytesOf(b)];
  const at = left.findIndex((byte, i) => byte !== right[i]);
  return at < 0 ? left.length - right.length : left[at]! - (right[at] ?? -1);
}
