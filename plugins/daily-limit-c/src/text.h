// Text that is put together in a buffer of a known size; what does not fit is cut off.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct text {
    char *ptr;
    size_t len, room;
};

struct text text_in(char *room, size_t bytes);
void text_add(struct text *text, const char *words);
void text_add_bytes(struct text *text, const void *bytes, size_t len);
// In decimal, with zeros in front up to `digits`.
void text_add_number(struct text *text, uint64_t number, int digits);
// As a string of JSON; what is no UTF-8 becomes U+FFFD.
void text_add_json(struct text *text, const uint8_t *bytes, size_t len);
// One line of up to 48 characters for a message; what is no UTF-8 or a control character becomes
// U+FFFD.
void text_add_short(struct text *text, const uint8_t *bytes, size_t len);

// Bytes of the character that begins here; 0 where there is none, and then `bad` is the length of
// what U+FFFD stands for: the longest beginning of a character, as in browsers.
size_t utf8_next(const uint8_t *bytes, size_t len, size_t *bad);
