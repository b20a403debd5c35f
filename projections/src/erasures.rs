//! The projection `erasures`: the ledger of erased people, a file outside the database.
//!
//! A copy of the database from before an erasure has the person again; the ledger is what the copy is held against. It has
//! ids only, one JSON object a line, and is only ever added to: the file is flushed to the disk before the checkpoint
//! moves, so that a crash may double a line and never loses one. Files of several servers add up to one ledger.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use roster_store::{Cell, Heading, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::page::PageError;
use crate::runner::{IDLE, Item, LEASE_SECONDS, Projection, Step};

/// How long events are gathered before the checkpoint moves over them; not at all behind a full page.
const GATHER: Duration = Duration::from_millis(250);
/// The most events of a page. Their headings are all that is read.
const PAGE: i64 = 5_000;

/// One line of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum LedgerLine {
    /// A person was erased.
    Erased {
        /// The cell.
        cell: String,
        /// The life of its log.
        epoch: i32,
        /// The project's number.
        project_no: i32,
        /// The person's stream, which is the opaque reference of the API.
        stream_id: Uuid,
        /// Where the erasure stands in the log.
        position: i64,
        /// When, by the database's clock.
        time: DateTime<Utc>,
        /// Whether imports and syncs are to skip the person's id from then on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        suppressed: bool,
    },
    /// A restored log was checked and serves from here on.
    Epoch {
        /// The cell.
        cell: String,
        /// The life of its log that began.
        epoch: i32,
        /// When.
        time: DateTime<Utc>,
    },
}

/// What ledger files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Every line that can be read, in the order of the files.
    pub lines: Vec<LedgerLine>,
    /// Lines that a crash cut off; what they were to say is said again in a later one.
    pub torn: usize,
}

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// A whole line of it.
    #[error("{0}, line {1}, is none of a ledger")]
    Line(String, usize),
}

impl Ledger {
    /// Adds the lines of a file.
    pub fn read(&mut self, path: &Path) -> Result<(), LedgerError> {
        let name = path.display().to_string();
        let failed = |error| LedgerError::File(name.clone(), error);
        let file = BufReader::new(File::open(path).map_err(failed)?);
        for (number, line) in (1..).zip(file.split(b'\n')) {
            let line = line.map_err(failed)?;
            match serde_json::from_slice(&line) {
                Ok(line) => self.lines.push(line),
                Err(_) if line.is_empty() => {}
                Err(_) if line.last() != Some(&b'}') => self.torn += 1,
                Err(_) => return Err(LedgerError::Line(name, number)),
            }
        }
        Ok(())
    }
}

/// Adds lines to a ledger file, which is made where there is none, and returns once they are on the disk.
///
/// # Errors
/// Whatever the file system refuses. Nothing or a part of the lines is then written.
pub fn append(path: &Path, lines: &[LedgerLine]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut text = Vec::new();
    if has_open_end(&mut file)? {
        text.push(b'\n');
    }
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    if let Some(folder) = path.parent().filter(|_| is_new) {
        // The name of a new file is the folder's to keep.
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Whether a crash cut off the last line.
fn has_open_end(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl Item for Heading {
    fn position(&self) -> i64 {
        self.position
    }

    fn stream(&self) -> Uuid {
        self.stream
    }

    fn project_no(&self) -> i32 {
        self.project_no
    }

    fn scrubs(&self) -> bool {
        self.name() == Some("customer.erased")
    }
}

pub(crate) struct Erasures {
    cell: Cell,
    head: watch::Receiver<i64>,
    path: PathBuf,
    /// Whether the file was written to since the lease was taken: a ledger without lines is one all the same.
    is_there: bool,
    /// When the next page may be read.
    due: Instant,
}

impl Erasures {
    pub(crate) fn new(cell: Cell, path: PathBuf) -> Self {
        Self {
            head: cell.head(),
            cell,
            path,
            is_there: false,
            due: Instant::now(),
        }
    }

    /// Whether the append of an erasure suppressed the id too: that stands right before it.
    async fn is_suppressed(&self, erased: &Heading) -> Result<bool, StoreError> {
        let before = self.cell.read_headings(erased.position - 2, 1).await?;
        Ok(before.first().is_some_and(|before| {
            before.name() == Some("suppression.added")
                && before.position + 1 == erased.position
                && before.project_no == erased.project_no
                && before.recorded_at == erased.recorded_at
        }))
    }

    async fn write(&mut self, lines: Vec<LedgerLine>) -> Result<(), PageError> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, &lines)).await;
        match written {
            Ok(Ok(())) => {
                self.is_there = true;
                Ok(())
            }
            Ok(Err(error)) => Err(PageError::Ledger(error)),
            Err(error) => Err(PageError::Ledger(io::Error::other(error))),
        }
    }
}

impl Projection for Erasures {
    const NAME: &'static str = "erasures";
    const VERSION: i32 = 1;
    type Item = Heading;

    fn forget(&mut self) {
        self.is_there = false;
    }

    /// The limit follows from how long pages took, and these took mostly the time of gathering: it is not heeded.
    async fn read(&mut self, after: i64, _: i64) -> Result<Vec<Heading>, StoreError> {
        tokio::time::sleep_until(self.due).await;
        self.head.borrow_and_update();
        let page = self.cell.read_headings(after, PAGE).await?;
        self.due = Instant::now();
        if i64::try_from(page.len()).is_ok_and(|events| events < PAGE) {
            self.due += GATHER;
        }
        Ok(page)
    }

    async fn wait(&mut self, position: i64) {
        let more = self.head.wait_for(|head| *head > position);
        // Another server's appends are seen by looking; a closed channel means the same.
        let _ = tokio::time::timeout(IDLE, more).await;
    }

    async fn apply(&mut self, page: &[&Heading], step: Step) -> Result<(), PageError> {
        if let Some(unknown) = page.iter().find(|heading| heading.name().is_none()) {
            // It may be an erasure, which a newer build knows.
            return Err(PageError::Unknown {
                type_no: unknown.type_no,
                type_version: unknown.type_version,
            });
        }
        let erased: Vec<&&Heading> = page.iter().filter(|heading| heading.scrubs()).collect();
        if !erased.is_empty() || !self.is_there {
            let epoch = self.cell.epoch().await?;
            let mut lines = Vec::with_capacity(erased.len());
            for heading in erased {
                lines.push(LedgerLine::Erased {
                    cell: self.cell.name().to_owned(),
                    epoch,
                    project_no: heading.project_no,
                    stream_id: heading.stream,
                    position: heading.position,
                    time: heading.recorded_at,
                    suppressed: self.is_suppressed(heading).await?,
                });
            }
            self.write(lines).await?;
        }
        let kept: bool = sqlx::query_scalar("SELECT log_advance_checkpoint($1, $2, $3, $4, $5)")
            .bind(step.name)
            .bind(step.epoch)
            .bind(step.from)
            .bind(step.to)
            .bind(LEASE_SECONDS)
            .fetch_one(self.cell.pool())
            .await?;
        if kept { Ok(()) } else { Err(PageError::Fenced) }
    }

    async fn refold(&mut self, _: i32, stream: Uuid, step: Step) -> Result<(), PageError> {
        let events = self.cell.read_stream(stream, 0).await?;
        let headings: Vec<Heading> = events
            .iter()
            .map(Heading::of)
            .filter(|heading| heading.position <= step.to)
            .collect();
        self.apply(&headings.iter().collect::<Vec<_>>(), step).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(position: i64) -> LedgerLine {
        LedgerLine::Erased {
            cell: "main".into(),
            epoch: 1,
            project_no: 7,
            stream_id: Uuid::from_u128(5),
            position,
            time: DateTime::UNIX_EPOCH,
            suppressed: position == 2,
        }
    }

    fn file(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("roster-ledger-{}", std::process::id()));
        let path = folder.join(name);
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn lines_come_back_as_they_were_written() {
        let path = file("whole.jsonl");
        append(&path, &[]).expect("a file");
        append(&path, &[line(1), line(2)]).expect("written");
        append(&path, &[line(3)]).expect("written");
        let mut ledger = Ledger::default();
        ledger.read(&path).expect("a ledger");
        assert_eq!(
            (ledger.lines, ledger.torn),
            (vec![line(1), line(2), line(3)], 0)
        );
        let text = std::fs::read_to_string(&path).expect("text");
        let first = text.lines().next().expect("a line");
        assert_eq!(
            first,
            r#"{"what":"erased","cell":"main","epoch":1,"project_no":7,"stream_id":"00000000-0000-0000-0000-000000000005","position":1,"time":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn a_line_that_was_cut_off_costs_no_other() {
        let path = file("torn.jsonl");
        append(&path, &[line(1)]).expect("written");
        let mut torn = OpenOptions::new().append(true).open(&path).expect("a file");
        torn.write_all(br#"{"what":"erased","cell":"ma"#)
            .expect("written");
        append(&path, &[line(2)]).expect("written");
        let mut ledger = Ledger::default();
        ledger.read(&path).expect("a ledger");
        assert_eq!((ledger.lines, ledger.torn), (vec![line(1), line(2)], 1));
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused() {
        let path = file("other.jsonl");
        append(&path, &[line(1)]).expect("written");
        let mut other = OpenOptions::new().append(true).open(&path).expect("a file");
        other.write_all(b"{\"some\":\"thing\"}\n").expect("written");
        let refused = Ledger::default().read(&path).expect_err("no ledger");
        assert!(refused.to_string().ends_with("line 2, is none of a ledger"));
        assert!(matches!(
            Ledger::default().read(&file("absent.jsonl")),
            Err(LedgerError::File(..))
        ));
    }
}
