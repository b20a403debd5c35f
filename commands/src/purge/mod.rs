//! Purges: many customers erased by one request, which goes on after it was answered.
//!
//! Whom a purge is of is settled before it starts: named customers by their claims, those of a filter by whoever asks,
//! for commands read no views. What is frozen are streams, so somebody who comes later, under whatever id, stays.

mod chunk;
mod request;
mod run;
mod stage;
mod worker;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use roster_domain::customer::SourceKind;
use roster_domain::purge::{
    self, LARGEST_PURGE, OpenFilter, Purge, PurgeCommand, PurgeFilter, PurgeRefusal, PurgeStatus,
    Sought, Target, Targets, check_confirmation, check_total,
};
use roster_domain::stream::{Claim, claim_kind};
use roster_domain::{Personal, Problem};
use roster_store::{Project, Verdict};
use uuid::Uuid;

use self::request::{check_ids, fingerprint, text_of, text_of_ids};
use crate::authority::Operation;
use crate::sync::{Row, Tag};
use crate::{Applied, CommandError, Context, Directory, NotFound, staged};

/// A purge of whoever matches a filter.
#[derive(Clone, Debug, Default)]
pub struct PurgeInput {
    /// Whom.
    pub filter: PurgeFilter,
    /// The project's id, where everybody goes.
    pub confirm_project_id: Option<String>,
    /// How many the caller expects to match.
    pub expected_total: Option<u64>,
    /// So many at most, the first by id; 1 to 5,000.
    pub limit: Option<u64>,
}

/// Who matches a filter, at one position of the log.
#[derive(Clone, Default)]
pub struct Matched {
    /// How many.
    pub total: u64,
    /// The first of them in the order of their ids: stream and id.
    pub customers: Vec<(Uuid, String)>,
}

impl std::fmt::Debug for Matched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Matched({})", self.total)
    }
}

/// A purge that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeStarted {
    /// Its id, that of its stream.
    pub purge_id: Uuid,
    /// How far it is; only the answer to a repeated request may say more than pending.
    pub status: PurgeStatus,
    /// How many customers matched.
    pub matched: u64,
    /// How many of them it is of.
    pub total: u64,
}

impl PurgeStarted {
    fn of(purge: &Purge) -> Self {
        Self {
            purge_id: purge.id,
            status: purge.status,
            matched: purge.matched,
            total: purge.total,
        }
    }
}

/// What the new purge is of, and by what.
struct Wanted {
    filter: Option<OpenFilter>,
    sought: Sought,
    matched: u64,
    targets: Targets,
    /// The keyed hash of the request.
    request: String,
}

impl From<PurgeRefusal> for CommandError {
    fn from(refusal: PurgeRefusal) -> Self {
        match refusal {
            PurgeRefusal::PurgeNotFound => Self::NotFound(NotFound::Purge),
            PurgeRefusal::RestrictiveFilterRequired => Self::RestrictiveFilterRequired,
            PurgeRefusal::ConfirmationRequired => Self::ConfirmationRequired,
            PurgeRefusal::TooManyMatches { matched, limit } => {
                Self::TooManyMatches { matched, limit }
            }
            PurgeRefusal::TotalChanged { matched } => Self::TotalChanged { matched },
            PurgeRefusal::AlreadyStarted
            | PurgeRefusal::AlreadyFinished
            | PurgeRefusal::NotFinished
            | PurgeRefusal::CountsDisagree
            | PurgeRefusal::OutOfOrder
            | PurgeRefusal::StatusNotFinal => Self::internal("a purge was run out of order"),
        }
    }
}

impl Directory {
    /// Starts the purge of 1 to 500 named customers. Ids that nobody has are counted as not found.
    ///
    /// The same request is answered with its unfinished purge.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for no id, too many of them or a blank one.
    pub async fn purge_customers(
        &self,
        ctx: &Context,
        ids: &[String],
    ) -> Result<Applied<PurgeStarted>, CommandError> {
        ctx.authorise(Operation::PurgeCustomers)?;
        check_ids(ids)?;
        let project = self.writable(ctx).await?;
        let active = self.present_schema(&project).await?;
        let mut seen = HashSet::new();
        // An id that the schema does not allow is one that nobody has.
        let ids: Vec<String> = ids
            .iter()
            .map(|id| {
                let spelled = active.schema.canonical_id(id);
                spelled.unwrap_or_else(|_| id.trim().to_owned())
            })
            .filter(|id| seen.insert(id.clone()))
            .collect();
        let request = fingerprint(&project, &text_of_ids(&ids));
        if let Some(same) = self.same_purge(&project, &request).await? {
            return Ok(same);
        }
        let claims: Vec<Claim> = ids.iter().map(|id| Claim::customer_id(id)).collect();
        let holders = self
            .cell()
            .holders(&project, claim_kind::CUSTOMER_ID, &claims)
            .await?;
        let targets = holders.into_iter().zip(ids);
        let targets = targets.map(|(stream, customer_user_id)| Target {
            stream,
            customer_user_id,
        });
        let targets = Targets(targets.collect());
        let wanted = Wanted {
            filter: None,
            sought: Sought::default(),
            matched: targets.0.len() as u64,
            targets,
            request,
        };
        self.start_purge(ctx, &project, wanted).await
    }

    /// Refuses the preview of a filter that would match everybody.
    ///
    /// # Errors
    /// [`CommandError::RestrictiveFilterRequired`].
    pub fn preview_purge(&self, ctx: &Context, filter: &PurgeFilter) -> Result<(), CommandError> {
        ctx.authorise(Operation::PreviewPurge)?;
        Ok(check_confirmation(filter, "", None)?)
    }

    /// Starts the purge of whoever matches a filter. `matching` is asked only once nothing else stands against it.
    ///
    /// The same request is answered with its unfinished purge.
    ///
    /// # Errors
    /// [`CommandError::RestrictiveFilterRequired`], [`CommandError::ConfirmationRequired`],
    /// [`CommandError::TotalChanged`], [`CommandError::TooManyMatches`] where the caller gives no limit,
    /// [`CommandError::Invalid`] for a limit out of range, and whatever `matching` fails with.
    pub async fn purge_by_filter<E: From<CommandError>>(
        &self,
        ctx: &Context,
        input: PurgeInput,
        matching: impl Future<Output = Result<Matched, E>> + Send,
    ) -> Result<Applied<PurgeStarted>, E> {
        let (project, request) = match self.admit(ctx, &input).await? {
            Admitted::Same(same) => return Ok(same),
            Admitted::New(project, request) => (project, request),
        };
        let Matched {
            total: matched,
            mut customers,
        } = matching.await?;
        check_total(matched, input.expected_total, input.limit).map_err(CommandError::from)?;
        let most = input.limit.unwrap_or(LARGEST_PURGE);
        customers.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let targets = customers
            .into_iter()
            .map(|(stream, customer_user_id)| Target {
                stream: Some(stream),
                customer_user_id,
            });
        let wanted = Wanted {
            filter: Some(input.filter.open),
            sought: input.filter.sought,
            matched,
            targets: Targets(targets.collect()),
            request,
        };
        Ok(self.start_purge(ctx, &project, wanted).await?)
    }

    /// Asks a purge to stop before its next chunk; who is erased stays so. The value says whether it was unfinished.
    pub async fn cancel_purge(
        &self,
        ctx: &Context,
        purge_id: Uuid,
    ) -> Result<Applied<bool>, CommandError> {
        ctx.authorise(Operation::CancelPurge)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(Applied::unchanged(false));
        };
        // Asked of the claims, so that the id of another project's purge opens nothing.
        let claim = Purge::open_claim(purge_id);
        if self.cell().holder(&project, &claim).await?.is_none() {
            return Ok(Applied::unchanged(false));
        }
        let cancel = PurgeCommand::RequestCancel { at: self.now() };
        let decide = |state: &Purge| Ok(purge::decide(state, &cancel)?);
        let cancelled = self
            .execute(&project, purge_id, &ctx.meta(), decide)
            .await?;
        self.job_started().notify_one();
        Ok(cancelled.map(|_| true))
    }

    async fn admit(&self, ctx: &Context, input: &PurgeInput) -> Result<Admitted, CommandError> {
        ctx.authorise(Operation::PurgeByFilter)?;
        let confirmation = input.confirm_project_id.as_deref();
        check_confirmation(&input.filter, &ctx.scope.project_id, confirmation)?;
        if input
            .limit
            .is_some_and(|limit| !(1..=LARGEST_PURGE).contains(&limit))
        {
            let message = format!("must be 1 to {LARGEST_PURGE}");
            return Err(CommandError::invalid(Problem::new(
                ["limit"],
                "range",
                message,
            )));
        }
        let project = self.writable(ctx).await?;
        let request = fingerprint(&project, &text_of(input));
        Ok(match self.same_purge(&project, &request).await? {
            Some(same) => Admitted::Same(same),
            None => Admitted::New(project, request),
        })
    }

    /// The unfinished purge of a request.
    async fn same_purge(
        &self,
        project: &Project,
        request: &str,
    ) -> Result<Option<Applied<PurgeStarted>>, CommandError> {
        let claim = Purge::request_claim(request);
        let Some(purge_id) = self.cell().holder(project, &claim).await? else {
            return Ok(None);
        };
        let purge = self.cell().load::<Purge>(project, purge_id).await?.state;
        Ok(Some(Applied {
            value: PurgeStarted::of(&purge),
            position: None,
            replayed: true,
        }))
    }

    /// Purges everybody who has a connection's tag, however many they are.
    pub(crate) async fn purge_rows(
        &self,
        ctx: &Context,
        project: &Project,
        tag: &Tag,
        customers: Vec<Row>,
    ) -> Result<Applied<PurgeStarted>, CommandError> {
        let filter = OpenFilter {
            source_kind: Some(SourceKind::DirectorySync),
            source_provider: Some(tag.provider.clone()),
            source_connection: Some(tag.connection_id.clone()),
            ..OpenFilter::default()
        };
        let customers = customers.into_iter().map(|row| Target {
            stream: Some(row.stream),
            customer_user_id: row.customer_user_id,
        });
        let targets = Targets(customers.collect());
        let wanted = Wanted {
            filter: Some(filter),
            sought: Sought::default(),
            matched: targets.0.len() as u64,
            targets,
            request: fingerprint(project, &format!("connection\0{}", tag.connection_id)),
        };
        self.start_purge(ctx, project, wanted).await
    }

    /// Stages whom a purge is of and starts it, unless the same request was faster.
    async fn start_purge(
        &self,
        ctx: &Context,
        project: &Project,
        wanted: Wanted,
    ) -> Result<Applied<PurgeStarted>, CommandError> {
        let new = self.cell().new_stream::<Purge>(self.new_id());
        stage::stage(self.cell(), &new, &wanted.sought, &wanted.targets).await?;
        let start = PurgeCommand::Start {
            at: self.now(),
            id: new.stream,
            filter: wanted.filter,
            is_sought: !wanted.sought.is_empty(),
            matched: wanted.matched,
            total: wanted.targets.0.len() as u64,
            principal: ctx.actor.principal.clone(),
            subject: ctx.actor.subject.clone(),
            request: Personal::new(wanted.request.clone()),
        };
        let events = purge::decide(&new.state, &start)?;
        let prepared = self
            .cell()
            .prepare_with_state(project, &new, events, &ctx.meta());
        let (prepared, after) = prepared?;
        match self.cell().append(prepared).await? {
            Verdict::Accepted { position, .. } => {
                self.job_started().notify_one();
                Ok(Applied::at(PurgeStarted::of(&after), position))
            }
            Verdict::ClaimTaken { .. } => {
                staged::discard(self.cell(), new.stream).await?;
                let same = self.same_purge(project, &wanted.request).await?;
                same.ok_or(CommandError::Unavailable)
            }
            _ => Err(CommandError::internal("the stream of a new purge is taken")),
        }
    }
}

/// What a request by filter comes to before anybody is looked for.
enum Admitted {
    /// The same request's purge goes on.
    Same(Applied<PurgeStarted>),
    /// The project, and the keyed hash of the request.
    New(Arc<Project>, String),
}
