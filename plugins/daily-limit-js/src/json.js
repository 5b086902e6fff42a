// Reads JSON as the other daily-limits do. JSON.parse forgets how a number was written (1.0 and 1,
// or a 20-digit id), and a limit is counted by what was written.
//
// Objects become Maps, numbers become Numerals, the rest what it is in JavaScript.

// Deeper than this nothing is read, so that no publisher can exhaust the stack.
const DEPTH_MAX = 127;

const SPACES = /[ \t\n\r]*/y;
const NUMERAL = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const HEX = /[0-9a-fA-F]{4}/y;
const ESCAPES = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

// A number as it was written, with its exponent as e+5 or e-5.
export class Numeral {
  constructor(written) {
    this.text = written.replace(/[eE]\+?(?=[0-9])/, 'e+').replace('E', 'e');
  }
}

// Throws a SyntaxError where the text is no JSON.
export function read(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.take(SPACES);
  if (reader.at < text.length) {
    reader.fail('trailing characters');
  }
  return value;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(why) {
    throw new SyntaxError(`${why} at character ${this.at}`);
  }

  // What of the text the pattern takes here; undefined if nothing.
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }

  // Whether this stands here, behind spaces.
  has(word) {
    this.take(SPACES);
    const stands = this.text.startsWith(word, this.at);
    this.at += stands ? word.length : 0;
    return stands;
  }

  expect(word) {
    return this.has(word) || this.fail(`expected ${word}`);
  }

  value(depth) {
    if (this.has('{')) return this.object(depth + 1);
    if (this.has('[')) return this.array(depth + 1);
    if (this.has('"')) return this.string();
    if (this.has('true')) return true;
    if (this.has('false')) return false;
    if (this.has('null')) return null;
    const written = this.take(NUMERAL);
    return written === undefined ? this.fail('expected a value') : new Numeral(written);
  }

  object(depth) {
    this.check(depth);
    const members = new Map();
    if (this.has('}')) return members;
    do {
      this.expect('"');
      const name = this.string();
      this.expect(':');
      members.set(name, this.value(depth));
    } while (this.has(','));
    this.expect('}');
    return members;
  }

  array(depth) {
    this.check(depth);
    const elements = [];
    if (this.has(']')) return elements;
    do {
      elements.push(this.value(depth));
    } while (this.has(','));
    this.expect(']');
    return elements;
  }

  check(depth) {
    if (DEPTH_MAX < depth) this.fail('nested too deep');
  }

  string() {
    let text = '';
    for (;;) {
      text += this.take(PLAIN);
      const end = this.text[this.at++];
      if (end === '"') {
        return text;
      }
      if (end !== '\\') {
        this.fail('expected the end of a string');
      }
      const escape = this.text[this.at++];
      text += escape === 'u' ? this.unit() : (ESCAPES[escape] ?? this.fail('no such escape'));
    }
  }

  // A character by its UTF-16 units: one, or a pair of surrogates, never half of a pair.
  unit() {
    const high = this.hex();
    if (high < 0xd800 || 0xdfff < high) {
      return String.fromCharCode(high);
    }
    const low = high < 0xdc00 && this.text.startsWith('\\u', this.at) ? ((this.at += 2), this.hex()) : 0;
    return 0xdc00 <= low && low <= 0xdfff
      ? String.fromCharCode(high, low)
      : this.fail('half of a surrogate pair');
  }

  hex() {
    return Number.parseInt(this.take(HEX) ?? this.fail('expected four hex digits'), 16);
  }
}
