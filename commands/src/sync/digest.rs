//! What a record says, as a keyed digest: two records with one digest come to the same for a customer at the same version.

use std::collections::BTreeSet;

use roster_domain::connection::{Connection, Setup, at_path};
use roster_domain::customer::Customer;
use roster_domain::stream::Stream;
use roster_store::Project;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::source::Record;

/// Raised whenever a record could come to something else than before by the same settings and schema.
const MEANING: u32 = 1;

/// What makes digests of the records of one connection under one schema.
pub(super) struct Digests {
    /// Everything that counts beside the record and the customer.
    basis: [u8; 32],
    /// What the mapping reads of a record.
    paths: Vec<String>,
    buffer: Vec<u8>,
}

impl Digests {
    /// `schema_version` is that of the schema's stream.
    pub(super) fn new(connection: &Connection, setup: &Setup, schema_version: i32) -> Self {
        let settings = &connection.settings;
        let rules = (MEANING, env!("CARGO_PKG_VERSION"), Customer::STATE_VERSION);
        let how = (&settings.provider, settings.on_conflict, &setup.mapping);
        let basis = serde_json::to_vec(&(rules, connection.id, how, schema_version));
        let paths: BTreeSet<&String> = setup.mapping.iter().map(|line| &line.source).collect();
        Self {
            basis: Sha256::digest(basis.unwrap_or_default()).into(),
            paths: paths.into_iter().cloned().collect(),
            buffer: Vec::new(),
        }
    }

    /// The digest of a record; `None` where it cannot be used.
    pub(super) fn of(&mut self, project: &Project, record: &Record) -> Option<Uuid> {
        if record.problem.is_some() {
            return None;
        }
        self.buffer.clear();
        let values = self.paths.iter().map(|path| at_path(&record.fields, path));
        serde_json::to_writer(&mut self.buffer, &record.id).ok()?;
        for value in values {
            self.buffer.push(b',');
            serde_json::to_writer(&mut self.buffer, value.unwrap_or(&Value::Null)).ok()?;
        }
        Some(project.record_digest(&self.basis, &self.buffer))
    }
}
