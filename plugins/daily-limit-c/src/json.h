// Reads JSON without building it: one pass that checks all of it and hands out what is asked for.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind { JSON_NOTHING, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

// A value where it stands in the text: a string with its quotes and escapes.
struct json {
    enum json_kind kind;
    const uint8_t *ptr;
    size_t len;
};

// Whether the text is JSON, and what it is.
bool json_read(struct json *value, const uint8_t *text, size_t len);

// What an RFC 6901 pointer finds in a value that was read; JSON_NOTHING if nothing.
struct json json_at(struct json value, const char *pointer, size_t len);

// Walks the members of an object that was read, from `*at` = 0; false at its end. Names may repeat.
bool json_member(struct json object, size_t *at, struct json *name, struct json *value);

// The text of a string without quotes and escapes, or of a number with its exponent as e+5 or e-5,
// or of a bool. Gives its length and writes as much as there is room for.
size_t json_text(struct json value, uint8_t *out, size_t room);
