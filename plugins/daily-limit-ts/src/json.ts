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
const ESCAPES: Record<string, string> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

export type Json = null | boolean | string | Numeral | Json[] | Map<string, Json>;

// A number as it was written, with its exponent as e+5 or e-5.
export class Numeral {
  readonly text: string;

  constructor(written: string) {
    this.text = written.replace(/[eE]\+?(?=[0-9])/, 'e+').replace('E', 'e');
  }
}

// Throws a SyntaxError where the text is no JSON.
export function read(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.take(SPACES);
  if (reader.at < text.length) {
    reader.fail('trailing characters');
  }
  return value;
}

class Reader {
  at = 0;

  constructor(readonly text: string) {}

  fail(why: string): never {
    throw new SyntaxError(`${why} at character ${this.at}`);
  }

  // What of the text the pattern takes here; undefined if nothing.
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }

  // Whether this stands here, behind spaces.
  has(word: string): boolean {
    this.take(SPACES);
    const stands = this.text.startsWith(word, this.at);
    this.at += stands ? word.length : 0;
    return stands;
  }

  expect(word: string): void {
    if (!this.has(word)) this.fail(`expected ${word}`);
  }

  value(depth: number): Json {
    if (this.has('{')) return this.object(depth + 1);
    if (this.has('[')) return this.array(depth + 1);
    if (this.has('"')) return this.string();
    if (this.has('true')) return true;
    if (this.has('false')) return false;
    if (this.has('null')) return null;
    const written = this.take(NUMERAL);
    return written === undefined ? this.fail('expected a value') : new Numeral(written);
  }

  object(depth: number): Map<string, Json> {
    this.check(depth);
    const members = new Map<string, Json>();
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

  array(depth: number): Json[] {
    this.check(depth);
    const elements: Json[] = [];
    if (this.has(']')) return elements;
    do {
      elements.push(this.value(depth));
    } while (this.has(','));
    this.expect(']');
    return elements;
  }

  check(depth: number): void {
    if (DEPTH_MAX < depth) this.fail('nested too deep');
  }

  string(): string {
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
      const escape = this.text[this.at++] ?? '';
      text += escape === 'u' ? this.unit() : (ESCAPES[escape] ?? this.fail('no such escape'));
    }
  }

  // A character by its UTF-16 units: one, or a pair of surrogates, never half of a pair.
  unit(): string {
    const high = this.hex();
    if (high < 0xd800 || 0xdfff < high) {
      return String.fromCharCode(high);
    }
    const low = high < 0xdc00 && this.text.startsWith('\\u', this.at) ? ((this.at += 2), this.hex()) : 0;
    return 0xdc00 <= low && low <= 0xdfff
      ? String.fromCharCode(high, low)
      : this.fail('half of a surrogate pair');
  }

  hex(): number {
    return Number.parseInt(this.take(HEX) ?? this.fail('expected four hex digits'), 16);
  }
}
