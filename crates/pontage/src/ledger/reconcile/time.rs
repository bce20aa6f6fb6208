//! A time as an operator writes it.

use anyhow::{Context as _, bail};

const DAY_MS: u64 = 86_400_000;

/// Milliseconds since 1970. A date alone is its midnight in UTC; `7d`, `24h` and `30m` are so long before now.
pub(super) fn read(text: Option<&str>, now_ms: u64) -> anyhow::Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || format!("{text} is no time: write 2026-11-20, 2026-11-20T14:00:00, 7d, 24h or 30m");
    if let Some((unit, digits)) = text.char_indices().next_back().map(|(at, unit)| (unit, &text[..at]))
        && let Some(unit_ms) = match unit {
            'd' => Some(DAY_MS),
            'h' => Some(3_600_000),
            'm' => Some(60_000),
            _ => None,
        }
    {
        let number: u64 = digits.parse().ok().with_context(wrong)?;
        return Ok(Some(now_ms.saturating_sub(number.saturating_mul(unit_ms))));
    }
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = bare.split_once(['T', ' ']).unwrap_or((bare, "00:00:00"));
    let numbers =
        |text: &str, between: char| text.split(between).map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let (Some(date), Some(clock)) = (numbers(date, '-'), numbers(clock, ':')) else { bail!(wrong()) };
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), clock.as_slice()) else { bail!(wrong()) };
    let Some(days) = days(*year, *month, *day) else { bail!(wrong()) };
    if *hour > 23 || *minute > 59 || *second > 59 {
        bail!(wrong());
    }
    Ok(Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000))
}

/// Days from 1970 to a date, if there is such a day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the day that some of them have more comes last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * months + 2) / 5 + day - 1;
    Some(years * 365 + years / 4 - years / 100 + years / 400 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::print::utc;

    #[test]
    fn times_are_read() {
        let now_ms = 1_795_178_544_999;
        let of = |text| read(Some(text), now_ms).ok().flatten();
        for (text, want) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(951_782_400_000)),
            ("2026-11-20", Some(1_795_132_800_000)),
            ("2026-11-20T12:42:24", Some(1_795_178_544_000)),
            ("2026-11-20 12:42:24Z", Some(1_795_178_544_000)),
            ("1d", Some(now_ms - DAY_MS)),
            ("24h", Some(now_ms - DAY_MS)),
            ("30m", Some(now_ms - 1_800_000)),
            ("99999999999999d", Some(0)),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-11-20T24:00:00", None),
            ("2026-11-20T12:42", None),
            ("1969-12-31", None),
            ("yesterday", None),
            ("", None),
            ("d", None),
            ("-1d", None),
            ("é", None),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
        for day in (0..60_000).step_by(7) {
            let date = utc(day * DAY_MS).split(' ').next().unwrap().to_owned();
            assert_eq!(read(Some(&date), now_ms).unwrap(), Some(day * DAY_MS), "{date}");
        }
    }
}
