// UTC days, counted from 1970-01-01.
#pragma once

#include <stdint.h>

#include "text.h"

#define DAY_MS UINT64_C(86400000)

// The first millisecond of the next day (the last one that a uint64_t can say ends the last day).
uint64_t day_end(uint64_t day);

// Adds the day as 2013-01-01.
void day_name(struct text *text, uint64_t day);
