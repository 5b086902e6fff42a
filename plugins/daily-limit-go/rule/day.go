package rule

import (
	"math"
	"strconv"
	"strings"
)

const dayMs = 24 * 60 * 60 * 1000

// day is a UTC day, counted from 1970-01-01.
type day uint64

func dayOf(timeMs uint64) day { return day(timeMs / dayMs) }

// end is the first millisecond of the next day (the last one there is ends the last day).
func (d day) end() uint64 {
	if math.MaxUint64/dayMs <= uint64(d) {
		return math.MaxUint64
	}
	return (uint64(d) + 1) * dayMs
}

// String gives the day as 2013-01-01. After Howard Hinnant's civil_from_days: the year is taken to
// begin in March, so that the leap day is its last. (package time overflows with large timestamps.)
func (d day) String() string {
	days := uint64(d) + 719_468              // from 0000-03-01
	era, ofEra := days/146_097, days%146_097 // 400 years each
	yearOfEra := (ofEra - ofEra/1460 + ofEra/36_524 - ofEra/146_096) / 365
	ofYear := ofEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	fromMarch := (5*ofYear + 2) / 153
	dayOfMonth := ofYear - (153*fromMarch+2)/5 + 1
	month, year := fromMarch+3, era*400+yearOfEra
	if 10 <= fromMarch {
		month, year = fromMarch-9, year+1
	}
	return padded(year, 4) + "-" + padded(month, 2) + "-" + padded(dayOfMonth, 2)
}

func padded(number uint64, digits int) string {
	text := strconv.FormatUint(number, 10)
	return strings.Repeat("0", max(0, digits-len(text))) + text
}
