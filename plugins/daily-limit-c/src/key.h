// What an event is about: found where the configuration says, named in the state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "filter.h"
#include "text.h"

// Longer keys are refused, so that a publisher's key can never make a notice that does not fit.
#define KEY_BYTES_MAX 4096

// Keys up to here stand in the state as they are; longer ones as their SHA-256. It must be a
// cryptographic one: publishers choose keys, and two with one hash would share a limit.
#define PLAIN_BYTES_MAX 128

#define CELL_BYTES_MAX (9 + PLAIN_BYTES_MAX)

struct key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len;
};

// False puts what was looked for and not found into `missing`.
bool key_of(struct key *key, const filter_event_t *event, const struct config *config, struct text *missing);

// Writes the state key for a day and gives its length.
//
//   | form u8: 'k' plain, 'h' hashed | day u64 BE | the key, or its SHA-256 ... |
size_t key_cell(const struct key *key, uint64_t day, uint8_t cell[CELL_BYTES_MAX]);
