// The binding's configuration, checked whole before the first event.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

// A pointer is shown in refusals, which take 512 bytes.
#define POINTER_BYTES_MAX 256

// A topic has fewer; one that is longer is refused by the broker.
#define NOTICE_NAME_BYTES_MAX 1024

struct config {
    // Events admitted per key and day: at least 1, far below the flag in bit 62 of a counter.
    uint64_t limit;
    // None (0 bytes): the event's own key.
    char pointer[POINTER_BYTES_MAX];
    size_t pointer_len;
    bool by_event_time;
    // None (0 bytes): no notices.
    char notice[NOTICE_NAME_BYTES_MAX];
    size_t notice_len;
};

// False puts one sentence into `error` that says what to write.
bool config_read(struct config *config, const uint8_t *json, size_t len, struct text *error);
