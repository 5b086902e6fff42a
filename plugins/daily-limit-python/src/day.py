"""UTC days, counted from 1970-01-01: from a time in milliseconds to a day, its end and its name."""

DAY_MS = 24 * 60 * 60 * 1000

# The last millisecond that the contract can say.
TIME_MAX = 2**64 - 1


def end_of(day: int) -> int:
    """The first millisecond of the next day (the last one there is ends the last day)."""
    return min((day + 1) * DAY_MS, TIME_MAX)


def name_of(day: int) -> str:
    """As 2013-01-01. datetime ends in the year 9999, and a timestamp is whatever its producer says.

    After Howard Hinnant's civil_from_days: the year is taken to begin in March, so that the leap day
    is its last and months follow one formula.
    """
    era, of_era = divmod(day + 719_468, 146_097)  # 400 years each, from 0000-03-01
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    from_march = (5 * of_year + 2) // 153
    day_of_month = of_year - (153 * from_march + 2) // 5 + 1
    month = from_march + 3 if from_march < 10 else from_march - 9
    year = era * 400 + year_of_era + (month <= 2)
    return f"{year:04}-{month:02}-{day_of_month:02}"
