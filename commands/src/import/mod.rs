//! CSV imports: staging a body, and working through its rows.
//!
//! An import exists once its body is staged completely; from then on it finishes by itself, through restarts.

pub(crate) mod decide;
pub(crate) mod flow;
#[cfg(test)]
mod foreign_bytes;
mod header;
pub(crate) mod issues;
mod mapped;
pub(crate) mod meaning;
pub(crate) mod people;
mod progress;
mod recall;
mod records;
mod rows;
mod run;
mod source;
mod staging;
mod text;
mod work;
mod worker;

use std::time::Duration;

use roster_domain::import::{EmptyCells, Import, ImportCommand, OnConflict, decide};
use roster_domain::stream::Claim;
use roster_store::{Project, Verdict};
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;
use uuid::Uuid;

pub use self::header::unknown_columns;
pub use self::mapped::ColumnMapping;
use self::staging::Stager;
use crate::authority::Operation;
use crate::customers::check_provider;
use crate::{Applied, CommandError, Context, CsvProblem, Directory, IdempotencyKey, staged};

/// How long the same request answers the same unfinished import, in seconds.
const ANSWER_SECONDS: i32 = 600;
/// How often a wait looks into the log, for imports that another server runs.
const LOOK: Duration = Duration::from_millis(250);

/// How a file is imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The provider of the tag that rows get.
    pub provider: String,
    /// The byte between cells; found out where it is absent.
    pub delimiter: Option<u8>,
    /// What happens to rows whose customer exists.
    pub on_conflict: OnConflict,
    /// What an empty cell means.
    pub empty_cells: EmptyCells,
    /// Whether nothing is written but the outcome.
    pub dry_run: bool,
    /// Which column is which field, where the header does not say it.
    pub mapping: Option<ColumnMapping>,
}

impl ImportOptions {
    /// What a caller needs the permission for.
    const fn operation(&self) -> Operation {
        if self.mapping.is_some() {
            Operation::ImportMappedCsv
        } else {
            Operation::ImportCsv
        }
    }
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            provider: "csv_file".into(),
            delimiter: None,
            on_conflict: OnConflict::default(),
            empty_cells: EmptyCells::default(),
            dry_run: false,
            mapping: None,
        }
    }
}

/// A file to import.
#[derive(Debug)]
pub struct ImportInput<B> {
    /// How.
    pub options: ImportOptions,
    /// The bytes as they come: UTF-8, or UTF-16 with a byte order mark.
    pub body: B,
}

/// An import that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportStarted {
    /// Its id, that of its stream.
    pub import_id: Uuid,
}

impl Directory {
    /// Stages a file and starts its import. Memory stays within a few MiB, whatever the size of the body.
    ///
    /// With an idempotency key, a repeated request answers the first import while that is unfinished.
    ///
    /// # Errors
    /// [`CommandError::Csv`], [`CommandError::TooLarge`], [`CommandError::BodyUnreadable`], [`CommandError::Invalid`]:
    /// nothing is left behind then.
    pub async fn start_import<B: AsyncRead + Unpin + Send>(
        &self,
        ctx: &Context,
        input: ImportInput<B>,
    ) -> Result<Applied<ImportStarted>, CommandError> {
        let ImportInput { options, body } = input;
        ctx.authorise(options.operation())?;
        check(&options)?;
        let project = self.writable(ctx).await?;
        let active = self.present_schema(&project).await?;
        if let Some(mapping) = &options.mapping {
            mapping.check(&active.schema)?;
        }
        let import_id = self.new_id();
        let new = self.cell().new_stream::<Import>(import_id);
        let stager = Stager::new(options.delimiter, self.limits().import_bytes)
            .mapped(options.mapping.clone());
        let staged = staging::stage(self.cell(), &active, &new, stager, body).await?;
        let start = ImportCommand::Start {
            at: self.now(),
            id: import_id,
            provider: options.provider,
            delimiter: staged.delimiter,
            on_conflict: options.on_conflict,
            empty_cells: options.empty_cells,
            dry_run: options.dry_run,
            header: staged.header,
            body_offset: staged.body_offset,
            staged_chunks: staged.pieces,
            staged_bytes: staged.bytes,
        };
        let events = decide(&new.state, &start)?;
        let mut key = ctx.idempotency;
        loop {
            let mut prepared = self
                .cell()
                .prepare(&project, &new, events.clone(), &ctx.meta())?;
            if let Some(key) = key {
                prepared = prepared.answer_once(key, import_id.as_bytes(), ANSWER_SECONDS);
            }
            match self.cell().append(prepared).await? {
                Verdict::Accepted { position, .. } => {
                    self.job_started().notify_one();
                    return Ok(Applied::at(ImportStarted { import_id }, position));
                }
                Verdict::Replayed { answer, position } => {
                    let first = Uuid::from_slice(&answer).ok();
                    if let Some(first) = first
                        && self.is_import_open(&project, first).await?
                    {
                        staged::discard(self.cell(), import_id).await?;
                        let value = ImportStarted { import_id: first };
                        return Ok(Applied {
                            value,
                            position: Some(position),
                            replayed: true,
                        });
                    }
                    key = key.map(|key| following(key, &answer));
                }
                _ => {
                    return Err(CommandError::internal(
                        "the stream of a new import is taken",
                    ));
                }
            }
        }
    }

    /// Waits until an import of the project ended; `false` where it did not in time.
    pub async fn wait_for_import(
        &self,
        ctx: &Context,
        import_id: Uuid,
        timeout: Duration,
    ) -> Result<bool, CommandError> {
        if ctx.authorise(Operation::ImportCsv).is_err() {
            ctx.authorise(Operation::ImportMappedCsv)?;
        }
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(true);
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let mut ended = self.job_ended().subscribe();
        loop {
            if !self.is_import_open(&project, import_id).await? {
                return Ok(true);
            }
            let look = deadline.min(tokio::time::Instant::now() + LOOK);
            let is_here =
                tokio::time::timeout_at(look, ended.wait_for(|last| *last == Some(import_id)))
                    .await
                    .is_ok();
            if !is_here && tokio::time::Instant::now() >= deadline {
                return Ok(!self.is_import_open(&project, import_id).await?);
            }
        }
    }

    /// Asks an import to stop before its next chunk; what is applied stays. The value says whether it was unfinished.
    pub async fn cancel_import(
        &self,
        ctx: &Context,
        import_id: Uuid,
    ) -> Result<Applied<bool>, CommandError> {
        ctx.authorise(Operation::CancelImport)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(Applied::unchanged(false));
        };
        if !self.is_import_open(&project, import_id).await? {
            return Ok(Applied::unchanged(false));
        }
        let at = self.now();
        let decide = |state: &Import| Ok(decide(state, &ImportCommand::RequestCancel { at })?);
        let cancelled = self
            .execute(&project, import_id, &ctx.meta(), decide)
            .await?;
        self.job_started().notify_one();
        Ok(cancelled.map(|_| true))
    }

    /// Asked of the claims, so that the id of another project's import opens nothing.
    async fn is_import_open(
        &self,
        project: &Project,
        import_id: Uuid,
    ) -> Result<bool, CommandError> {
        let claim: Claim = Import::open_claim(import_id);
        Ok(self.cell().holder(project, &claim).await?.is_some())
    }
}

/// The key of a request whose first import has ended: the same for every repetition, and another one.
fn following(key: IdempotencyKey, answer: &[u8]) -> IdempotencyKey {
    Sha256::new()
        .chain_update(key)
        .chain_update(answer)
        .finalize()
        .into()
}

fn check(options: &ImportOptions) -> Result<(), CommandError> {
    let is_usable = |byte: u8| {
        byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n\0 ".contains(&byte)
    };
    if options.delimiter.is_some_and(|byte| !is_usable(byte)) {
        return Err(CsvProblem::Delimiter.into());
    }
    check_provider(["provider"], &options.provider)
}
