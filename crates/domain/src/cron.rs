//! Schedules as templates write them: checked when a template is planned, and run by the agent, by the same rules.
//!
//! The dialect is that of robfig/cron version 3: `*`, `?`, `a`, `a-b`, `a/n`, `a-b/n`, lists, English names of months and
//! days, Sunday is 0, descriptors such as `@daily` and `@every 1h30m`, and a leading `TZ=` or `CRON_TZ=`.

use jiff::{SignedDuration, ToSpan, ZonedDateTime};

/// How far ahead a schedule is looked for: one that names the 30th of February never comes.
const YEARS_AHEAD_MAX: i64 = 5;

/// The shortest time between two runs of an `@every`.
const EVERY_SECONDS_MIN: i64 = 1;

/// Why a text is no schedule: one clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    zone: Option<String>,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Times(Times),
    Every(SignedDuration),
}

/// The seconds, minutes, hours and days of a schedule, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Times {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    any_day: bool,
    months: u64,
    weekdays: u64,
    any_weekday: bool,
}

/// The numbers and names that a field may hold.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const SECOND: Field = Field { what: "second", least: 0, most: 59, names: &[] };
const MINUTE: Field = Field { what: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { what: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { what: "day of month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { what: "month", least: 1, most: 12, names: MONTHS };
const WEEKDAY: Field = Field { what: "day of week", least: 0, most: 6, names: DAYS };

/// What the descriptors stand for, in six fields.
const DESCRIPTORS: &[(&str, &str)] = &[
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

/// The units of a duration in Go's notation, with their nanoseconds. A unit comes before those that it begins with.
const UNITS: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl Cron {
    /// Reads a schedule of six fields, seconds first; the day of week may be left out.
    ///
    /// # Errors
    /// [`CronError`] says which part is wrong.
    pub fn parse_with_seconds(text: &str) -> Result<Self, CronError> {
        Self::parse(text, true)
    }

    /// Reads a schedule of five fields, minutes first; the day of week may be left out.
    ///
    /// # Errors
    /// [`CronError`] says which part is wrong.
    pub fn parse_unix(text: &str) -> Result<Self, CronError> {
        Self::parse(text, false)
    }

    fn parse(text: &str, with_seconds: bool) -> Result<Self, CronError> {
        let (zone, text) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            Some(rest) => {
                let nothing = || CronError("nothing follows the time zone".to_owned());
                let (zone, rest) = rest.split_once(' ').ok_or_else(nothing)?;
                (Some(zone.to_owned()), rest.trim())
            }
            None => (None, text),
        };
        let rule = if text.starts_with('@') { descriptor(text)? } else { Rule::Times(Times::parse(text, with_seconds)?) };
        Ok(Self { zone, rule })
    }

    /// The name of the time zone that the schedule itself asks for.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The first time after `now` at which the schedule holds, by the clock of `now`'s time zone: an hour that a change of the clock leaves out has
    /// no times, one that it repeats has them twice. `None` when there is none in the next five years.
    #[must_use]
    pub fn next_after(&self, now: &ZonedDateTime) -> Option<ZonedDateTime> {
        let whole = SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()));
        let second = now.checked_sub(whole).ok()?;
        match &self.rule {
            Rule::Every(pause) => second.checked_add(*pause).ok(),
            Rule::Times(times) => times.first_from(second.checked_add(SignedDuration::from_secs(1)).ok()?),
        }
    }

    /// True when two schedules can hold in the same hour. An `@every` has no hours and meets nothing.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.rule, &other.rule) {
            (Rule::Times(first), Rule::Times(second)) => first.overlap(second),
            _ => false,
        }
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

impl Times {
    fn parse(text: &str, with_seconds: bool) -> Result<Self, CronError> {
        let mut words: Vec<_> = text.split_whitespace().collect();
        let needed = if with_seconds { 6 } else { 5 };
        if words.len() + 1 == needed {
            words.push("*");
        }
        if words.len() != needed {
            return Err(CronError(format!("{needed} fields are needed, not {}", text.split_whitespace().count())));
        }
        if !with_seconds {
            words.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(CronError(format!("{needed} fields are needed")));
        };
        Ok(Self {
            seconds: SECOND.bits(second)?,
            minutes: MINUTE.bits(minute)?,
            hours: HOUR.bits(hour)?,
            days: DAY.bits(day)?,
            any_day: is_any(day),
            months: MONTH.bits(month)?,
            weekdays: WEEKDAY.bits(weekday)?,
            any_weekday: is_any(weekday),
        })
    }

    /// The first whole second from `time` on at which it holds. Each step goes to the beginning of the next month, day, hour, minute or second.
    fn first_from(&self, mut time: ZonedDateTime) -> Option<ZonedDateTime> {
        let end = time.checked_add(YEARS_AHEAD_MAX.years()).ok()?;
        while time < end {
            let date = time.date();
            time = if !has(self.months, date.month()) {
                let next = date.first_of_month().checked_add(1.month()).ok()?;
                next.to_zoned_datetime(time.time_zone().clone()).ok()?
            } else if !self.holds_on(date) {
                date.tomorrow().ok()?.to_zoned_datetime(time.time_zone().clone()).ok()?
            } else if !has(self.hours, time.hour()) {
                let past = i64::from(time.minute()) * 60 + i64::from(time.second());
                time.checked_add(SignedDuration::from_secs(3600 - past)).ok()?
            } else if !has(self.minutes, time.minute()) {
                time.checked_add(SignedDuration::from_secs(60 - i64::from(time.second()))).ok()?
            } else if !has(self.seconds, time.second()) {
                time.checked_add(SignedDuration::from_secs(1)).ok()?
            } else {
                return Some(time);
            };
        }
        None
    }

    /// Days of the month and of the week both count when both are given: either will do.
    fn holds_on(&self, date: jiff::civil::Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }

    fn overlap(&self, other: &Self) -> bool {
        let meets = |a: u64, b: u64| a & b != 0;
        let days = match (self.any_day || other.any_day, self.any_weekday || other.any_weekday) {
            (true, _) => meets(self.weekdays, other.weekdays),
            (false, true) => meets(self.days, other.days),
            (false, false) => meets(self.days, other.days) || meets(self.weekdays, other.weekdays),
        };
        days && meets(self.months, other.months) && meets(self.hours, other.hours)
    }
}

fn is_any(field: &str) -> bool {
    field.split(',').any(|part| matches!(part, "*" | "?" | "*/1" | "?/1"))
}

fn descriptor(text: &str) -> Result<Rule, CronError> {
    if let Some((_, fields)) = DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        return Times::parse(fields, true).map(Rule::Times);
    }
    let duration = text.strip_prefix("@every ").ok_or_else(|| CronError(format!("\"{text}\" is not known")))?;
    let pause = duration_of(duration).ok_or_else(|| CronError(format!("\"{duration}\" is not a duration such as 1h30m")))?;
    // Whole seconds, as the dialect has it.
    Ok(Rule::Every(SignedDuration::from_secs(pause.as_secs().max(EVERY_SECONDS_MIN))))
}

/// A duration in Go's notation: numbers, each with a unit.
fn duration_of(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
        let number: f64 = rest.strip_suffix(after)?.parse().ok()?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        nanoseconds += number * scale;
        rest = after.strip_prefix(unit)?;
    }
    SignedDuration::try_from_secs_f64(sign * nanoseconds / 1e9).ok()
}

impl Field {
    /// The values that `text` names, one bit each.
    fn bits(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.range(part)?))
    }

    fn range(&self, part: &str) -> Result<u64, CronError> {
        let wrong = || CronError(format!("\"{part}\" is not a {} from {} to {}", self.what, self.least, self.most));
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(wrong)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.least, self.most),
            Some((from, to)) => (self.number(from).ok_or_else(wrong)?, self.number(to).ok_or_else(wrong)?),
            None => {
                let from = self.number(range).ok_or_else(wrong)?;
                (from, if step.is_some() { self.most } else { from })
            }
        };
        if from > to {
            return Err(wrong());
        }
        Ok((from..=to).step_by(step.unwrap_or(1) as usize).fold(0, |bits, value| bits | 1 << value))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(index) => u32::try_from(index).ok()? + self.least,
            None => text.parse().ok().filter(|_| text.chars().all(|digit| digit.is_ascii_digit()))?,
        };
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn schedules_with_seconds() {
        for good in [
            "0 0 22 * * 1-5",
            "*/10 * * * * *",
            "0 0 0 1 JAN ?",
            "0 0 12 * * mon,WED",
            "0 */5 9-17/2 1,15 * *",
            "@daily",
            "@every 1h30m",
            "TZ=Europe/Berlin 0 0 8 * * 1",
            "0 0 22 * *",
            "0 5/15 * * * *",
        ] {
            assert!(Cron::parse_with_seconds(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "* * *",
            "60 0 0 * * *",
            "0 0 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 32 * *",
            "0 0 0 * 13 *",
            "0 0 0 * * 7",
            "0 0 0 5-1 * *",
            "0 */0 * * * *",
            "a b c d e f",
            "@never",
            "@every soon",
            "@every ",
            "@every 5",
            "@every h",
            "0 0 0 * * +1",
            "TZ=UTC",
        ] {
            assert!(Cron::parse_with_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schedules_without_seconds() {
        assert!(Cron::parse_unix("* 8-18 * * 1-5").is_ok());
        assert!(Cron::parse_unix("* 8-18 * * 1-8").is_err());
        let six = Cron::parse_unix("* * * * * *").unwrap_err();
        assert_eq!(six.to_string(), "5 fields are needed, not 6");
    }

    #[test]
    fn two_schedules_meet_only_when_hour_month_and_day_do() {
        for (first, second, meet) in [
            ("* 8-18 * * 1-5", "* 18 * * 5", true),
            ("* 8-17 * * 1-5", "* 18-23 * * 1-5", false),
            ("* 8-18 * * 1-5", "* 8-18 * * 0,6", false),
            ("* * * 1-6 *", "* * * 7-12 *", false),
            ("* * 1-15 * *", "* * 16-31 * *", false),
            ("* * 1-15 * 1", "* * 16-31 * 1", true),
            ("* * 1-15 * 1", "* * 16-31 * 2", false),
            ("* * 1-15 * *", "* * 15 * 2", true),
            ("* */2 * * *", "* 4 * * *", true),
            ("* 0-22/2 * * *", "* 5 * * *", false),
        ] {
            let [a, b] = [first, second].map(|text| Cron::parse_unix(text).unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (meet, meet), "{first} and {second}");
        }
    }

    fn at(text: &str) -> ZonedDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_is_by_the_clock_on_the_wall() {
        for (schedule, now, next) in [
            ("0 0 22 * * 1-5", "2026-11-27T22:00:00[UTC]", "2026-11-30T22:00:00[UTC]"),
            ("*/10 * * * * *", "2026-11-27T22:00:09.5[UTC]", "2026-11-27T22:00:10[UTC]"),
            ("0 0 12 29 2 ?", "2026-11-27T00:00:00[UTC]", "2028-02-29T12:00:00[UTC]"),
            // Both days are given: either will do.
            ("0 0 0 13 * 5", "2026-11-27T00:00:00[UTC]", "2026-12-04T00:00:00[UTC]"),
            ("@hourly", "2026-11-27T22:59:59[UTC]", "2026-11-27T23:00:00[UTC]"),
            ("@every 1h30m", "2026-11-27T22:00:00.25[UTC]", "2026-11-27T23:30:00[UTC]"),
            ("@every 10ms", "2026-11-27T22:00:00[UTC]", "2026-11-27T22:00:01[UTC]"),
            // The hour that is left out in spring has no times, the one that comes twice in autumn has them twice.
            ("0 30 2 * * *", "2026-03-28T12:00:00[Europe/Berlin]", "2026-03-30T02:30:00[Europe/Berlin]"),
            ("0 30 2 * * *", "2026-10-25T02:30:00+02:00[Europe/Berlin]", "2026-10-25T02:30:00+01:00[Europe/Berlin]"),
            ("0 0 9 * * *", "2026-10-24T12:00:00[Europe/Berlin]", "2026-10-25T09:00:00[Europe/Berlin]"),
        ] {
            let cron = Cron::parse_with_seconds(schedule).unwrap();
            assert_eq!(cron.next_after(&at(now)), Some(at(next)), "{schedule} after {now}");
        }
        let never = Cron::parse_with_seconds("0 0 0 30 2 ?").unwrap();
        assert_eq!(never.next_after(&at("2026-11-27T00:00:00[UTC]")), None);
        assert_eq!(Cron::parse_with_seconds("TZ=Asia/Tokyo @daily").unwrap().zone(), Some("Asia/Tokyo"));
    }

    fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
        let step = (least..=most, 1_u32..40).prop_map(|(from, step)| format!("{from}/{step}"));
        let range = (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        let list = proptest::collection::vec(least..=most, 1..4)
            .prop_map(|values| values.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
        prop_oneof![Just("*".to_owned()), step, range, list]
    }

    const PATIENCE_SECONDS: i64 = 12 * 3600;

    /// Looks at every second, and knows nothing of how the schedule looks for the next one.
    fn by_patience(times: &Times, now: &ZonedDateTime) -> Option<ZonedDateTime> {
        (1..=PATIENCE_SECONDS).map(|second| now.checked_add(SignedDuration::from_secs(second)).unwrap()).find(|time| {
            let fields = [(times.seconds, time.second()), (times.minutes, time.minute()), (times.hours, time.hour())];
            fields.iter().all(|(bits, value)| has(*bits, *value)) && has(times.months, time.month()) && times.holds_on(time.date())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_next_time_is_what_looking_at_every_second_finds(
            (second, minute, hour) in (field(0, 59), field(0, 59), field(0, 23)),
            weekday in field(0, 6),
            // Around a change of the clock, where it is hardest.
            start in 1_793_000_000_i64..1_793_600_000,
        ) {
            let cron = Cron::parse_with_seconds(&format!("{second} {minute} {hour} * * {weekday}")).unwrap();
            let Rule::Times(times) = &cron.rule else { unreachable!() };
            let zone = TimeZone::get("America/St_Johns").unwrap();
            let now = Timestamp::from_second(start).unwrap().to_zoned_datetime(zone);
            let expected = by_patience(times, &now);
            let found = cron.next_after(&now);
            if expected.is_some() {
                prop_assert_eq!(found, expected);
            } else {
                prop_assert!(found.is_none_or(|time| time > now.checked_add(SignedDuration::from_secs(PATIENCE_SECONDS)).unwrap()));
            }
        }
    }
}
