//! Records that need no look at their customer: they say what they said before, and nothing happened to the customer since.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::digest::Digests;
use super::page::{Desk, internal};
use super::source::Record;
use crate::CommandError;
use crate::known::{self, Known, short};
use crate::schema::ActiveSchema;

/// What stands for records, and for what they say.
pub(super) struct Said {
    pub(super) keys: Vec<Uuid>,
    /// `None` where a record is always looked at, and in runs that ask for changes only.
    pub(super) digests: Vec<Option<Uuid>>,
}

/// The rows of records that are passed over, by the records' places.
pub(super) type Passed = BTreeMap<usize, Known>;

impl Desk {
    /// What stands for records and what they say under a schema.
    pub(super) async fn said(
        &self,
        active: &ActiveSchema,
        records: &Arc<Vec<Record>>,
    ) -> Result<Said, CommandError> {
        let setup = self.connection.settings.setup.known();
        let setup = setup.filter(|_| self.run.state.is_full);
        let mut digests =
            setup.map(|setup| Digests::new(&self.connection, setup, active.stream_version));
        let (project, connection) = (Arc::clone(&self.project), self.connection.id);
        let records = Arc::clone(records);
        let read = move || {
            let keys = records
                .iter()
                .map(|record| project.record_key(connection, &record.id));
            let said = records
                .iter()
                .map(|record| digests.as_mut()?.of(&project, record));
            Said {
                keys: keys.collect(),
                digests: said.collect(),
            }
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| internal())
    }

    /// Which records may be passed over.
    pub(super) async fn recall(&self, said: &Said) -> Result<Passed, CommandError> {
        let mut passed = Passed::new();
        // Without rows of its own a connection knows nothing.
        if !self.run.state.is_full || self.run.state.rows_before == 0 {
            return Ok(passed);
        }
        let records: Vec<Option<i64>> = said.keys.iter().map(|key| Some(short(*key))).collect();
        let rows = known::unchanged(self.directory.cell(), self.connection.id, &records).await?;
        for (place, row) in rows {
            if said.digests[place] == Some(row.digest) {
                passed.insert(place, row);
            }
        }
        Ok(passed)
    }
}
