//! The journal, and how long answers are kept in it.

use std::path::{Path, PathBuf};

use super::optional;
use super::reader::{Fields, Node, Reader};

const DEFAULT_STORE: &str = "pontage.db";
const MIB: u64 = 1024 * 1024;
/// The most that an answer's head may have.
const HEAD_BYTES: u64 = 64 * 1024;

/// How a credential that was used before is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayConfig {
    /// How long a duplicate waits for the first call's end.
    pub(crate) wait_ms: u64,
    /// The largest answer that is kept.
    pub(crate) answer_max_bytes: u64,
    /// All kept answers together.
    pub(crate) answers_max_bytes: u64,
    /// How long an answer is kept.
    pub(crate) answers_keep_s: u64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { wait_ms: 10_000, answer_max_bytes: MIB, answers_max_bytes: 256 * MIB, answers_keep_s: 3_600 }
    }
}

/// Reads `store`.
pub(super) fn path<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<PathBuf> {
    let fields = reader.section(fields, "store", "store")?;
    let default = folder.join(DEFAULT_STORE);
    optional(reader, &fields, "path", default, |reader, node| store_path(reader, node, folder))
}

fn store_path<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<PathBuf> {
    let fix = "write the path of a file, such as pontage.db; it is created if it is not there.";
    let text = reader.text(node, fix)?;
    let value = &text.value;
    // SQLite takes some names for something else than a file, and the books would be gone with the process.
    let special = value.starts_with(':') || value.starts_with("file:");
    if value.is_empty() || special || value.ends_with('/') || value.chars().any(char::is_control) {
        return reader.mistake(&node.at, format!("{} is not the path of a file.", text.shown()), fix);
    }
    Some(folder.join(value))
}

/// Reads `replay`. Who has a key is promised that the answer to an `Idempotency-Key` is kept for a day.
pub(super) fn replay<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<ReplayConfig> {
    let answers_keep_s = if reader.root().has("accounts") { 86_400 } else { ReplayConfig::default().answers_keep_s };
    let default = ReplayConfig { answers_keep_s, ..ReplayConfig::default() };
    let Some(node) = &fields.get("replay") else { return Some(default) };
    let fields = reader.fields(node, "replay")?;
    let mut number = |name: &str, default: u64, most: u64, unit: &str| {
        optional(reader, &fields, name, default, |reader, node| reader.whole(node, 0..=most, unit))
    };
    let wait_ms = number("wait_ms", default.wait_ms, 60_000, "milliseconds");
    let answer_max_bytes = number("answer_max_bytes", default.answer_max_bytes, 64 * MIB, "bytes");
    let answers_max_bytes = number("answers_max_bytes", default.answers_max_bytes, MIB * MIB, "bytes");
    let answers_keep_s = number("answers_keep_s", default.answers_keep_s, 30 * 86_400, "seconds");
    let config = ReplayConfig {
        wait_ms: wait_ms?,
        answer_max_bytes: answer_max_bytes?,
        answers_max_bytes: answers_max_bytes?,
        answers_keep_s: answers_keep_s?,
    };
    if config.answers_max_bytes < config.answer_max_bytes.saturating_add(HEAD_BYTES) {
        let what = "answers_max_bytes has no room for one answer of answer_max_bytes and its head (64 KiB).";
        return reader.mistake(&node.at, what, "raise answers_max_bytes, or lower answer_max_bytes.");
    }
    Some(config)
}
