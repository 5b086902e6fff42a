// What an event is about: found where the configuration says, named in the state and to people.

import { Numeral, read } from './json.js';
import { sha256 } from './sha256.js';
import { bytesOf, textOf } from './utf8.js';

// Longer keys are refused, so that a publisher's key can never make a notice that does not fit.
const KEY_BYTES_MAX = 4096;

// Keys up to here stand in the state as they are; longer ones as their SHA-256. It must be a
// cryptographic one: publishers choose keys, and two with one hash would share a limit.
const PLAIN_BYTES_MAX = 128;

// What of a key a message shows: a message takes 512 bytes.
const SHORT_CHARS = 48;

// The key as { bytes }, or { missing }: what was looked for and not found.
export function keyOf(event, pointer) {
  const key = pointer === undefined ? ownKey(event) : keyAt(pointer, event.value);
  if (key.bytes !== undefined && KEY_BYTES_MAX < key.bytes.length) {
    return {
      missing: `The key is ${key.bytes.length} bytes long; keys of up to ${KEY_BYTES_MAX} bytes are counted`,
    };
  }
  return key;
}

function ownKey(event) {
  return event.key == null
    ? { missing: 'The event has no key; publish it with the key that its daily limit is counted by' }
    : { bytes: event.key };
}

function keyAt(pointer, value) {
  const notJson = { missing: `The value is not JSON, so ${pointer} was not looked for` };
  const { text, isWhole } = textOf(value);
  if (!isWhole) {
    return notJson;
  }
  let found;
  try {
    found = follow(pointer, read(text));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return notJson;
  }
  if (typeof found === 'string') return { bytes: bytesOf(found) };
  if (found instanceof Numeral) return { bytes: bytesOf(found.text) };
  if (typeof found === 'boolean') return { bytes: bytesOf(String(found)) };
  if (found === undefined || found === null) {
    const what = found === null ? 'null' : 'nothing';
    return { missing: `There is ${what} at ${pointer}; a daily limit is counted by it` };
  }
  return { missing: `What is at ${pointer} must be a string, a number or a bool to be counted by` };
}

// RFC 6901.
function follow(pointer, json) {
  let target = json;
  for (const token of pointer.split('/').slice(1)) {
    const name = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (target instanceof Map) {
      target = target.get(name);
    } else if (Array.isArray(target)) {
      target = /^(?:0|[1-9][0-9]*)$/.test(name) ? target[name] : undefined;
    } else {
      return undefined;
    }
  }
  return target;
}

// One line of text for a message, cut where it is long.
export function shortOf(key) {
  // A character has four bytes at most: behind the last one shown nothing is looked at.
  const { text } = textOf(key.subarray(0, 4 * (SHORT_CHARS + 1)));
  const characters = [...text].map((c) => (isControl(c) ? '\ufffd' : c));
  const short = characters.slice(0, SHORT_CHARS).join('');
  return SHORT_CHARS < characters.length ? `${short}…` : short;
}

function isControl(c) {
  return c < ' ' || ('\u007f' <= c && c <= '\u009f');
}

// The state key for a day.
//
//   | form u8: 'k' plain, 'h' hashed | day u64 BE | the key, or its SHA-256 ... |
export function cellOf(key, day) {
  const isPlain = key.length <= PLAIN_BYTES_MAX;
  const name = isPlain ? key : sha256(key);
  const cell = new Uint8Array(9 + name.length);
  cell[0] = (isPlain ? 'k' : 'h').charCodeAt(0);
  const view = new DataView(cell.buffer);
  view.setUint32(1, Math.floor(day / 2 ** 32));
  view.setUint32(5, day % 2 ** 32);
  cell.set(name, 9);
  return cell;
}
