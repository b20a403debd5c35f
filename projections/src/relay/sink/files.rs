//! The files of the sink: JSON lines, a file for so many bytes, named after the first position that it has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The longest line that is looked for at the end of a file.
const TAIL: u64 = 1 << 20;

/// Where an event is, over every life of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) epoch: i32,
    pub(super) position: i64,
}

/// The part of a line that tells where it is.
#[derive(Deserialize)]
struct Line {
    id: String,
}

impl At {
    /// Of a message; `None` where it is none of a relay.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let mut parts = line.id.rsplit(':');
        let position = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.parse().ok()?;
        Some(Self { epoch, position })
    }
}

/// The open file and its folder.
pub(super) struct Files {
    folder: PathBuf,
    largest: u64,
    open: Option<Open>,
    /// The last event that is written.
    pub(super) last: At,
}

struct Open {
    epoch: i32,
    bytes: u64,
    file: BufWriter<File>,
}

impl Files {
    /// Goes on where the newest file of a folder ends. What a crash left of a line is cut off.
    pub(super) fn open(folder: &Path, largest: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut files = Self {
            folder: folder.to_owned(),
            largest,
            open: None,
            last: At::default(),
        };
        let mut names: Vec<(At, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            names.extend(first_of(&path).map(|first| (first, path)));
        }
        names.sort();
        while let Some((first, path)) = names.pop() {
            if let Some(last) = cut(&path)? {
                files.last = last;
                let file = OpenOptions::new().append(true).open(&path)?;
                files.open = Some(Open {
                    epoch: first.epoch,
                    bytes: file.metadata()?.len(),
                    file: BufWriter::new(file),
                });
                break;
            }
            // Nothing whole was ever in it.
            fs::remove_file(&path)?;
        }
        Ok(files)
    }

    /// Adds a line.
    pub(super) fn write(&mut self, at: At, line: &[u8]) -> io::Result<()> {
        let fits = |open: &Open| open.epoch == at.epoch && open.bytes < self.largest;
        if !self.open.as_ref().is_some_and(fits) {
            self.flush()?;
            let path = self.folder.join(name_of(at));
            let file = OpenOptions::new()
                .create_new(true)
                .append(true)
                .open(path)?;
            File::open(&self.folder)?.sync_all()?;
            self.open = Some(Open {
                epoch: at.epoch,
                bytes: 0,
                file: BufWriter::new(file),
            });
        }
        if let Some(open) = &mut self.open {
            open.file.write_all(line)?;
            open.file.write_all(b"\n")?;
            open.bytes += line.len() as u64 + 1;
        }
        self.last = at;
        Ok(())
    }

    /// Returns once everything is on the disk.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.open {
            Some(open) => {
                open.file.flush()?;
                open.file.get_ref().sync_data()
            }
            None => Ok(()),
        }
    }
}

fn name_of(first: At) -> String {
    format!("events-{:06}-{:020}.jsonl", first.epoch, first.position)
}

fn first_of(path: &Path) -> Option<At> {
    let name = path.file_name()?.to_str()?;
    let (epoch, position) = name
        .strip_prefix("events-")?
        .strip_suffix(".jsonl")?
        .split_once('-')?;
    let first = At {
        epoch: epoch.parse().ok()?,
        position: position.parse().ok()?,
    };
    (name_of(first) == name).then_some(first)
}

/// Cuts half a line off the end of a file; the last whole one, if there is any.
fn cut(path: &Path) -> io::Result<Option<At>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n');
    let Some(whole) = whole else {
        return Ok(None);
    };
    if whole + 1 < tail.len() {
        file.set_len(from + whole as u64 + 1)?;
        file.sync_data()?;
    }
    let line = tail[..whole].rsplit(|byte| *byte == b'\n').next();
    match line.and_then(At::of) {
        Some(last) => Ok(Some(last)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} does not end with an event", path.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::PathBuf;

    use super::{At, Files};

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("roster-sink-{}-{name}", std::process::id()))
    }

    fn line(epoch: i32, position: i64) -> Vec<u8> {
        format!("{{\"id\":\"a:b:{epoch}:{position}\"}}").into_bytes()
    }

    #[test]
    fn files_go_on_after_the_last_whole_line() {
        let folder = folder("whole");
        let mut files = Files::open(&folder, 30).expect("a folder");
        assert_eq!(files.last, At::default());
        let at = |epoch, position| At { epoch, position };
        for (epoch, position) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
            let written = files.write(at(epoch, position), &line(epoch, position));
            written.expect("written");
        }
        files.flush().expect("flushed");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| {
                entry
                    .expect("a file")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        names.sort();
        // Two lines of 17 bytes fill a file, and no file has two epochs.
        assert_eq!(
            names,
            [
                "events-000001-00000000000000000001.jsonl",
                "events-000001-00000000000000000003.jsonl",
                "events-000002-00000000000000000001.jsonl",
            ]
        );
        let newest = folder.join(&names[2]);
        let mut torn = OpenOptions::new()
            .append(true)
            .open(&newest)
            .expect("a file");
        torn.write_all(&line(2, 3)[..9]).expect("written");
        let mut files = Files::open(&folder, 1_000).expect("a folder");
        assert_eq!(files.last, at(2, 2));
        files.write(at(2, 3), &line(2, 3)).expect("written");
        files.flush().expect("flushed");
        let text = fs::read(&newest).expect("a file");
        let whole: Vec<u8> = [1, 2, 3]
            .into_iter()
            .flat_map(|position| [line(2, position), b"\n".to_vec()].concat())
            .collect();
        assert_eq!(text, whole);
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_file_of_something_else_is_not_gone_on_with() {
        let folder = folder("other");
        fs::create_dir_all(&folder).expect("a folder");
        let name = "events-000001-00000000000000000001.jsonl";
        fs::write(folder.join(name), "hello\n").expect("written");
        assert!(Files::open(&folder, 40).is_err());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
