//! Trying a connection before it is saved or run: a test, and a preview of the first records. Nothing is written.

use std::sync::Arc;
use std::time::Duration;

use roster_domain::connection::Settings;
use roster_domain::schema::{Definition, Schema};
use roster_domain::value::Profile;
use roster_store::Project;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::meaning::read;
use super::settings::{ConnectionInput, opened, redacted, settle};
use super::source::{Check, Record, Session, SourceError, Walk};
use crate::authority::Operation;
use crate::import::meaning::{Meaning, Refusal};
use crate::import::people::People;
use crate::{CommandError, Context, Directory, NotFound};

/// How long a source may take to answer a test or a preview.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is tried: a saved connection, or one as it would be saved.
#[derive(Clone, Debug)]
pub enum TrialInput {
    /// By its public id.
    Saved(String),
    /// As it would be saved; with an id what it leaves out is taken from there.
    Unsaved(Box<ConnectionInput>),
}

/// What a test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What was tried, in that order; the first that fails is the last.
    pub checks: Vec<Check>,
    /// How long the source took, in milliseconds.
    pub latency_ms: u64,
}

impl Trial {
    /// Whether everything worked.
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// The first records of a source, mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// The names of the records' members, in the order in which they first came.
    pub columns: Vec<String>,
    /// The records.
    pub rows: Vec<PreviewRow>,
}

/// A record, and what a run would make of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviewRow {
    /// As the source has it.
    pub source: Map<String, Value>,
    /// The id of the customer.
    pub customer_user_id: Option<String>,
    /// The values that it would set.
    pub profile: Profile,
    /// `create`, `update`, `unchanged` or `fail`.
    pub action: &'static str,
    /// What is wrong: field, code and text.
    pub errors: Vec<(Option<String>, String, String)>,
}

impl std::fmt::Debug for PreviewRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PreviewRow({})", self.action)
    }
}

impl Directory {
    /// Tries whether a connection works: its credentials and its mapping. Writes nothing.
    ///
    /// # Errors
    /// What saving it would be refused with, for an unsaved one.
    pub async fn test_connection(
        &self,
        ctx: &Context,
        input: &TrialInput,
    ) -> Result<Trial, CommandError> {
        ctx.authorise(Operation::TestConnection)?;
        let project = self.cell().project(&ctx.scope).await?;
        let (settings, _) = self.tried(project.as_deref(), input).await?;
        let mut session = self.session(&settings)?;
        let begun = Instant::now();
        let checks = timeout(PATIENCE, session.check()).await;
        let mut checks = checks.unwrap_or_else(|_| {
            vec![Check {
                name: "access",
                ok: false,
                message: "the source did not answer in time".into(),
            }]
        });
        for check in &mut checks {
            check.message = redacted(&settings, &check.message);
        }
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Trial { checks, latency_ms })
    }

    /// The first records of a source and what a run would make of them. Writes nothing, moves no cursor.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] under `source` where the source cannot be read, with its own words.
    pub async fn preview_connection(
        &self,
        ctx: &Context,
        input: &TrialInput,
        limit: usize,
    ) -> Result<Preview, CommandError> {
        ctx.authorise(Operation::PreviewConnection)?;
        let project = self.cell().project(&ctx.scope).await?;
        let (settings, schema) = self.tried(project.as_deref(), input).await?;
        let mut session = self.session(&settings)?;
        let walk = Walk {
            limit: Some(limit),
            ..Walk::default()
        };
        let page = timeout(PATIENCE, first_page(&mut *session, &walk)).await;
        let page = page.unwrap_or_else(|_| {
            let message = "the source did not answer in time";
            Err(SourceError::Transient(message.into()))
        });
        let records = page.map_err(|error| {
            let message = redacted(&settings, &error.to_string());
            CommandError::invalid(roster_domain::Problem::new(
                ["source"],
                "source_unreadable",
                message,
            ))
        })?;
        let records: Vec<Record> = records.into_iter().take(limit).collect();
        self.preview(project.as_deref(), &settings, &schema, records)
            .await
    }

    /// What is tried, and the schema by which: the default one where there is no such project, which is not made for this.
    async fn tried(
        &self,
        project: Option<&Project>,
        input: &TrialInput,
    ) -> Result<(Settings, Arc<Schema>), CommandError> {
        let schema = match project {
            Some(project) => Arc::clone(&self.present_schema(project).await?.schema),
            None => Schema::compile(Definition::default(), 0)
                .map(Arc::new)
                .map_err(|_| CommandError::internal("the default schema does not compile"))?,
        };
        let saved = async |id: &str| match project {
            Some(project) => Ok(self.connection(project, id).await?.into_state().settings),
            None => Err(CommandError::NotFound(NotFound::Connection)),
        };
        let settings = match input {
            TrialInput::Saved(id) => {
                let settings = saved(id).await?;
                let setup = settings.setup.known();
                let mapping = setup.map(|setup| setup.mapping.as_slice());
                super::settings::check_mapping(mapping.unwrap_or_default(), &schema)
                    .map_err(CommandError::Invalid)?;
                settings
            }
            TrialInput::Unsaved(input) => {
                let known = match &input.connection_id {
                    Some(id) => Some(saved(id).await?),
                    None => None,
                };
                let mut input = input.clone();
                if let Some(known) = known.as_ref().filter(|_| input.provider.is_empty()) {
                    input.provider.clone_from(&known.provider);
                }
                let known = known.filter(|known| known.provider == input.provider);
                input.name = input.name.or_else(|| Some("trial".into()));
                let source = self.source(&input.provider)?;
                settle(&input, known.as_ref(), &**source, &schema)?
            }
        };
        Ok((settings, schema))
    }

    fn session(&self, settings: &Settings) -> Result<Box<dyn Session>, CommandError> {
        let source = self.source(&settings.provider)?;
        source.open(opened(settings)).map_err(CommandError::Invalid)
    }

    async fn preview(
        &self,
        project: Option<&Project>,
        settings: &Settings,
        schema: &Schema,
        records: Vec<Record>,
    ) -> Result<Preview, CommandError> {
        let setup = settings.setup.known().cloned().unwrap_or_default();
        let mut preview = Preview::default();
        let read_all: Vec<_> = records
            .iter()
            .map(|record| read(&setup.mapping, schema, record))
            .collect();
        let ids: Vec<String> = read_all
            .iter()
            .map(|(id, _)| id.clone().unwrap_or_default())
            .collect();
        let people = match project {
            Some(project) => People::find(self, project, &ids).await?,
            None => People::default(),
        };
        for (index, (record, (id, meaning))) in records.into_iter().zip(read_all).enumerate() {
            for name in record.fields.keys() {
                if !preview.columns.contains(name) {
                    preview.columns.push(name.clone());
                }
            }
            let told = |refusal: Refusal| (refusal.field, refusal.code, refusal.message);
            let mut row = PreviewRow {
                source: record.fields,
                customer_user_id: id,
                profile: Profile::new(),
                action: "fail",
                errors: Vec::new(),
            };
            match meaning {
                Meaning::Customer(wanted) => {
                    row.action = match people.loaded.get(index).and_then(Option::as_ref) {
                        None => "create",
                        Some(person) => {
                            let has = person.state.profile.known();
                            let is_same = wanted.changes.iter().all(|(field, value)| {
                                has.and_then(|has| has.get(field)) == value.as_ref()
                            });
                            let enabled = wanted.enabled.unwrap_or(person.state.enabled);
                            if is_same && enabled == person.state.enabled {
                                "unchanged"
                            } else {
                                "update"
                            }
                        }
                    };
                    row.errors = wanted.warnings.into_iter().map(told).collect();
                    let values = wanted.changes.into_iter();
                    row.profile = values
                        .filter_map(|(field, value)| Some((field, value?)))
                        .collect();
                }
                Meaning::Refused(refusal) => row.errors.push(told(refusal)),
                Meaning::Blank => {}
            }
            preview.rows.push(row);
        }
        Ok(preview)
    }
}

/// The first records that are there, with one token refresh.
async fn first_page(session: &mut dyn Session, walk: &Walk) -> Result<Vec<Record>, SourceError> {
    let page = match session.page(walk).await {
        Err(SourceError::Unauthorized(message)) => {
            if !session.renew().await? {
                return Err(SourceError::Unauthorized(message));
            }
            session.page(walk).await?
        }
        other => other?,
    };
    let live = page.records.into_iter().filter(|record| !record.deleted);
    Ok(live.collect())
}
