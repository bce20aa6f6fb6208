//! RFC 3339 times in whole seconds since 1970.

/// The last second of the year 9999, beyond which there is no such text.
const MAX_S: u64 = 253_402_300_799;
const DAY_S: u64 = 86_400;

/// Writes seconds as UTC, such as `2026-01-31T12:00:00Z`.
pub(in crate::x402) fn print(at_s: u64) -> String {
    let at_s = at_s.min(MAX_S);
    let (days, second) = (at_s / DAY_S, at_s % DAY_S);
    let (year, day_of_year) = split(days, (1970..).map(|year| (year, year_days(year))));
    let (month, day) = split(day_of_year, (1..).map(|month| (month, month_days(year, month))));
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", day.saturating_add(1), second % 60)
}

/// Reads a time, also one with a fraction, which is dropped, or with an offset. `None` before 1970 and for everything that is no
/// RFC 3339, leap seconds with it.
pub(super) fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| digits(text.get(from..to)?);
    let sign = |at: usize| text.as_bytes().get(at).copied();
    let date = (sign(4)?, sign(7)?) == (b'-', b'-') && matches!(sign(10)?, b'T' | b't');
    if !date || (sign(13)?, sign(16)?) != (b':', b':') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let whole_days = (1970..year).map(year_days).chain((1..month).map(|month| month_days(year, month)));
    let days = whole_days.sum::<u64>().checked_add(day)?.checked_sub(1)?;
    let local = seconds(days, hour, minute)?.checked_add(second)?;
    let zone = text.get(19..)?;
    let zone = zone.strip_prefix('.').map_or(Some(zone), |fraction| {
        let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest.len() < fraction.len()).then_some(rest)
    })?;
    if matches!(zone, "Z" | "z") {
        return Some(local);
    }
    let offset = zone.get(1..).filter(|offset| offset.len() == 5 && offset.as_bytes().get(2) == Some(&b':'))?;
    let (hours, minutes) = (digits(offset.get(..2)?)?, digits(offset.get(3..)?)?);
    let offset = seconds(0, hours, minutes).filter(|_| hours < 24 && minutes < 60)?;
    match zone.as_bytes().first()? {
        b'+' => local.checked_sub(offset),
        b'-' => local.checked_add(offset),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn seconds(days: u64, hours: u64, minutes: u64) -> Option<u64> {
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)
}

/// The period that `days` fall into, and how many of them lie in it.
fn split(mut days: u64, periods: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    for (name, length) in periods {
        match days.checked_sub(length) {
            Some(rest) => days = rest,
            None => return (name, days),
        }
    }
    (0, days)
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year_days(year) == 366 => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_that_are_read() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:34:56Z", Some(951_827_696)),
            ("2026-11-20T16:30:57.123Z", Some(1_795_192_257)),
            ("2026-11-20T16:30:57.123456789123Z", Some(1_795_192_257)),
            ("2026-11-20t18:30:57+02:00", Some(1_795_192_257)),
            ("2026-11-20T09:00:57-07:30", Some(1_795_192_257)),
            ("9999-12-31T23:59:59z", Some(MAX_S)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("2025-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-04-00T00:00:00Z", None),
            ("2026-04-01T24:00:00Z", None),
            ("2026-04-01T00:60:00Z", None),
            ("2026-12-31T23:59:60Z", None),
            ("2026-04-01T00:00:00", None),
            ("2026-04-01T00:00:00.Z", None),
            ("2026-04-01T00:00:00.5", None),
            ("2026-04-01T00:00:00ZZ", None),
            ("2026-04-01T00:00:00+24:00", None),
            ("2026-04-01T00:00:00+0100", None),
            ("2026-04-01T00:00:00+01:0é", None),
            ("2026-04-01 00:00:00Z", None),
            ("+026-04-01T00:00:00Z", None),
            ("2026-04-01", None),
            ("1795192257", None),
            ("2026-04-01T00:00:0é", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(at_s in 0..=MAX_S) {
            prop_assert_eq!(parse(&print(at_s)), Some(at_s));
        }

        #[test]
        fn no_text_is_too_odd(text in "[-+:.TZ0-9é]{0,40}", at_s: u64) {
            let _ = parse(&text);
            prop_assert_eq!(parse(&print(at_s)), Some(at_s.min(MAX_S)));
        }
    }
}
