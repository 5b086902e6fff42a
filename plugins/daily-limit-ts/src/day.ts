// UTC days, counted from 1970-01-01: from a time in milliseconds to a day, its end and its name.

export const DAY_MS = 24 * 60 * 60 * 1000;

// The last millisecond that the contract can say.
const TIME_MAX = 2 ** 64;

// By the remainder, which is exact: a quotient of large numbers may be rounded up into tomorrow.
export function dayOf(time: number): number {
  return (time - (time % DAY_MS)) / DAY_MS;
}

// The first millisecond of the next day.
export function endOf(day: number): number {
  return Math.min((day + 1) * DAY_MS, TIME_MAX);
}

// As 2013-01-01. After Howard Hinnant's civil_from_days: the year is taken to begin in March, so
// that the leap day is its last. (Date ends in the year 275760; timestamps need not.)
export function nameOf(day: number): string {
  const days = day + 719468; // from 0000-03-01
  const era = Math.floor(days / 146097); // 400 years, after which the calendar repeats
  const ofEra = days % 146097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36524) - Math.floor(ofEra / 146096)) / 365,
  );
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const fromMarch = Math.floor((5 * ofYear + 2) / 153);
  const dayOfMonth = ofYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0);
  return [pad(year, 4), pad(month, 2), pad(dayOfMonth, 2)].join('-');
}

function pad(number: number, digits: number): string {
  return String(number).padStart(digits, '0');
}
