// SHA-256 (FIPS 180-4): QuickJS has no crypto.

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
const K: number[] = [];
// And of the square roots of the first 8.
const H: number[] = [];

// Exactly, with integers: a float's root has too few bits.
function fractionOfRoot(prime: number, degree: number): number {
  const scaled = BigInt(prime) << BigInt(32 * degree);
  let root = 0n;
  for (let bit = 1n << 37n; bit > 0n; bit >>= 1n) {
    const tried = root | bit;
    if (tried ** BigInt(degree) <= scaled) root = tried;
  }
  return Number(root & 0xffffffffn);
}

for (let n = 2; K.length < 64; n++) {
  let isPrime = true;
  for (let d = 2; d * d <= n; d++) isPrime = isPrime && n % d !== 0;
  if (!isPrime) continue;
  if (H.length < 8) H.push(fractionOfRoot(n, 2));
  K.push(fractionOfRoot(n, 3));
}

type Eight = [number, number, number, number, number, number, number, number];

export function sha256(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, bytes.length * 8);
  const hash = Int32Array.from(H);
  const w = new Int32Array(64);
  const k = K; // a local is nearer
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15]!;
      const y = w[i - 2]!;
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = w[i - 16]! + s0 + w[i - 7]! + s1;
    }
    let [a, b, c, d, e, f, g, h] = [...hash] as Eight;
    // Rotations are written out: in an interpreter a call costs more than all of them.
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + s1 + ((e & f) ^ (~e & g)) + k[i]! + w[i]!) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      // One after another: an array for each round would cost ten times as much.
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (hash[i]! += word));
  }
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  hash.forEach((word, i) => out.setInt32(4 * i, word));
  return digest;
}
