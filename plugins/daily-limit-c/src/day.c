#include "day.h"

uint64_t day_end(uint64_t day) {
    return day < UINT64_MAX / DAY_MS ? (day + 1) * DAY_MS : UINT64_MAX;
}

// After Howard Hinnant's civil_from_days: the year is taken to begin in March, so that the leap day
// is its last and months follow one formula.
void day_name(struct text *text, uint64_t day) {
    const uint64_t days = day + 719468;                                // from 0000-03-01
    const uint64_t era = days / 146097, of_era = days % 146097;        // 400 years each
    const uint64_t year_of_era =
        (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const uint64_t from_march = (5 * of_year + 2) / 153;
    const uint64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
    text_add_number(text, era * 400 + year_of_era + (month <= 2), 4);
    text_add(text, "-");
    text_add_number(text, month, 2);
    text_add(text, "-");
    text_add_number(text, of_year - (153 * from_march + 2) / 5 + 1, 2);
}
