//! Where values of a person could be left, and the search of all of it: a dump of the database, statistics, files and
//! memory of the server, and what the bus keeps.
//!
//! The dump and the log are searched as texts by [`crate::dump`]; bytes are searched here, for every spelling of a value as
//! it is, hexadecimal and in base64.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context;

use crate::cluster::cluster;
use crate::dump::{Dump, base64_cores, hex, spellings};
use crate::server::Server;

/// Bytes that are searched at once.
const PIECE: usize = 1 << 20;

/// The forms of values that were found, by place; empty is what an erasure promises.
pub type Found = BTreeMap<&'static str, BTreeSet<String>>;

/// Searches everywhere. A server that does not run has no memory to search.
pub async fn find(server: &Server, values: &[&str]) -> anyhow::Result<Found> {
    let mut found = Found::new();
    let dump = Dump::take(server.database()).await?;
    let mut connection = server.database().superuser().await?;
    let statistics = Dump::of_statistics(&mut connection).await?;
    let log = Dump::of(server.log());
    for (place, text) in [
        ("the dump", dump),
        ("the statistics", statistics),
        ("the log of the server", log),
    ] {
        for value in values {
            for form in text.forms_of(value) {
                found
                    .entry(place)
                    .or_default()
                    .insert(format!("{value}: {form}"));
            }
        }
    }
    let search = Search::of(values);
    let mut look = |place, what: BTreeSet<String>| {
        if !what.is_empty() {
            found.entry(place).or_default().extend(what);
        }
    };
    look("the files of the server", search.folder(server.folder())?);
    if let Some(folder) = &cluster().nats_dir {
        look("the bus", search.folder(folder)?);
    }
    if let Some(process) = server.process_id() {
        look("the memory of the server", search.memory(process)?);
    }
    Ok(found)
}

/// The forms in which values stand in some bytes.
pub fn forms_in(bytes: &[u8], values: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    Search::of(values).bytes(bytes, &mut found);
    found
}

/// Patterns by their first two bytes.
struct Search {
    patterns: Vec<(String, Vec<u8>)>,
    starting: Vec<Vec<usize>>,
    longest: usize,
}

impl Search {
    fn of(values: &[&str]) -> Self {
        let mut patterns = Vec::new();
        for value in values {
            for (form, spelling) in spellings(value) {
                let bytes = spelling.as_bytes();
                let mut add = |coded: &str, text: String| {
                    patterns.push((format!("{value}: {form}{coded}"), text.into_bytes()));
                };
                add("", spelling.clone());
                add(", hexadecimal", hex(bytes));
                add(", hexadecimal", hex(bytes).to_uppercase());
                for core in base64_cores(bytes) {
                    add(", base64", core);
                }
            }
        }
        let mut starting = vec![Vec::new(); 1 << 16];
        for (index, (_, pattern)) in patterns.iter().enumerate() {
            starting[usize::from(u16::from_be_bytes([pattern[0], pattern[1]]))].push(index);
        }
        let longest = patterns.iter().map(|(_, pattern)| pattern.len()).max();
        Self {
            longest: longest.unwrap_or_default(),
            patterns,
            starting,
        }
    }

    fn bytes(&self, bytes: &[u8], found: &mut BTreeSet<String>) {
        for (at, pair) in bytes.windows(2).enumerate() {
            for index in &self.starting[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                let (form, pattern) = &self.patterns[*index];
                if bytes[at..].starts_with(pattern) {
                    found.insert(form.clone());
                }
            }
        }
    }

    /// Piece by piece; what lies across two pieces is found too.
    fn stream(
        &self,
        source: &mut impl Read,
        mut left: u64,
        found: &mut BTreeSet<String>,
    ) -> std::io::Result<()> {
        let mut window = Vec::with_capacity(PIECE + self.longest);
        while left > 0 {
            let wanted = left.min(PIECE as u64);
            let kept = window.len();
            source.by_ref().take(wanted).read_to_end(&mut window)?;
            let read = (window.len() - kept) as u64;
            if read == 0 {
                break;
            }
            left -= read;
            if window[kept..].iter().any(|byte| *byte != 0) {
                self.bytes(&window, found);
            }
            window.drain(..window.len().saturating_sub(self.longest));
        }
        Ok(())
    }

    fn folder(&self, folder: &Path) -> anyhow::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(mut file) = File::open(&path) {
                    // A file that goes meanwhile was none to keep.
                    self.stream(&mut file, u64::MAX, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    /// All that a process may write to, as `/proc` shows it to whoever started it.
    fn memory(&self, process: u32) -> anyhow::Result<BTreeSet<String>> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let mut memory = File::open(format!("/proc/{process}/mem"))?;
        let mut found = BTreeSet::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(rights)) = (words.next(), words.next()) else {
                continue;
            };
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').context("a range of addresses")?;
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            memory.seek(SeekFrom::Start(from))?;
            // A region that was given back since has nothing any more.
            let _ = self.stream(&mut memory, to - from, &mut found);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{PIECE, Search, hex};

    fn found(bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        Search::of(&["Ádá Lovelace 1815"])
            .stream(&mut &*bytes, u64::MAX, &mut found)
            .expect("bytes are read");
        found
    }

    #[test]
    fn a_value_is_found_in_bytes_in_every_form() {
        let value = "Ádá Lovelace 1815";
        let forms = [
            value.to_owned(),
            value.to_lowercase(),
            "ada lovelace 1815".to_owned(),
            hex(value.as_bytes()),
            hex(value.as_bytes()).to_uppercase(),
            STANDARD.encode(format!("x{value}")),
        ];
        for form in forms {
            assert!(!found(form.as_bytes()).is_empty(), "{form}");
            let mut across = vec![7; PIECE - 3];
            across.extend_from_slice(form.as_bytes());
            assert!(!found(&across).is_empty(), "{form} across two pieces");
        }
        assert!(found("Ada Byron 1815".as_bytes()).is_empty());
    }
}
