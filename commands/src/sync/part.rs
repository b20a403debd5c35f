//! Pages in the pieces that are appended. Where one is too large for an append, how much of it is written stands beside the place
//! at which it is read, so that a run that is killed within it counts nobody twice.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::gather::Batch;
use super::source::Record;

/// The member that tells a place within a page from a source's own.
const WRITTEN: &str = "written_of_page";

/// The records at the beginning of a page that are written, and who they are.
#[derive(Clone, Debug, Default)]
struct Part {
    records: usize,
    digest: Sha256,
}

impl Part {
    /// Takes more of the page in.
    fn add(&mut self, records: &[Record]) {
        self.records += records.len();
        for record in records {
            self.digest.update(record.id.len().to_le_bytes());
            self.digest.update(&record.id);
        }
    }

    fn digest(&self) -> String {
        let digest = self.digest.clone().finalize();
        format!("{digest:x}")
    }

    /// The place of a page of which this part is written.
    fn place(&self, page: Option<&Value>) -> Value {
        json!({WRITTEN: {"page": page, "records": self.records, "digest": self.digest()}})
    }
}

/// What a place within a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    records: usize,
    digest: String,
}

impl Written {
    /// Where a page is read, and what of it is written.
    pub(super) fn of(place: Option<Value>) -> (Option<Value>, Option<Self>) {
        let Some(written) = place.as_ref().and_then(|place| place.get(WRITTEN)) else {
            return (place, None);
        };
        let records = written["records"].as_u64().unwrap_or_default();
        let known = Self {
            records: usize::try_from(records).unwrap_or_default(),
            digest: written["digest"].as_str().unwrap_or_default().to_owned(),
        };
        let page = written["page"].clone();
        (Some(page).filter(|page| !page.is_null()), Some(known))
    }

    /// The part of these records that is written; nothing where they are others than before, so that they are all looked at.
    fn part_of(&self, records: &[Record]) -> Part {
        let mut part = Part::default();
        part.add(records.get(..self.records).unwrap_or_default());
        if part.digest() == self.digest {
            part
        } else {
            Part::default()
        }
    }
}

/// Records of one append, and what is recorded with them.
pub(super) struct Piece {
    pub(super) records: Arc<Vec<Record>>,
    /// Pages that end with it.
    pub(super) pages: u64,
    /// Where the run goes on behind it; `None` after the clean end of the walk.
    pub(super) place: Option<Value>,
    /// The cursor of its pages.
    pub(super) cursor: Option<Value>,
    pub(super) ends_walk: bool,
}

impl Piece {
    /// Whether pages end with it. A part of a page is never recorded by itself: where it changes nothing, it waits for the rest.
    pub(super) const fn is_whole(&self) -> bool {
        self.pages > 0
    }
}

/// The pieces of pages that were read at a place, of which some may be written. Several pages are one piece; a page by itself is
/// cut so that no piece has more records than `most`.
pub(super) fn pieces(
    batch: Batch,
    at: Option<&Value>,
    written: Option<&Written>,
    most: usize,
) -> VecDeque<Piece> {
    let mut records = batch.records;
    let mut part = written.map_or_else(Part::default, |written| written.part_of(&records));
    records.drain(..part.records);
    let mut pieces = VecDeque::new();
    while batch.pages == 1 && records.len() > most {
        let rest = records.split_off(most);
        part.add(&records);
        pieces.push_back(Piece {
            records: Arc::new(std::mem::replace(&mut records, rest)),
            pages: 0,
            place: Some(part.place(at)),
            cursor: None,
            ends_walk: false,
        });
    }
    pieces.push_back(Piece {
        records: Arc::new(records),
        pages: batch.pages,
        ends_walk: batch.place.is_none(),
        place: batch.place,
        cursor: batch.cursor.filter(|cursor| !cursor.is_null()),
    });
    pieces
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use serde_json::json;

    use super::{Part, Written, pieces};
    use crate::sync::gather::Batch;
    use crate::sync::source::Record;

    fn records(ids: &[&str]) -> Vec<Record> {
        let record = |id: &&str| Record {
            id: (*id).to_owned(),
            ..Record::default()
        };
        ids.iter().map(record).collect()
    }

    #[test]
    fn a_part_is_known_again_and_another_page_is_none_of_it() {
        let page = records(&["a", "b", "c"]);
        let mut part = Part::default();
        part.add(&page[..2]);
        for place in [None, Some(json!({"at": 7}))] {
            let (at, written) = Written::of(Some(part.place(place.as_ref())));
            assert_eq!(at, place);
            let written = written.expect("a part");
            assert_eq!(written.part_of(&page).records, 2);
            for other in [&["b", "a", "c"][..], &["ab", ""], &["a"], &[]] {
                assert_eq!(written.part_of(&records(other)).records, 0, "{other:?}");
            }
        }
        assert_eq!(Written::of(Some(json!(7))), (Some(json!(7)), None));
        assert_eq!(Written::of(None), (None, None));
    }

    #[test]
    fn a_large_page_is_cut_and_goes_on_behind_what_is_written() {
        let batch = || Batch {
            records: records(&["a", "b", "c", "d", "e"]),
            pages: 1,
            place: Some(json!("next")),
            cursor: None,
        };
        let sizes = |pieces: &VecDeque<super::Piece>| -> Vec<usize> {
            pieces.iter().map(|piece| piece.records.len()).collect()
        };
        let at = json!("here");
        let all = pieces(batch(), Some(&at), None, 2);
        assert_eq!(sizes(&all), [2, 2, 1]);
        assert_eq!(all[2].place, Some(json!("next")));
        let (place, written) = Written::of(all[1].place.clone());
        assert_eq!(place, Some(at));
        let rest = pieces(batch(), place.as_ref(), written.as_ref(), 2);
        assert_eq!(
            (sizes(&rest), rest[0].records[0].id.as_str()),
            (vec![1], "e")
        );
        let several = Batch {
            pages: 2,
            ..batch()
        };
        assert_eq!(sizes(&pieces(several, None, None, 2)), [5]);
    }
}
