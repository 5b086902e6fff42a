// What weir offers to a rule, as TypeScript sees it: wit/plugin.wit, by hand.
//
// QuickJS has numbers of 53 bits: times are exact up to the year 287,396, counters up to 2^53.

declare module 'weir:plugin/types' {
  export interface Header {
    name: string;
    value: Uint8Array;
  }

  export interface Event {
    /** What the event is about; events with one key are judged in order, in one partition. */
    key: Uint8Array | null;
    /** The payload. */
    value: Uint8Array;
    headers: Header[];
    /** The producer's own clock, in milliseconds since 1970-01-01T00:00:00Z. */
    timestamp: number;
  }

  /** A "no" for the publisher. */
  export interface Rejection {
    /** Stable, for programs; at most 64 bytes. */
    code: string;
    /** One sentence for people that says why and what to do; at most 512 bytes. */
    message: string;
    /** When trying again can help, in milliseconds from now. */
    retryAfterMs?: number | null;
  }

  export type Verdict =
    | { tag: 'accept' }
    | { tag: 'replace'; val: Event }
    | { tag: 'drop' }
    | { tag: 'reject'; val: Rejection };
}

declare module 'weir:plugin/context' {
  /** The broker's clock in milliseconds: never falls, and is one value for all events of a batch. */
  export function now(): number;
  export function topic(): string;
  export function partition(): number;
  /** Who published: the principal, not a name the client chose. */
  export function publisher(): string;
}

declare module 'weir:plugin/state' {
  export function get(key: Uint8Array): Uint8Array | null;
  /** Keys take up to 256 bytes, values up to 64 KiB. `ttlMs` counts from now; null: for ever. */
  export function set(key: Uint8Array, value: Uint8Array, ttlMs: number | null): void;
  function remove(key: Uint8Array): void;
  export { remove as delete };
  /** Adds to a counter and gives its new value; a missing or expired one starts at 0. */
  export function increment(key: Uint8Array, by: number, ttlMs: number | null): number;
  /**
   * Adds to a counter and gives its new value, unless that would be over `most`: then nothing
   * changes, and what is thrown is the value that it has, a number.
   */
  export function incrementUpTo(key: Uint8Array, by: number, most: number, ttlMs: number | null): number;
}

declare module 'weir:plugin/outbox' {
  import type { Event } from 'weir:plugin/types';
  /** Sends an event to another topic that the binding names, if this one's effects stand. */
  export function emit(topic: string, event: Event): void;
}

declare module 'weir:plugin/log' {
  export type Level = 'debug' | 'info' | 'warn' | 'error';
  export function write(level: Level, message: string): void;
}
