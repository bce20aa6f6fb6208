//! A request target from anyone: never a panic, one normal form, and what is normal stays so when it is read again.
//! The input is a pattern, a line feed and the target; without a line feed all of it is the target.
#![no_main]

use gate::Pattern;
use libfuzzer_sys::fuzz_target;
use proxy::{CleanPath, PATH_AND_QUERY_MAX_BYTES};

fuzz_target!(|data: &[u8]| {
    let (pattern, target) =
        data.iter().position(|byte| *byte == b'\n').map_or((&b"/**"[..], data), |at| (&data[..at], &data[at + 1..]));
    let Ok(uri) = http::Uri::try_from(target) else { return };
    let Ok(clean) = CleanPath::parse(&uri) else { return };

    let printed = clean.path_and_query();
    let again: http::Uri = printed.parse().expect("a normal form is a URI");
    assert_eq!(CleanPath::parse(&again), Ok(clean.clone()));
    assert!(printed.len() <= PATH_AND_QUERY_MAX_BYTES);

    let path = clean.path();
    assert!(path.starts_with('/') && path.is_ascii() && !path.bytes().any(|byte| byte.is_ascii_control()));
    assert!(!path.contains("//") && !path.contains('\\') && !path.contains("%2F") && !path.contains("%5C"));
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));

    assert!(Pattern::parse("/**").expect("a pattern").matches(path), "the pattern of everything covers {path}");
    if let Some(Ok(pattern)) = std::str::from_utf8(pattern).ok().map(Pattern::parse) {
        let covered = pattern.matches(path);
        // These are one resource at many upstreams, so they must have one price.
        assert_eq!(pattern.matches(&path.to_ascii_uppercase()), covered, "{pattern} {path} in capitals");
        if let Some(bare) = path.strip_suffix('/').filter(|bare| !bare.is_empty()) {
            assert_eq!(pattern.matches(bare), covered, "{pattern} {path} without its slash");
        }
        if !path.ends_with('/') {
            assert_eq!(pattern.matches(&format!("{path};x=1")), covered, "{pattern} {path} with a parameter");
        }
    }
});
