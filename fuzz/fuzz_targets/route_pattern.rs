//! A pattern from a configuration file: never a panic, prints as it was written, and matching ends.
//! The input is a pattern, a line feed and any text as the path.
#![no_main]

use gate::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, path) = text.split_once('\n').unwrap_or((text, "/"));
    let Ok(pattern) = Pattern::parse(text) else { return };
    assert_eq!(pattern.as_str(), text);
    assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(&pattern));
    let covered = pattern.matches(path);
    assert_eq!(pattern.matches(&path.to_ascii_uppercase()), covered, "{pattern} {path} in capitals");

    // Written without stars, names and parameters, a pattern is a path, and covers it.
    let plain = !text.contains([';', '*', ':']) && !text.to_ascii_lowercase().contains("%3b");
    assert!(!plain || pattern.matches(text), "{pattern} does not cover itself");
});
