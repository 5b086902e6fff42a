#include "text.h"

#include <stdbool.h>
#include <string.h>

// What of a key a message shows: a message takes 512 bytes.
#define SHORT_CHARS 48

#define REPLACEMENT "\xef\xbf\xbd"

struct text text_in(char *room, size_t bytes) { return (struct text){room, 0, bytes}; }

void text_add_bytes(struct text *text, const void *bytes, size_t len) {
    const size_t rest = text->room - text->len;
    if (rest < len) len = rest;
    memcpy(text->ptr + text->len, bytes, len);
    text->len += len;
}

void text_add(struct text *text, const char *words) { text_add_bytes(text, words, strlen(words)); }

void text_add_number(struct text *text, uint64_t number, int digits) {
    char reversed[20];
    int n = 0;
    do reversed[n++] = '0' + number % 10;
    while ((number /= 10) != 0);
    while (n < digits) reversed[n++] = '0';
    while (n > 0) text_add_bytes(text, &reversed[--n], 1);
}

size_t utf8_next(const uint8_t *bytes, size_t len, size_t *bad) {
    const uint8_t first = bytes[0];
    *bad = 1;
    if (first < 0x80) return 1;
    // Shorter forms are none, nor are surrogates, and the last character is U+10FFFF.
    const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    size_t more = 0xc2 <= first && first <= 0xdf   ? 1
                  : 0xe0 <= first && first <= 0xef ? 2
                  : 0xf0 <= first && first <= 0xf4 ? 3
                                                   : 0;
    if (more == 0) return 0;
    for (size_t i = 1; i <= more; i++) {
        const bool is_first = i == 1;
        if (len <= i || bytes[i] < (is_first ? low : 0x80) || (is_first ? high : 0xbf) < bytes[i]) {
            *bad = i;
            return 0;
        }
    }
    return more + 1;
}

void text_add_json(struct text *text, const uint8_t *bytes, size_t len) {
    static const char hex[] = "0123456789abcdef";
    text_add(text, "\"");
    for (size_t i = 0, bad; i < len;) {
        const size_t n = utf8_next(bytes + i, len - i, &bad);
        const uint8_t c = bytes[i];
        const char *named = c == '"'    ? "\\\""
                            : c == '\\' ? "\\\\"
                            : c == '\b' ? "\\b"
                            : c == '\f' ? "\\f"
                            : c == '\n' ? "\\n"
                            : c == '\r' ? "\\r"
                            : c == '\t' ? "\\t"
                                        : NULL;
        if (n == 0) {
            text_add(text, REPLACEMENT);
        } else if (named != NULL) {
            text_add(text, named);
        } else if (c < 0x20) {
            text_add(text, "\\u00");
            text_add_bytes(text, &hex[c >> 4], 1);
            text_add_bytes(text, &hex[c & 15], 1);
        } else {
            text_add_bytes(text, bytes + i, n);
        }
        i += n == 0 ? bad : n;
    }
    text_add(text, "\"");
}

void text_add_short(struct text *text, const uint8_t *bytes, size_t len) {
    size_t i = 0, bad;
    for (int shown = 0; i < len; shown++) {
        if (shown == SHORT_CHARS) {
            text_add(text, "…");
            return;
        }
        const size_t n = utf8_next(bytes + i, len - i, &bad);
        const bool is_c0 = n == 1 && (bytes[i] < 0x20 || bytes[i] == 0x7f);
        const bool is_c1 = n == 2 && bytes[i] == 0xc2 && bytes[i + 1] < 0xa0;
        if (n == 0 || is_c0 || is_c1) {
            text_add(text, REPLACEMENT);
        } else {
            text_add_bytes(text, bytes + i, n);
        }
        i += n == 0 ? bad : n;
    }
}
