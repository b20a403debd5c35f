//! What the rows of a batch make of their customers. Pure: the same rows and states always give the same events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use roster_domain::customer::{
    self, Customer, CustomerCommand, CustomerEvent, CustomerRefusal, DataSource, Tagging, Upsert,
};
use roster_domain::import::{Counts, OnConflict, Severity};
use roster_domain::schema::Schema;
use roster_domain::stream::{Claim, Stream, claim_kind};
use roster_domain::{Personal, Timestamp};
use uuid::Uuid;

use super::meaning::{Meaning, Refusal, Wanted};

/// What every row of a batch is decided by.
pub(crate) struct Rules {
    pub(crate) schema: Arc<Schema>,
    /// The schema that is being prepared, and the fields whose claims are taken for it.
    pub(crate) pending: Option<(Arc<Schema>, Arc<[String]>)>,
    pub(crate) source: DataSource,
    /// Connections that are gone, whose rows a run may have.
    pub(crate) gone: HashSet<String>,
    pub(crate) on_conflict: OnConflict,
    pub(crate) at: Timestamp,
    /// Claims of which it is known who holds them.
    pub(crate) taken: HashMap<Claim, Uuid>,
    /// Claims of which it was asked who holds them.
    pub(crate) asked: HashSet<Claim>,
}

/// A customer whom rows of the batch name.
pub(crate) struct Person<'a> {
    pub(crate) stream: Uuid,
    /// The state in the log.
    pub(crate) base: &'a Customer,
    /// The state after the rows so far, where it differs.
    pub(crate) current: Option<Customer>,
    pub(crate) events: Vec<CustomerEvent>,
    pub(crate) is_suppressed: bool,
}

impl<'a> Person<'a> {
    pub(crate) const fn new(stream: Uuid, base: &'a Customer, is_suppressed: bool) -> Self {
        Self {
            stream,
            base,
            current: None,
            events: Vec::new(),
            is_suppressed,
        }
    }

    fn state(&self) -> &Customer {
        self.current.as_ref().unwrap_or(self.base)
    }

    /// The unique values and identities that the rows made this customer take.
    pub(crate) fn new_claims(&self) -> Vec<Claim> {
        let before = self.base.claims();
        self.state()
            .claims()
            .into_iter()
            .filter(|claim| is_value(claim) && !before.contains(claim))
            .collect()
    }
}

/// Who has which unique values and identities, as far as the rows so far moved them.
struct Owners<'a> {
    known: HashMap<Claim, Uuid>,
    /// Whose claims are not among them yet: rows that move none need nobody's.
    held: Vec<(Uuid, &'a Customer)>,
    /// What somebody took by one row and gave up by a later one.
    passing: Vec<Claim>,
}

impl<'a> Owners<'a> {
    fn of(rules: &Rules, people: &[Person<'a>]) -> Self {
        Self {
            known: rules.taken.clone(),
            held: people
                .iter()
                .map(|person| (person.stream, person.base))
                .collect(),
            passing: Vec::new(),
        }
    }

    /// All of them. A row takes a value only after the row that gives it up.
    fn all(&mut self) -> &mut HashMap<Claim, Uuid> {
        for (stream, base) in self.held.drain(..) {
            let claims = base.claims().into_iter().filter(is_value);
            self.known.extend(claims.map(|claim| (claim, stream)));
        }
        &mut self.known
    }
}

/// A finding about a row.
pub(crate) struct Finding {
    /// The row's place in the batch.
    pub(crate) index: usize,
    pub(crate) severity: Severity,
    pub(crate) refusal: Refusal,
    /// The person's place, where the row names one.
    pub(crate) person: Option<usize>,
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) warnings: u64,
    pub(crate) findings: Vec<Finding>,
    /// A field of the pending schema with a duplicate: its preparation must end, and the batch be decided without it.
    pub(crate) void: Option<String>,
    /// Unique values and identities that somebody took by one row and gave up by a later one: no append judges whether another
    /// customer has them.
    pub(crate) passing: Vec<Claim>,
}

/// What one row did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Updated,
    Unchanged,
    Skipped,
}

/// Why one row did nothing.
enum Fault {
    Refused(Refusal),
    /// Only the schema that is being prepared stands against it.
    PendingTaken(String),
}

/// Decides the rows in order. `person_of` gives the place of the person whom a row names.
pub(crate) fn decide(
    rules: &Rules,
    meanings: &mut [Meaning],
    person_of: &[Option<usize>],
    people: &mut [Person<'_>],
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut owners = Owners::of(rules, people);
    for (index, meaning) in meanings.iter_mut().enumerate() {
        let place = person_of.get(index).copied().flatten();
        let done = match meaning {
            Meaning::Blank => Ok(Done::Skipped),
            Meaning::Refused(refusal) => Err(Fault::Refused(refusal.clone())),
            Meaning::Customer(wanted) => match place.and_then(|place| people.get_mut(place)) {
                Some(person) => apply(rules, wanted, person, &mut owners),
                None => Err(Fault::Refused(Refusal::new(
                    None,
                    "row_lost",
                    "the row could not be placed",
                ))),
            },
        };
        match done {
            Ok(Done::Created) => outcome.counts.created += 1,
            Ok(Done::Updated) => outcome.counts.updated += 1,
            Ok(Done::Unchanged) => outcome.counts.unchanged += 1,
            Ok(Done::Skipped) => outcome.counts.skipped += 1,
            Err(Fault::Refused(refusal)) => {
                outcome.counts.failed += 1;
                outcome.findings.push(Finding {
                    index,
                    severity: Severity::Failed,
                    refusal,
                    person: place,
                });
                continue;
            }
            Err(Fault::PendingTaken(field)) => {
                outcome.void = Some(field);
                return outcome;
            }
        }
        if let (Meaning::Customer(wanted), true) = (meaning, done_applied(&done)) {
            outcome.warnings += wanted.warnings.len() as u64;
            outcome
                .findings
                .extend(wanted.warnings.iter().map(|refusal| Finding {
                    index,
                    severity: Severity::Warning,
                    refusal: refusal.clone(),
                    person: place,
                }));
        }
    }
    outcome.passing = owners.passing;
    outcome
}

fn done_applied(done: &Result<Done, Fault>) -> bool {
    !matches!(done, Ok(Done::Skipped) | Err(_))
}

fn apply(
    rules: &Rules,
    wanted: &mut Wanted,
    person: &mut Person<'_>,
    owners: &mut Owners<'_>,
) -> Result<Done, Fault> {
    let existed = person.state().is_active();
    let of = person.state().source.connection_id.as_ref();
    let is_own = of.is_some() && of == rules.source.connection_id.as_ref();
    let is_left = existed && !is_own && rules.on_conflict == OnConflict::Skip;
    if person.is_suppressed || is_left {
        return Ok(Done::Skipped);
    }
    let tagging = match &wanted.record_id {
        None => Tagging::Adopt(rules.source.clone()),
        Some(id) => Tagging::Sync {
            source: DataSource {
                external_id: Personal::Known(Some(id.clone())),
                synced_at: Some(rules.at),
                ..rules.source.clone()
            },
            takes_over: of.is_some_and(|of| rules.gone.contains(of)),
        },
    };
    let mut changes = std::mem::take(&mut wanted.changes);
    if let Some((pending, _)) = &rules.pending {
        pending.respell(&mut changes);
    }
    let command = CustomerCommand::Upsert(Upsert {
        schema: Arc::clone(&rules.schema),
        pending_unique: rules
            .pending
            .as_ref()
            .map_or_else(|| [].into(), |(_, fields)| Arc::clone(fields)),
        at: rules.at,
        customer_user_id: wanted.customer_user_id.clone(),
        changes,
        replace: false,
        enabled: wanted.enabled,
        connector_enabled: BTreeMap::new(),
        tagging,
        expected_version: None,
        skip_existing: false,
    });
    let decided = customer::decide(person.state(), &command);
    if let CustomerCommand::Upsert(upsert) = command {
        wanted.changes = upsert.changes;
    }
    let events = decided.map_err(refused)?;
    if events.is_empty() {
        return Ok(Done::Unchanged);
    }
    let mut after = person.state().clone();
    for event in &events {
        after.fold(event.clone());
    }
    change_owners(rules, person, &after, owners)?;
    person.current = Some(after);
    person.events.extend(events);
    Ok(if existed {
        Done::Updated
    } else {
        Done::Created
    })
}

/// Moves the unique values and identities of a person from before a row to after it, unless another one has one of them.
fn change_owners(
    rules: &Rules,
    person: &Person<'_>,
    after: &Customer,
    owners: &mut Owners<'_>,
) -> Result<(), Fault> {
    let before = person.state().claims();
    let after = after.claims();
    let takes = || {
        after
            .iter()
            .filter(|claim| is_value(claim) && !before.contains(claim))
    };
    let gives = || {
        before
            .iter()
            .filter(|claim| is_value(claim) && !after.contains(claim))
    };
    if takes().chain(gives()).next().is_none() {
        return Ok(());
    }
    let known = owners.all();
    for claim in takes() {
        if known.get(claim).is_none_or(|owner| *owner == person.stream) {
            continue;
        }
        if let Some(channel) = claim.channel() {
            let message = "another customer has this value as an identity on a channel";
            let field = rules.schema.bound_field(channel);
            return Err(Fault::Refused(Refusal::new(
                Some(&field),
                "identity_linked_elsewhere",
                message,
            )));
        }
        let field = claim.field().unwrap_or_default();
        let is_unique = rules.schema.unique_fields().any(|unique| unique == field);
        if !is_unique && rules.pending.is_some() {
            return Err(Fault::PendingTaken(field.to_owned()));
        }
        let message = "another customer has this value of a unique field";
        return Err(Fault::Refused(Refusal::new(
            Some(field),
            "unique_value_taken",
            message,
        )));
    }
    for claim in takes() {
        known.insert(claim.clone(), person.stream);
    }
    for claim in gives() {
        if known.get(claim) == Some(&person.stream) {
            known.remove(claim);
        }
    }
    // The first row that changes somebody gives up only what the log has.
    if person.current.is_some() {
        let base = person.base.claims();
        let passed = gives().filter(|claim| !base.contains(claim)).cloned();
        owners.passing.extend(passed);
    }
    Ok(())
}

/// Whether rows of one batch can fight for it.
fn is_value(claim: &Claim) -> bool {
    matches!(
        claim.kind,
        claim_kind::UNIQUE_VALUE | claim_kind::CONNECTOR_IDENTITY
    )
}

fn refused(refusal: CustomerRefusal) -> Fault {
    Fault::Refused(match refusal {
        CustomerRefusal::Invalid(problems) => Refusal::of_all(&problems),
        CustomerRefusal::PrimaryKeyMismatch => Refusal::new(
            None,
            "primary_key_mismatch",
            "the primary-key value differs from the customer id",
        ),
        CustomerRefusal::CustomerNotFound => {
            Refusal::new(None, "customer_not_found", "the customer was erased")
        }
        CustomerRefusal::VersionConflict { .. } => {
            Refusal::new(None, "version_conflict", "the customer has another version")
        }
        CustomerRefusal::FieldRequired { field } => {
            Refusal::new(Some(&field), "value_required", "a value is required")
        }
        CustomerRefusal::GrantNotFound => {
            Refusal::new(None, "grant_not_found", "there is no grant")
        }
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
