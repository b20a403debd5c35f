//! The schema that reads judge by: the one that the read side shows, compiled once for each version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roster_domain::schema::{Definition, Schema};
use roster_projections::schemas;

use crate::{ApiError, App};

/// Compiled schemas that are kept; all are dropped when there are more.
const KEPT: usize = 4096;

/// Compiled schemas by project.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<HashMap<i32, Arc<Schema>>>);

impl App {
    /// The schema of a project as reads show it; the default one where none was written, or for no project.
    pub async fn schema(&self, project_no: Option<i32>) -> Result<Arc<Schema>, ApiError> {
        // Projects are numbered from 1.
        let project_no = project_no.unwrap_or(0);
        let row = match project_no {
            0 => None,
            number => schemas::get(self.directory().cell().pool(), number).await?,
        };
        let (definition, version) = row.map_or_else(
            || (Definition::default(), 0),
            |row| (row.definition, row.version),
        );
        let known = self
            .schemas()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project_no)
            .cloned();
        if let Some(known) = known.filter(|known| known.version() == version) {
            return Ok(known);
        }
        let compiled = Schema::compile(definition, version);
        let compiled =
            compiled.map_err(|_| ApiError::internal("a stored schema does not compile"))?;
        let compiled = Arc::new(compiled);
        let mut kept = self
            .schemas()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(project_no, Arc::clone(&compiled));
        Ok(compiled)
    }
}
