//! `pontage init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::anyhow;

use crate::config::TEMPLATE;

/// Writes the starter configuration. An existing file stays as it is.
pub(crate) fn write(path: &Path) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow!("{} exists already and is not overwritten", path.display()),
        _ => anyhow!("{} cannot be written: {error}", path.display()),
    })?;
    file.write_all(TEMPLATE.as_bytes())?;
    crate::say(&format!(
        "Wrote {0}.\nNext: fill in provider_address, then `pontage validate -c {0}` and `pontage dev -c {0}`.",
        path.display()
    ))
}
