// Bytes to text and back: QuickJS has neither TextDecoder nor TextEncoder.

// What a call takes as arguments without trouble for the stack.
const PIECE_BYTES = 1024;

// What is no UTF-8 becomes U+FFFD, one for each longest beginning of a character, as in browsers;
// `isWhole` says whether there was none of that.
export function textOf(bytes) {
  // The engine's own loops are a hundred times as fast as ours, and most text is ASCII.
  let text = '';
  for (let i = 0; i < bytes.length; i += PIECE_BYTES) {
    text += String.fromCharCode(...bytes.subarray(i, i + PIECE_BYTES));
  }
  if (!/[^\u0000-\u007f]/.test(text)) {
    return { text, isWhole: true };
  }
  const codes = [];
  let isWhole = true;
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i++];
    if (first < 0x80) {
      codes.push(first);
      continue;
    }
    // How many bytes follow, and between what the next one lies.
    let more = 0;
    let low = 0x80;
    let high = 0xbf;
    let code = 0;
    if (first >= 0xc2 && first <= 0xdf) {
      more = 1;
      code = first & 0x1f;
    } else if (first >= 0xe0 && first <= 0xef) {
      more = 2;
      code = first & 0x0f;
      low = first === 0xe0 ? 0xa0 : low; // shorter forms are none
      high = first === 0xed ? 0x9f : high; // nor are surrogates
    } else if (first >= 0xf0 && first <= 0xf4) {
      more = 3;
      code = first & 0x07;
      low = first === 0xf0 ? 0x90 : low;
      high = first === 0xf4 ? 0x8f : high; // the last character is U+10FFFF
    }
    let isCharacter = more > 0;
    for (; more > 0; more--) {
      if (!(i < bytes.length && low <= bytes[i] && bytes[i] <= high)) {
        isCharacter = false;
        break;
      }
      code = (code << 6) | (bytes[i++] & 0x3f);
      low = 0x80;
      high = 0xbf;
    }
    codes.push(isCharacter ? code : 0xfffd);
    isWhole = isWhole && isCharacter;
  }
  text = '';
  for (let i = 0; i < codes.length; i += PIECE_BYTES) {
    text += String.fromCodePoint(...codes.slice(i, i + PIECE_BYTES));
  }
  return { text, isWhole };
}

// The text must have no lone surrogates: what comes out of textOf and JSON has none.
export function bytesOf(text) {
  const bytes = new Uint8Array(3 * text.length); // what a UTF-16 unit takes at most
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code < 0x80) {
      bytes[at++] = code;
      continue;
    }
    if (code < 0x800) {
      bytes[at++] = 0xc0 | (code >> 6);
    } else {
      if (0xd800 <= code && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + text.charCodeAt(++i) - 0xdc00;
        bytes[at++] = 0xf0 | (code >> 18);
        bytes[at++] = 0x80 | ((code >> 12) & 0x3f);
      } else {
        bytes[at++] = 0xe0 | (code >> 12);
      }
      bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
    }
    bytes[at++] = 0x80 | (code & 0x3f);
  }
  return bytes.slice(0, at);
}
