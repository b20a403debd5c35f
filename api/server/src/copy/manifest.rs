//! What a copy is of and what it consists of. It is written last: a folder without it is no copy.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use roster_store::migrate::KeyCheck;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The only form there is.
const FORMAT: u32 = 1;
/// The file.
const NAME: &str = "manifest.json";
/// Bytes that are hashed at once.
const PIECE: usize = 1 << 20;

/// The manifest of a copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Version of the program that made it.
    pub(crate) roster: String,
    /// Version of Postgres.
    pub(crate) postgres: String,
    /// When, by the database's clock.
    pub(crate) taken_at: DateTime<Utc>,
    pub(crate) cells: Vec<CellHead>,
    /// The key-encryption keys without which the copy cannot be read.
    pub(crate) keys: Vec<Key>,
    pub(crate) files: Vec<CopiedFile>,
}

/// Where the log of a cell ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CellHead {
    pub(crate) cell: String,
    pub(crate) epoch: i32,
    pub(crate) position: i64,
    /// Digest of the last batch, hexadecimal.
    pub(crate) digest: String,
}

/// A key-encryption key by its number, and a known value sealed under it, hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) key_no: i16,
    pub(crate) check: String,
}

/// A file of the copy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopiedFile {
    /// Below the folder of the copy.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    pub(crate) fn new(
        postgres: String,
        taken_at: DateTime<Utc>,
        cells: Vec<CellHead>,
        keys: &[KeyCheck],
        files: Vec<CopiedFile>,
    ) -> Self {
        let keys = keys.iter().map(|check| Key {
            key_no: check.key_no,
            check: hexadecimal(&check.sealed),
        });
        Self {
            format: FORMAT,
            roster: env!("CARGO_PKG_VERSION").to_owned(),
            postgres,
            taken_at,
            cells,
            keys: keys.collect(),
            files,
        }
    }

    /// Writes the manifest in one step, once everything that it names is on the disk.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let attempt = || -> std::io::Result<()> {
            let draft = folder.join(format!("{NAME}.draft"));
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(draft, folder.join(NAME))?;
            File::open(folder)?.sync_all()
        };
        attempt().with_context(|| folder.display().to_string())
    }

    /// The manifest of a copy.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let text =
            fs::read(&path).with_context(|| format!("{}: no complete copy", path.display()))?;
        let manifest: Self =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        ensure!(
            manifest.format == FORMAT,
            "{}: format {} is of another version of roster",
            path.display(),
            manifest.format
        );
        Ok(manifest)
    }
}

impl Key {
    /// As the store checks it.
    pub(crate) fn check(&self) -> anyhow::Result<KeyCheck> {
        let bytes = self.check.as_bytes().chunks(2).map(|pair| {
            let digits = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        Ok(KeyCheck {
            key_no: self.key_no,
            sealed: bytes
                .collect::<Option<_>>()
                .context("a key check of the manifest is not hexadecimal")?,
        })
    }
}

/// A file below a folder as it is on the disk, which it is flushed to; `told` hears of each piece.
pub(crate) fn hash(
    folder: &Path,
    path: PathBuf,
    mut told: impl FnMut(u64),
) -> anyhow::Result<CopiedFile> {
    let whole = folder.join(&path);
    let attempt = || -> std::io::Result<CopiedFile> {
        let mut file = File::open(&whole)?;
        file.sync_all()?;
        let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            hash.update(&piece[..read]);
            bytes += read as u64;
            told(read as u64);
        }
        let sha256 = hexadecimal(&hash.finalize());
        Ok(CopiedFile {
            path,
            bytes,
            sha256,
        })
    };
    attempt().with_context(|| whole.display().to_string())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_comes_back_from_the_manifest() {
        let check = KeyCheck {
            key_no: 2,
            sealed: vec![0, 1, 0xfe, 0xff],
        };
        let manifest = Manifest::new(
            "15".into(),
            DateTime::UNIX_EPOCH,
            Vec::new(),
            std::slice::from_ref(&check),
            Vec::new(),
        );
        assert_eq!(manifest.keys[0].check().expect("a check"), check);
        let bad = Key {
            key_no: 1,
            check: "0g".into(),
        };
        assert!(bad.check().is_err());
    }
}
