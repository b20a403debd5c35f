//! The file of anchors: lines that are on the disk once they are written, and never half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes at the end of the file that are read to find the last line.
const TAIL: u64 = 8 << 10;

/// An anchor file that is open for appending.
#[derive(Debug)]
pub struct AnchorFile {
    file: File,
    last: Option<String>,
}

impl AnchorFile {
    /// Opens or makes the file. What a power cut left of a line at its end is cut off: it was never confirmed.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o644)
            .open(path)?;
        if is_new && let Some(folder) = path.parent().filter(|folder| folder.is_dir()) {
            File::open(folder)?.sync_all()?;
        }
        // Another server of this machine may write to the same file: then its line is whole once the lock is ours.
        file.lock()?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole < tail.len() {
            file.set_len(from + whole as u64)?;
            file.sync_all()?;
        }
        file.unlock()?;
        let text = String::from_utf8_lossy(&tail[..whole]);
        let last = text.lines().next_back().map(str::to_owned);
        Ok(Self { file, last })
    }

    /// The last line that was in the file when it was opened.
    pub fn last_line(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Appends a line and waits until it is on the disk.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.lock()?;
        let written = self
            .file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.file.sync_data());
        self.file.unlock()?;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::AnchorFile;

    #[test]
    fn half_a_line_at_the_end_is_cut_off_and_whole_ones_stay() {
        let path = std::env::temp_dir().join(format!("roster-anchors-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\nhal").expect("a file");
        let mut file = AnchorFile::open(&path).expect("it opens");
        assert_eq!(file.last_line(), Some("two"));
        file.append("three").expect("it is written");
        let text = std::fs::read_to_string(&path).expect("a text");
        std::fs::remove_file(&path).expect("it is gone");
        assert_eq!(text, "one\ntwo\nthree\n");
    }
}
