//! What people read: tables on standard output, the figures as JSON, and a page with tables and plots. It reads
//! [`results`](crate::results) and judges nothing: what is enough is for docs/BENCHMARKS.md. Called by `main`.

mod amount;
mod page;
mod plot;
mod plots;
mod summary;
mod text;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::results::Run;

/// The run as tables, for a terminal.
pub(crate) fn text(run: &Run) -> String {
    text::render(run)
}

/// Writes all figures, as JSON.
pub(crate) fn write_json(run: &Run, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, run)?;
    writeln!(file)?;
    file.flush()
}

/// Writes one page, complete in itself.
pub(crate) fn write_html(run: &Run, path: &Path) -> io::Result<()> {
    fs::write(path, page::render(run))
}
