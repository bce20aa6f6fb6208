//! Path normalisation: bypass games as a table, and the normal form as a property.

use http::Uri;
use proptest::prelude::*;
use proxy::{CleanPath, PATH_AND_QUERY_MAX_BYTES, PathRefusal};

/// One row per case: the request target, and its normal form or its refusal's code.
const ROWS: &[(&str, Result<&str, &str>)] = &[
    // Plain.
    ("/", Ok("/")),
    ("/a", Ok("/a")),
    ("/a/b", Ok("/a/b")),
    ("/a/", Ok("/a/")),
    ("/A", Ok("/A")),
    ("/-._~", Ok("/-._~")),
    ("/!$&'()*+,;=:@", Ok("/!$&'()*+,;=:@")),
    // Escapes of unreserved bytes are decoded.
    ("/%41", Ok("/A")),
    ("/%61dmin", Ok("/admin")),
    ("/p%61%69%64", Ok("/paid")),
    ("/%7e%7E", Ok("/~~")),
    ("/%2d%5f", Ok("/-_")),
    ("/%30", Ok("/0")),
    // Other escapes stay, in capitals.
    ("/%3a", Ok("/%3A")),
    ("/%c3%a9", Ok("/%C3%A9")),
    ("/a%20b", Ok("/a%20b")),
    ("/%3f", Ok("/%3F")),
    ("/%23", Ok("/%23")),
    ("/%25", Ok("/%25")),
    ("/a%3b", Ok("/a%3B")),
    ("/%e9", Ok("/%E9")),
    ("/%ff", Ok("/%FF")),
    // Plain bytes that belong escaped.
    ("/a\"b", Ok("/a%22b")),
    ("/{x}", Ok("/%7Bx%7D")),
    ("/a|b", Ok("/a%7Cb")),
    ("/a^b", Ok("/a%5Eb")),
    ("/[x]", Ok("/%5Bx%5D")),
    ("/é", Ok("/%C3%A9")),
    // Nothing is decoded twice, and nothing is let through that somebody else would.
    ("/%2541", Err("path_double_escape")),
    ("/%252e%252e/a", Err("path_double_escape")),
    ("/%252fa", Err("path_double_escape")),
    ("/%25%32%65", Err("path_double_escape")),
    ("/100%25", Ok("/100%25")),
    ("/%25%20", Ok("/%25%20")),
    ("/%252", Ok("/%252")),
    // Dot segments, plain and encoded.
    ("/.", Ok("/")),
    ("/./", Ok("/")),
    ("/a/.", Ok("/a/")),
    ("/a/..", Ok("/")),
    ("/a/../", Ok("/")),
    ("/a/b/..", Ok("/a/")),
    ("/free/../paid", Ok("/paid")),
    ("/free/./../paid", Ok("/paid")),
    ("/free/%2e%2e/paid", Ok("/paid")),
    ("/free/%2E./paid", Ok("/paid")),
    ("/free/.%2e/paid", Ok("/paid")),
    ("/free/%2e/paid", Ok("/free/paid")),
    ("/free/../paid/..", Ok("/")),
    ("/a/b/../../c", Ok("/c")),
    ("/...", Ok("/...")),
    ("/..a", Ok("/..a")),
    ("/a..", Ok("/a..")),
    ("/.a", Ok("/.a")),
    ("/a/...%2e/b", Ok("/a/..../b")),
    // Repeated slashes.
    ("//", Ok("/")),
    ("//paid", Ok("/paid")),
    ("///paid///x", Ok("/paid/x")),
    ("/a//", Ok("/a/")),
    ("/a//../b", Ok("/b")),
    ("//a/..//b", Ok("/b")),
    // Climbing.
    ("/..", Err("path_above_root")),
    ("/../a", Err("path_above_root")),
    ("/a/../..", Err("path_above_root")),
    ("/%2e%2e/a", Err("path_above_root")),
    ("//..", Err("path_above_root")),
    ("/a//../../b", Err("path_above_root")),
    ("/./../a", Err("path_above_root")),
    // Separators in disguise.
    ("/a%2fb", Err("path_encoded_separator")),
    ("/a%2Fb", Err("path_encoded_separator")),
    ("/free%2f..%2fpaid", Err("path_encoded_separator")),
    ("/a%5cb", Err("path_encoded_separator")),
    ("/a%5Cb", Err("path_encoded_separator")),
    ("/..%5cpaid", Err("path_encoded_separator")),
    ("/%c0%af", Err("path_bad_escape")),
    ("/%c0%ae%c0%ae/paid", Err("path_bad_escape")),
    ("/%C1%9C", Err("path_bad_escape")),
    ("/%e0%80%af", Err("path_bad_escape")),
    ("/%e0%9f%bf", Err("path_bad_escape")),
    ("/%f0%80%80%af", Err("path_bad_escape")),
    // Dot segments with parameters (servlet containers drop them first).
    ("/free/..;/paid", Err("path_dot_parameter")),
    ("/free/..;a=b/paid", Err("path_dot_parameter")),
    ("/free/.;/paid", Err("path_dot_parameter")),
    ("/free/%2e%2e;/paid", Err("path_dot_parameter")),
    ("/free/..%3b/paid", Err("path_dot_parameter")),
    ("/;/paid", Err("path_dot_parameter")),
    ("/%3b", Err("path_dot_parameter")),
    ("/paid;x=1", Ok("/paid;x=1")),
    // Control bytes.
    ("/a%00", Err("path_control_byte")),
    ("/%00/../a", Err("path_control_byte")),
    ("/a%0d%0aHost:x", Err("path_control_byte")),
    ("/a%0A", Err("path_control_byte")),
    ("/a%09", Err("path_control_byte")),
    ("/a%1f", Err("path_control_byte")),
    ("/a%7f", Err("path_control_byte")),
    // Malformed escapes.
    ("/%", Err("path_bad_escape")),
    ("/%4", Err("path_bad_escape")),
    ("/%g1", Err("path_bad_escape")),
    ("/%1g", Err("path_bad_escape")),
    ("/%%41", Err("path_bad_escape")),
    ("/%u0041", Err("path_bad_escape")),
    ("/%+1", Err("path_bad_escape")),
    ("/%/41", Err("path_bad_escape")),
    // Queries pass byte for byte.
    ("/a?", Ok("/a?")),
    ("/a?b=%2f%41", Ok("/a?b=%2f%41")),
    ("/a?../..", Ok("/a?../..")),
    ("/a?x?y", Ok("/a?x?y")),
    ("/a%3Fb?c", Ok("/a%3Fb?c")),
    ("/a/../b?c=%zz", Ok("/b?c=%zz")),
    ("/a?%00", Ok("/a?%00")),
    // A fragment never reaches the wire.
    ("/a#b", Ok("/a")),
    // Forms.
    ("http://host/a/../b", Ok("/b")),
    ("http://host", Ok("/")),
    ("https://host/?q", Ok("/?q")),
    ("http://host/../a", Err("path_above_root")),
    ("*", Err("path_not_origin_form")),
    ("host:443", Err("path_not_origin_form")),
    ("host", Err("path_not_origin_form")),
];

#[test]
fn one_row_per_game() {
    const { assert!(ROWS.len() >= 60) };
    for (target, expected) in ROWS {
        let uri: Uri = match target.parse() {
            Ok(uri) => uri,
            Err(error) => panic!("{target}: {error}"),
        };
        let got = CleanPath::parse(&uri);
        let shown = got.as_ref().map(CleanPath::path_and_query);
        let shown = shown.as_deref().map_err(|refusal| refusal.code());
        assert_eq!(shown, *expected, "{target}");
    }
}

#[test]
fn targets_that_http_itself_refuses() {
    for target in ["/a b", "/a\tb", "/a\r\nb", "/a\0b", "/a\x7fb?\x7f\x01", "/a?b c", "", "/a<b", "/a`b"] {
        let clean = target.parse::<Uri>().ok();
        let clean = clean.and_then(|uri| CleanPath::parse(&uri).ok());
        assert_eq!(clean, None, "{target:?}");
    }
    let backslash = "/a\\b".parse::<Uri>().map(|uri| CleanPath::parse(&uri));
    assert!(matches!(backslash, Err(_) | Ok(Err(PathRefusal::Backslash))));
}

#[test]
fn parts_and_length() {
    let clean = CleanPath::parse(&Uri::from_static("/x/../a?b=c")).unwrap();
    assert_eq!((clean.path(), clean.query()), ("/a", Some("b=c")));
    assert_eq!(clean.to_string(), "/a?b=c");
    let clean = CleanPath::parse(&Uri::from_static("/a")).unwrap();
    assert_eq!(clean.query(), None);
    let longest = format!("/{}", "a".repeat(PATH_AND_QUERY_MAX_BYTES - 1));
    assert!(CleanPath::parse(&longest.parse().unwrap()).is_ok());
    let rows = [format!("{longest}a"), format!("{longest}?"), format!("/{}", "|".repeat(PATH_AND_QUERY_MAX_BYTES / 2))];
    for target in rows {
        let got = CleanPath::parse(&target.parse().unwrap());
        assert_eq!(got, Err(PathRefusal::TooLong));
    }
}

/// Paths made of the pieces that games are made of.
fn path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just(";".to_owned()),
        Just("\u{e9}".to_owned()),
        "%[0-9a-fA-F]{2}",
        "[a-zA-Z0-9_~!$&'()*+,=:@|^{}\"-]{1,3}",
    ];
    let query = proptest::option::of("[a-z%/?.=&]{0,8}");
    (proptest::collection::vec(piece, 0..12), query).prop_map(|(pieces, query)| {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("/{}{query}", pieces.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_normal_form_is_normal(target in path()) {
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        let Ok(clean) = CleanPath::parse(&uri) else { return Ok(()) };
        let printed = clean.path_and_query();
        let again: Uri = printed.parse().expect("the normal form is a URI");
        prop_assert_eq!(CleanPath::parse(&again), Ok(clean.clone()), "{} -> {}", target, printed);
        prop_assert!(clean.path().is_ascii() && clean.path().starts_with('/'));
        prop_assert!(!clean.path().contains("//"));
        let dots = clean.path().split('/').any(|segment| segment == "." || segment == "..");
        prop_assert!(!dots, "{}", printed);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(uri) = Uri::try_from([b"/".as_slice(), &bytes].concat()) {
            let clean = CleanPath::parse(&uri);
            if let Ok(clean) = &clean {
                let again: Uri = clean.path_and_query().parse().expect("the normal form is a URI");
                prop_assert_eq!(&CleanPath::parse(&again), &Ok(clean.clone()));
            }
        }
    }
}
