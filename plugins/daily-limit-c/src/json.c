#include "json.h"

#include <string.h>

#include "text.h"

// Deeper than this nothing is read, so that no publisher can exhaust the stack.
#define DEPTH_MAX 127

// What of a text is not read yet. A failure leaves it anywhere.
struct rest {
    const uint8_t *ptr, *end;
};

static void skip_spaces(struct rest *rest) {
    while (rest->ptr < rest->end && strchr(" \t\n\r", *rest->ptr) != NULL && *rest->ptr != 0) rest->ptr++;
}

// Whether this byte stands here, and then goes past it.
static bool take(struct rest *rest, char byte) {
    const bool stands = rest->ptr < rest->end && *rest->ptr == (uint8_t)byte;
    rest->ptr += stands;
    return stands;
}

static bool take_word(struct rest *rest, const char *word) {
    const size_t len = strlen(word);
    const bool stands = len <= (size_t)(rest->end - rest->ptr) && memcmp(rest->ptr, word, len) == 0;
    if (stands) rest->ptr += len;
    return stands;
}

static bool take_digits(struct rest *rest) {
    const uint8_t *start = rest->ptr;
    while (rest->ptr < rest->end && '0' <= *rest->ptr && *rest->ptr <= '9') rest->ptr++;
    return start < rest->ptr;
}

static bool take_number(struct rest *rest) {
    take(rest, '-');
    if (!take(rest, '0') && !take_digits(rest)) return false;
    if (take(rest, '.') && !take_digits(rest)) return false;
    if (take(rest, 'e') || take(rest, 'E')) {
        if (!take(rest, '+')) take(rest, '-');
        return take_digits(rest);
    }
    return true;
}

// Four hex digits; -1 if they are none.
static int32_t take_unit(struct rest *rest) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        const uint8_t c = rest->ptr < rest->end ? *rest->ptr++ : 0;
        const int digit = '0' <= c && c <= '9'   ? c - '0'
                          : 'a' <= c && c <= 'f' ? c - 'a' + 10
                          : 'A' <= c && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

// What stands behind a backslash as UTF-8, up to 4 bytes; 0 bytes if it is no escape. Half of a pair
// of surrogates is none.
static size_t take_escape(struct rest *rest, uint8_t out[4]) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (!take(rest, 'u')) {
        const char *name = rest->ptr < rest->end && *rest->ptr != 0 ? strchr(names, *rest->ptr) : NULL;
        if (name == NULL) return 0;
        rest->ptr++;
        out[0] = (uint8_t)bytes[name - names];
        return 1;
    }
    int32_t code = take_unit(rest);
    if (0xd800 <= code && code <= 0xdfff) {
        const int32_t low = code < 0xdc00 && take_word(rest, "\\u") ? take_unit(rest) : -1;
        code = 0xdc00 <= low && low <= 0xdfff ? 0x10000 + ((code - 0xd800) << 10) + low - 0xdc00 : -1;
    }
    if (code < 0) return 0;
    if (code < 0x80) return out[0] = (uint8_t)code, 1;
    const size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)(marks[len] | code);
    return len;
}

// Behind its first quote.
static bool take_string(struct rest *rest) {
    while (rest->ptr < rest->end) {
        uint8_t out[4];
        size_t bad;
        if (take(rest, '"')) return true;
        if (take(rest, '\\')) {
            if (take_escape(rest, out) == 0) return false;
            continue;
        }
        const size_t n = utf8_next(rest->ptr, (size_t)(rest->end - rest->ptr), &bad);
        if (n == 0 || *rest->ptr < 0x20) return false;
        rest->ptr += n;
    }
    return false;
}

static bool take_value(struct rest *rest, struct json *value, int depth);

static bool take_members(struct rest *rest, int depth, bool is_object) {
    const char close = is_object ? '}' : ']';
    struct json ignored;
    if (DEPTH_MAX < depth) return false;
    skip_spaces(rest);
    if (take(rest, close)) return true;
    do {
        if (is_object) {
            skip_spaces(rest);
            if (!take(rest, '"') || !take_string(rest)) return false;
            skip_spaces(rest);
            if (!take(rest, ':')) return false;
        }
        if (!take_value(rest, &ignored, depth)) return false;
        skip_spaces(rest);
    } while (take(rest, ','));
    return take(rest, close);
}

static bool take_value(struct rest *rest, struct json *value, int depth) {
    skip_spaces(rest);
    value->ptr = rest->ptr;
    bool is_fine = true;
    if (take(rest, '{')) {
        value->kind = JSON_OBJECT;
        is_fine = take_members(rest, depth + 1, true);
    } else if (take(rest, '[')) {
        value->kind = JSON_ARRAY;
        is_fine = take_members(rest, depth + 1, false);
    } else if (take(rest, '"')) {
        value->kind = JSON_STRING;
        is_fine = take_string(rest);
    } else if (take_word(rest, "true") || take_word(rest, "false")) {
        value->kind = JSON_BOOL;
    } else if (take_word(rest, "null")) {
        value->kind = JSON_NULL;
    } else {
        value->kind = JSON_NUMBER;
        is_fine = take_number(rest);
    }
    value->len = (size_t)(rest->ptr - value->ptr);
    return is_fine;
}

bool json_read(struct json *value, const uint8_t *text, size_t len) {
    struct rest rest = {text, text + len};
    if (!take_value(&rest, value, 0)) return false;
    skip_spaces(&rest);
    return rest.ptr == rest.end;
}

bool json_member(struct json object, size_t *at, struct json *name, struct json *value) {
    struct rest rest = {object.ptr + (*at == 0 ? 1 : *at), object.ptr + object.len};
    skip_spaces(&rest);
    if (take(&rest, '}')) return false;
    take(&rest, ',');
    take_value(&rest, name, 0);
    skip_spaces(&rest);
    take(&rest, ':');
    take_value(&rest, value, 0);
    skip_spaces(&rest);
    *at = (size_t)(rest.ptr - object.ptr);
    return true;
}

// Whether a name, with its escapes, is what a pointer's token, with its own, says.
static bool is_called(struct json name, const char *token, size_t len) {
    struct rest rest = {name.ptr + 1, name.ptr + name.len - 1};
    size_t at = 0;
    while (rest.ptr < rest.end) {
        uint8_t out[4] = {*rest.ptr};
        size_t n = 1;
        if (take(&rest, '\\')) {
            n = take_escape(&rest, out);
        } else {
            rest.ptr++;
        }
        for (size_t i = 0; i < n; i++) {
            if (at == len) return false;
            uint8_t wanted = (uint8_t)token[at++];
            if (wanted == '~' && at < len) wanted = token[at++] == '1' ? '/' : '~';
            if (wanted != out[i]) return false;
        }
    }
    return at == len;
}

static struct json element(struct json array, const char *token, size_t len) {
    const struct json nothing = {JSON_NOTHING, NULL, 0};
    uint64_t index = 0;
    if (len == 0 || 10 < len || (token[0] == '0' && len != 1)) return nothing;
    for (size_t i = 0; i < len; i++) {
        if (token[i] < '0' || '9' < token[i]) return nothing;
        index = 10 * index + (uint64_t)(token[i] - '0');
    }
    struct rest rest = {array.ptr + 1, array.ptr + array.len};
    for (struct json value;; index--) {
        skip_spaces(&rest);
        if (take(&rest, ']')) return nothing;
        take(&rest, ',');
        take_value(&rest, &value, 0);
        if (index == 0) return value;
    }
}

// The last of a name counts.
static struct json member(struct json object, const char *token, size_t len) {
    struct json found = {JSON_NOTHING, NULL, 0}, name, value;
    for (size_t at = 0; json_member(object, &at, &name, &value);) {
        if (is_called(name, token, len)) found = value;
    }
    return found;
}

struct json json_at(struct json value, const char *pointer, size_t len) {
    while (len > 0) {
        pointer++, len--; // the slash
        const char *end = memchr(pointer, '/', len);
        const size_t token = end == NULL ? len : (size_t)(end - pointer);
        if (value.kind == JSON_OBJECT) {
            value = member(value, pointer, token);
        } else if (value.kind == JSON_ARRAY) {
            value = element(value, pointer, token);
        } else {
            return (struct json){JSON_NOTHING, NULL, 0};
        }
        pointer += token, len -= token;
    }
    return value;
}

size_t json_text(struct json value, uint8_t *out, size_t room) {
    const bool is_string = value.kind == JSON_STRING;
    struct rest rest = {value.ptr + is_string, value.ptr + value.len - is_string};
    size_t len = 0;
    while (rest.ptr < rest.end) {
        uint8_t bytes[4] = {*rest.ptr};
        size_t n = 1;
        if (is_string && take(&rest, '\\')) {
            n = take_escape(&rest, bytes);
        } else if (value.kind == JSON_NUMBER && (take(&rest, 'e') || take(&rest, 'E'))) {
            bytes[0] = 'e', bytes[1] = '+';
            n = *rest.ptr == '+' || *rest.ptr == '-' ? 1 : 2;
        } else {
            rest.ptr++;
        }
        for (size_t i = 0; i < n; i++, len++) {
            if (len < room) out[len] = bytes[i];
        }
    }
    return len;
}
