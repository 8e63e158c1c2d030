//! `docs/PROTOCOL.md` and the tests' sources, as the tests of the page read them.

use std::path::{Path, PathBuf};

/// A fenced block of the page.
pub(crate) struct Block {
    /// Of the first line within.
    pub(crate) line: usize,
    /// What follows the three backticks.
    pub(crate) info: String,
    /// Without the fences.
    pub(crate) lines: Vec<String>,
}

/// The page.
pub(crate) fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PROTOCOL.md");
    std::fs::read_to_string(path).expect("docs/PROTOCOL.md is there")
}

/// Its fenced blocks of one language.
pub(crate) fn blocks(language: &str) -> Vec<Block> {
    let page = page();
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|&line| line != "```");
        let lines = inside.map(str::to_owned).collect();
        if info.split_whitespace().next() == Some(language) {
            blocks.push(Block { line: number + 2, info: info.to_owned(), lines });
        }
    }
    blocks
}

/// One space for every space and line's end, except before a heading.
pub(crate) fn flatten(text: &str) -> String {
    let mut flat = String::new();
    for line in text.lines() {
        flat.push(if line.starts_with("## ") { '\n' } else { ' ' });
        flat.push_str(line.trim());
    }
    flat.replace("  ", " ")
}

/// Neighbouring lines of `/// > ` are one quotation.
pub(crate) fn quotations(source: &str) -> Vec<String> {
    let mut quotations: Vec<String> = Vec::new();
    let mut open = false;
    for line in source.lines() {
        match line.trim_start().strip_prefix("/// > ") {
            Some(words) if open => {
                let last = quotations.last_mut().expect("one is open");
                last.push(' ');
                last.push_str(words.trim());
            }
            Some(words) => quotations.push(words.trim().to_owned()),
            None => {}
        }
        open = line.trim_start().starts_with("/// > ");
    }
    quotations
}

/// All sources below a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files.sort();
    files
}
