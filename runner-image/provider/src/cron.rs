//! Checks schedules as templates write them, and tells whether two of them meet. Nothing is computed from a clock here.
//!
//! The dialect is that of robfig/cron version 3: `*`, `?`, `a`, `a-b`, `a/n`, `a-b/n`, lists, English names of months and
//! days, Sunday is 0, descriptors such as `@daily` and `@every 1h30m`, and a leading `TZ=` or `CRON_TZ=`.

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

const DESCRIPTORS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule of six fields, seconds first; the day of week may be left out.
pub(crate) fn check_with_seconds(text: &str) -> Result<(), String> {
    check(text, &[&SECOND, &MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY])
}

/// Checks a schedule of five fields, minutes first; the day of week may be left out.
pub(crate) fn check_unix(text: &str) -> Result<(), String> {
    check(text, &[&MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY])
}

/// True when two schedules of five fields can hold in the same hour. Schedules that are not valid never meet.
pub(crate) fn overlap(first: &str, second: &str) -> bool {
    let (Some(first), Some(second)) = (Times::parse(first), Times::parse(second)) else { return false };
    let meets = |a: u64, b: u64| a & b != 0;
    let days = match (first.any_day || second.any_day, first.any_weekday || second.any_weekday) {
        (true, _) => meets(first.weekdays, second.weekdays),
        (false, true) => meets(first.days, second.days),
        (false, false) => meets(first.days, second.days) || meets(first.weekdays, second.weekdays),
    };
    days && meets(first.months, second.months) && meets(first.hours, second.hours)
}

/// The hours and days of a schedule, one bit each.
struct Times {
    hours: u64,
    days: u64,
    any_day: bool,
    months: u64,
    weekdays: u64,
    any_weekday: bool,
}

impl Times {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<_> = text.split_whitespace().collect();
        let [_, hour, day, month, weekday] = fields.as_slice() else { return None };
        let is_any = |field: &str| field == "*" || field == "?";
        Some(Self {
            hours: HOUR.bits(hour).ok()?,
            days: DAY.bits(day).ok()?,
            any_day: is_any(day),
            months: MONTH.bits(month).ok()?,
            weekdays: WEEKDAY.bits(weekday).ok()?,
            any_weekday: is_any(weekday),
        })
    }
}

fn check(text: &str, fields: &[&Field]) -> Result<(), String> {
    let text = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map(|(_, rest)| rest.trim()).ok_or("nothing follows the time zone")?,
        None => text,
    };
    if text.starts_with('@') {
        return check_descriptor(text);
    }
    let words: Vec<_> = text.split_whitespace().collect();
    if words.len() != fields.len() && words.len() + 1 != fields.len() {
        return Err(format!("{} fields are needed, not {}", fields.len(), words.len()));
    }
    fields.iter().zip(words).try_for_each(|(field, word)| field.bits(word).map(drop))
}

fn check_descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    let duration = text.strip_prefix("@every ").ok_or_else(|| format!("\"{text}\" is not known"))?;
    if is_duration(duration) { Ok(()) } else { Err(format!("\"{duration}\" is not a duration such as 1h30m")) }
}

/// True for a duration in Go's notation: numbers, each with a unit.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
        if after.len() == rest.len() {
            return false;
        }
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().find_map(|unit| after.strip_prefix(unit));
        let Some(after) = unit else { return false };
        rest = after;
    }
    !text.is_empty()
}

impl Field {
    /// The values that `text` names, one bit each.
    fn bits(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.range(part)?))
    }

    fn range(&self, part: &str) -> Result<u64, String> {
        let wrong = || format!("\"{part}\" is not a {} from {} to {}", self.what, self.least, self.most);
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
            assert_eq!(check_with_seconds(good), Ok(()), "{good}");
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
            "0 0 0 * * +1",
            "TZ=UTC",
        ] {
            assert!(check_with_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schedules_without_seconds() {
        assert_eq!(check_unix("* 8-18 * * 1-5"), Ok(()));
        assert!(check_unix("* 8-18 * * 1-8").is_err());
        assert!(check_unix("* * * * * *").is_err());
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
            assert_eq!(overlap(first, second), meet, "{first} and {second}");
            assert_eq!(overlap(second, first), meet, "{second} and {first}");
        }
    }
}
