//! The file as a YAML tree in which every node knows its line. Bounded in depth and size; it knows no key of ours.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode, MarkedYaml, ScanError, YamlData};

/// Block collections nest by indentation, and saphyr reads them by recursion: without a bound, a megabyte of `- - - ` ends the process.
const MAX_INDENT_COLUMNS: usize = 64;
/// Enough for 64 columns of blocks and saphyr's own limit of 255 flow collections, also without optimisation.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Our deepest key has seven levels.
const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 100_000;
/// Each costs one more reading of the file.
const MAX_TWICE: usize = 32;

/// One YAML document and the text that it was read from.
#[derive(Debug)]
pub(super) struct Document {
    root: MarkedYaml<'static>,
    /// Markers count characters, not bytes.
    source: Vec<char>,
    /// Where the keys start that repeat an earlier key of their mapping.
    twice: BTreeSet<usize>,
}

/// Why a text is not one YAML document that we read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: Option<usize>,
    pub(super) what: String,
    pub(super) fix: &'static str,
}

impl Broken {
    fn at(line: usize, what: impl Into<String>, fix: &'static str) -> Self {
        Self { line: Some(line.max(1)), what: what.into(), fix }
    }
}

/// Reads one document. It does not stop at a repeated key: [`Document::is_repeated`] tells.
pub(super) fn read(text: &str) -> Result<Document, Broken> {
    check_indentation(text)?;
    let source: Vec<char> = text.chars().collect();
    // A thread for its stack only: how deep saphyr recurses on 64 columns and 255 brackets is more than a test thread has.
    let reader =
        std::thread::Builder::new().name("config".to_owned()).stack_size(STACK_BYTES).spawn(move || read_deep(source));
    let read = reader.ok().and_then(|reader| reader.join().ok());
    read.unwrap_or_else(|| {
        Err(Broken {
            line: None,
            what: "the YAML reader failed on this file.".to_owned(),
            fix: "start from the file that `pontage init` writes, and report this file as a defect.",
        })
    })
}

impl Document {
    pub(super) fn root(&self) -> &MarkedYaml<'static> {
        &self.root
    }

    /// Whether this key repeats an earlier key of its mapping.
    pub(super) fn is_repeated(&self, key: &MarkedYaml<'static>) -> bool {
        self.twice.contains(&key.span.start.index())
    }

    /// What the file says at a node: `0.010` for the number that YAML takes for 0.01.
    pub(super) fn source_of(&self, node: &MarkedYaml<'static>) -> String {
        let (from, to) = (node.span.start.index(), node.span.end.index());
        let written = self.source.get(from..to).unwrap_or_default();
        written.iter().collect::<String>().trim().to_owned()
    }

    /// Whether the node is, or carries, an anchor, an alias or a tag. Plain values cannot start with these characters.
    pub(super) fn is_indirect(&self, node: &MarkedYaml<'static>) -> bool {
        let marked = self.source.get(node.span.start.index());
        let direct = matches!(node.data, YamlData::Value(_) | YamlData::Sequence(_) | YamlData::Mapping(_));
        !direct || matches!(marked, Some('&' | '*' | '!'))
    }
}

fn check_indentation(text: &str) -> Result<(), Broken> {
    let opens = |c: char| matches!(c, ' ' | '\t' | '-' | '?' | ':');
    let mut line = 0_usize;
    // A lone carriage return is a line break in YAML, too; the pair counts once.
    for written in text.split('\n') {
        line = line.saturating_add(1);
        for part in written.split('\r') {
            let rest = part.trim_start_matches(opens);
            let lead = &part[..part.len() - rest.len()];
            let says_nothing = (rest.is_empty() || rest.starts_with('#')) && lead.trim().is_empty();
            if lead.len() > MAX_INDENT_COLUMNS && !says_nothing {
                return Err(Broken::at(
                    line,
                    format!("the line is indented by more than {MAX_INDENT_COLUMNS} columns."),
                    "indent by two columns for each level.",
                ));
            }
        }
    }
    Ok(())
}

fn read_deep(source: Vec<char>) -> Result<Document, Broken> {
    let mut unique = source.clone();
    let mut twice = BTreeSet::new();
    let mut documents = loop {
        match MarkedYaml::load_from_iter(unique.iter().copied()) {
            Ok(documents) => break documents,
            Err(error) => {
                rename_repeated(&error, &mut unique, &mut twice).ok_or_else(|| broken(&error))?;
            }
        }
    };
    if let Some(second) = documents.get(1) {
        return Err(Broken::at(
            second.span.start.line(),
            "a second YAML document starts here.",
            "keep one document: remove the `---` line and what follows.",
        ));
    }
    let root = documents
        .pop()
        .ok_or_else(|| Broken::at(1, "the file is empty.", "start from the file that `pontage init` writes."))?;
    measure(&root, 0, &mut 0)?;
    Ok(Document { root, source, twice })
}

/// saphyr stops at the first key that is given twice, which would hide every other mistake. One character of the second key becomes
/// one that nobody writes, no column moves, and the file is read again. `None` when the error is another one, or too many.
fn rename_repeated(error: &ScanError, unique: &mut [char], twice: &mut BTreeSet<usize>) -> Option<()> {
    if error.info() != "duplicated key in mapping" || twice.len() >= MAX_TWICE {
        return None;
    }
    let start = error.marker().index();
    let quoted = matches!(unique.get(start), Some('"' | '\''));
    let letter = unique.get_mut(start.checked_add(usize::from(quoted))?)?;
    if !letter.is_alphanumeric() && *letter != '_' {
        return None;
    }
    let private_use = 0xE000_u32.checked_add(u32::try_from(twice.len()).ok()?)?;
    *letter = char::from_u32(private_use)?;
    twice.insert(start).then_some(())
}

fn broken(error: &ScanError) -> Broken {
    Broken::at(
        error.marker().line(),
        format!("the file is not YAML: {}.", error.info()),
        "look for a bracket, quote, colon or indentation that is wrong on this line or above it.",
    )
}

fn measure(node: &MarkedYaml<'static>, depth: usize, nodes: &mut usize) -> Result<(), Broken> {
    *nodes = nodes.saturating_add(1);
    let line = node.span.start.line();
    if *nodes > MAX_NODES {
        let what = format!("the file holds more than {MAX_NODES} values.");
        return Err(Broken::at(line, what, "a configuration needs far fewer."));
    }
    if depth > MAX_DEPTH {
        let what = format!("values are nested more than {MAX_DEPTH} deep.");
        return Err(Broken::at(line, what, "no key of ours lies that deep."));
    }
    let beneath = depth.saturating_add(1);
    match &node.data {
        YamlData::Sequence(items) => items.iter().try_for_each(|item| measure(item, beneath, nodes)),
        YamlData::Mapping(entries) => entries.iter().try_for_each(|(key, value)| {
            measure(key, beneath, nodes)?;
            measure(value, beneath, nodes)
        }),
        YamlData::Tagged(_, tagged) => measure(tagged, beneath, nodes),
        YamlData::Representation(..) | YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => Ok(()),
    }
}
