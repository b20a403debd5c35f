//! Rows that need no look at their customer: they say what they said when a file of their provider was imported before, and
//! nothing happened to the customer since.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use csv::StringRecord;
use roster_domain::customer::Customer;
use roster_domain::import::{Import, OnConflict};
use roster_domain::stream::Stream;
use roster_store::{Cell, Project};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::header::Columns;
use super::meaning::given_id;
use super::rows::Row;
use crate::CommandError;
use crate::known::{self, short};

/// Raised whenever a row could come to something else than before by the same options and schema.
const MEANING: u32 = 1;

/// What stands for a row, and for what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) record: i64,
    pub(crate) digest: Uuid,
}

/// The customers of rows that are passed over, by the rows' places.
pub(crate) type Passed = BTreeMap<usize, Uuid>;

/// What one run of an import asks about files from before.
pub(crate) struct Recall {
    /// What stands for the provider among the sources of a project.
    pub(crate) source: Uuid,
    /// Batches in a row of which no row was known.
    in_vain: AtomicU32,
}

impl Recall {
    pub(crate) fn of(project: &Project, import: &Import) -> Self {
        let provider = format!("csv {}", import.provider);
        Self {
            source: project.record_key(Uuid::nil(), &provider),
            in_vain: AtomicU32::new(0),
        }
    }

    /// What stands for rows under a schema, by their places; `None` for those that are always looked at. `schema_version` is that
    /// of the schema's stream.
    pub(crate) fn marks(
        &self,
        project: &Project,
        import: &Import,
        (columns, primary_key, schema_version): (&Columns, &str, i32),
        rows: &[Row],
    ) -> Vec<Option<Mark>> {
        // Whom a row finds is skipped there, not unchanged.
        if import.on_conflict == OnConflict::Skip {
            return vec![None; rows.len()];
        }
        let rules = (MEANING, env!("CARGO_PKG_VERSION"), Customer::STATE_VERSION);
        let how = (&import.provider, import.empty_cells, &import.header);
        let basis = serde_json::to_vec(&(rules, how, schema_version)).unwrap_or_default();
        let basis: [u8; 32] = Sha256::digest(basis).into();
        let mut said = Vec::new();
        let mut mark = |row: &Row| {
            if row.trouble.is_some() {
                return None;
            }
            let id = given_id(columns, primary_key, &row.cells)?;
            write(&row.cells, &mut said);
            Some(Mark {
                record: short(project.record_key(self.source, id)),
                digest: project.record_digest(&basis, &said),
            })
        };
        rows.iter().map(&mut mark).collect()
    }

    /// Which rows may be passed over. While nothing is known, as where a file comes for the first time, ever fewer batches are asked
    /// about.
    pub(crate) async fn passed(
        &self,
        cell: &Cell,
        marks: &[Option<Mark>],
    ) -> Result<Passed, CommandError> {
        let mut passed = Passed::new();
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        self.in_vain
            .store(in_vain.saturating_add(1), Ordering::Relaxed);
        if in_vain > 0 && !in_vain.is_power_of_two() {
            return Ok(passed);
        }
        let records: Vec<Option<i64>> = marks
            .iter()
            .map(|mark| mark.map(|mark| mark.record))
            .collect();
        for (place, row) in known::unchanged(cell, self.source, &records).await? {
            if marks[place].is_some_and(|mark| mark.digest == row.digest) {
                passed.insert(place, row.stream);
            }
        }
        if !passed.is_empty() {
            self.in_vain.store(0, Ordering::Relaxed);
        }
        Ok(passed)
    }
}

/// The cells, so that no others are the same bytes.
fn write(cells: &StringRecord, said: &mut Vec<u8>) {
    said.clear();
    for cell in cells {
        said.extend((cell.len() as u64).to_be_bytes());
        said.extend(cell.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use csv::StringRecord;

    use super::write;

    #[test]
    fn cells_are_told_apart_wherever_they_end() {
        let said = |cells: &[&str]| {
            let mut said = vec![7];
            write(&StringRecord::from(cells.to_vec()), &mut said);
            said
        };
        assert_eq!(said(&["ab", ""]), said(&["ab", ""]));
        for other in [&["a", "b"][..], &["", "ab"], &["ab"], &["ab", "", ""]] {
            assert_ne!(said(&["ab", ""]), said(other), "{other:?}");
        }
    }
}
