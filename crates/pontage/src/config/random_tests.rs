//! No text makes the reader panic, and a file without a mistake always becomes a `Config`.

use std::path::Path;

use proptest::prelude::*;

use super::{TEMPLATE, parse};

fn env(name: &str) -> Option<String> {
    // What goes before the file would hide it.
    let over = name.starts_with("PONTAGE_") || name.starts_with("PAY_GATE_");
    (!over && name.len().is_multiple_of(2)).then(|| name.to_owned())
}

/// Reads and prints; what comes out does not matter here, only that something does.
fn read(text: &str) -> Result<(), TestCaseError> {
    match parse(text, "x.yaml", Path::new(""), &env) {
        Ok(config) => prop_assert!(!config.routes.is_empty()),
        Err(mistakes) => {
            prop_assert!(!mistakes.list().is_empty());
            prop_assert!(mistakes.list().iter().all(|mistake| mistake.line != Some(0)));
            // saphyr panicked: the thread ends, and the answer names no line.
            prop_assert!(!mistakes.to_string().contains("reader failed"), "{text:?}");
            let lines: Vec<_> = mistakes.list().iter().map(|mistake| mistake.line).collect();
            prop_assert!(lines.is_sorted());
        }
    }
    Ok(())
}

/// What a file of ours is made of, and what YAML makes of it.
fn piece() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let fixed = prop::sample::select(vec![
        "version: 1\n",
        "routes:\n",
        "- path: /a\n",
        "  price: 0.01\n",
        "  free: true\n",
        "proxy:\n",
        "  target: http://a\n",
        "networks:\n",
        "  eip155:1:\n",
        "    rpc_urls: [http://a]\n",
        "    assets:\n",
        "    - usdc\n",
        "facilitator:\n",
        "  signer: { env: A }\n",
        "replay: { wait_ms: 1 }\n",
        "&a ",
        "*a",
        "!!str ",
        "? ",
        ": ",
        "- ",
        "---\n",
        "...\n",
        "\t",
        "|\n",
        ">-\n ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "#",
        "${A}",
        "${A:-",
        "$$",
        "~",
        "\u{feff}",
        "\r",
        "\r\n",
        "%YAML 1.2\n",
        "<<: ",
        "é",
        "\u{1f600}",
        "0x",
        "1e9",
        "-",
        "\0",
        "  ",
        "    ",
        "\n",
        "\u{85}",
        "\u{2028}",
        "\\x",
        "@",
        "`",
        "%",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => "\\PC{0,6}", 1 => "[a-z_]{1,8}: "]
}

/// One change of a text: at a place (in thousandths), cut some characters and put a piece there.
fn change() -> impl Strategy<Value = (usize, usize, String)> {
    (0..1_000_usize, 0..12_usize, prop_oneof![Just(String::new()), piece()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        read(&text)?;
    }

    #[test]
    fn no_yaml_panics(pieces in prop::collection::vec(piece(), 0..60)) {
        read(&pieces.concat())?;
    }

    #[test]
    fn no_change_of_a_good_file_panics(changes in prop::collection::vec(change(), 1..6)) {
        let mut text: Vec<char> = TEMPLATE.replace("0x00", "0x10").chars().collect();
        for (place, cut, put) in changes {
            let from = text.len() * place / 1_000;
            let to = (from + cut).min(text.len());
            text.splice(from..to, put.chars());
        }
        read(&text.iter().collect::<String>())?;
    }

    #[test]
    fn no_value_panics(value in "(?s).{0,40}", at in 0..super::keys::KEYS.len()) {
        let key = super::keys::KEYS[at].path;
        let leaf = key.rsplit('.').next().unwrap_or(key);
        let quoted = format!("{leaf}: {value:?}");
        let lines: Vec<String> = TEMPLATE
            .lines()
            .map(|line| {
                let start = line.trim_start_matches([' ', '-']);
                match start.split(':').next() == Some(leaf) {
                    true => format!("{}{quoted}", &line[..line.len() - start.len()]),
                    false => line.to_owned(),
                }
            })
            .collect();
        read(&lines.join("\n"))?;
    }
}
