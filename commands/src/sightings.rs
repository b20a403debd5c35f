//! Identities that are seen and nobody's: which sightings are written, and when.
//!
//! The first sighting of an identity is written at once, later ones are gathered and written once a minute. What is
//! remembered is bounded, and so are the new identities of a project in a time: whoever floods one project with strangers fills
//! neither the memory nor the table, and holds up nobody else's.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts};
use roster_domain::value::{email, phone, text};
use roster_store::unmatched::{Seen, SeenAgain, Sighting};
use roster_store::{Cell, Project};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::authority::Operation;
use crate::{CommandError, Context, Directory};

/// Identities that are remembered; about 120 bytes each.
const KNOWN: usize = 65_536;
/// Projects whose allowance is remembered.
const ALLOWANCES: usize = 4_096;
/// Sightings that wait to be written.
const QUEUE: usize = 1_024;
/// The most of one statement.
const BATCH: usize = 256;
/// How long sightings of one identity are gathered, in microseconds.
const GATHERED: i64 = 60_000_000;
/// How often gathered ones are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// A row that nobody was seen behind for this long goes, in seconds; 90 days.
const KEPT_SECONDS: i64 = 90 * 86_400;

/// How many unmatched identities are taken in.
#[derive(Clone, Copy, Debug)]
pub struct UnmatchedLimits {
    /// New ones of a project at once; 500.
    pub burst: u32,
    /// New ones of a project each minute in the long run; 300.
    pub per_minute: u32,
    /// Rows of a project; 10,000.
    pub most: u32,
}

impl Default for UnmatchedLimits {
    fn default() -> Self {
        Self {
            burst: 500,
            per_minute: 300,
            most: 10_000,
        }
    }
}

/// Project and keyed hash of an identity.
type Key = (i32, [u8; 16]);

/// An identity that was written.
struct Known {
    written_at: Timestamp,
    last_seen: Timestamp,
    /// Sightings since then.
    gathered: i64,
}

/// What a project may still take in, in millionths of an identity.
struct Allowance {
    left: i64,
    at: Timestamp,
}

struct State {
    known: LruCache<Key, Known>,
    allowances: LruCache<i32, Allowance>,
}

/// What becomes of a sighting.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is written, with those that were gathered.
    Write(i64),
    Gathered,
    HeldBack,
}

impl State {
    fn new() -> Self {
        let size = |most| NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Self {
            known: LruCache::new(size(KNOWN)),
            allowances: LruCache::new(size(ALLOWANCES)),
        }
    }

    fn see(&mut self, key: Key, now: Timestamp, limits: &UnmatchedLimits) -> Verdict {
        if let Some(known) = self.known.get_mut(&key) {
            known.last_seen = now;
            known.gathered += 1;
            if now.0 - known.written_at.0 < GATHERED {
                return Verdict::Gathered;
            }
            known.written_at = now;
            return Verdict::Write(std::mem::take(&mut known.gathered));
        }
        if !self.admit(key.0, now, limits) {
            return Verdict::HeldBack;
        }
        let known = Known {
            written_at: now,
            last_seen: now,
            gathered: 0,
        };
        self.known.put(key, known);
        Verdict::Write(1)
    }

    /// Whether a project may take in one more.
    fn admit(&mut self, project_no: i32, now: Timestamp, limits: &UnmatchedLimits) -> bool {
        const ONE: i64 = 1_000_000;
        let full = i64::from(limits.burst) * ONE;
        let allowance = self.allowances.get_or_insert_mut(project_no, || Allowance {
            left: full,
            at: now,
        });
        let passed = (now.0 - allowance.at.0).max(0);
        let gained = passed.saturating_mul(i64::from(limits.per_minute)) / 60;
        if gained > 0 {
            allowance.left = allowance.left.saturating_add(gained).min(full);
            allowance.at = now;
        }
        let is_admitted = allowance.left >= ONE;
        if is_admitted {
            allowance.left -= ONE;
        }
        is_admitted
    }

    /// What was gathered long enough, or with `all` whatever was.
    fn due(&mut self, now: Timestamp, all: bool) -> Vec<SeenAgain> {
        let mut due = Vec::new();
        for ((project_no, identity_key), known) in &mut self.known {
            if known.gathered > 0 && (all || now.0 - known.written_at.0 >= GATHERED) {
                known.written_at = now;
                due.push(SeenAgain {
                    project_no: *project_no,
                    identity_key: identity_key.to_vec(),
                    last_seen_at: known.last_seen.to_utc(),
                    count: std::mem::take(&mut known.gathered),
                });
            }
        }
        // As servers write them that see the same identities.
        due.sort_by(|one, other| {
            (one.project_no, &one.identity_key).cmp(&(other.project_no, &other.identity_key))
        });
        due
    }
}

/// What one server saw.
pub(crate) struct Sightings {
    state: Mutex<State>,
    limits: UnmatchedLimits,
    queue: mpsc::Sender<Sighting>,
    waiting: Mutex<Option<mpsc::Receiver<Sighting>>>,
}

impl Sightings {
    pub(crate) fn new(limits: UnmatchedLimits) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self {
            state: Mutex::new(State::new()),
            limits,
            queue,
            waiting: Mutex::new(Some(waiting)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next sighting of an identity is a first one again.
    pub(crate) fn forget(&self, project: &Project, identity: &ConnectorIdentity) {
        if let Some(key) = key(project.no, &project.identity_key(identity)) {
            self.state().known.pop(&key);
        }
    }

    fn forget_all<'a>(&self, keys: impl Iterator<Item = (i32, &'a [u8])>) {
        let mut state = self.state();
        for (project_no, identity_key) in keys {
            if let Some(key) = key(project_no, identity_key) {
                state.known.pop(&key);
            }
        }
    }
}

fn key(project_no: i32, identity_key: &[u8]) -> Option<Key> {
    Some((project_no, identity_key.try_into().ok()?))
}

fn held_back(why: &'static str, count: u64) {
    metrics::counter!("roster_unmatched_held_back_total", "why" => why).increment(count);
}

/// Facts as profiles spell them, so that whoever is erased is found in them.
fn seen(identity: &ConnectorIdentity, facts: &Facts, display_name: Option<&str>) -> Seen {
    let spelled = |fact: &Option<String>, canonical: fn(&str) -> Option<String>| {
        let fact = fact.as_deref()?;
        canonical(fact).or_else(|| Some(fact.trim().to_owned()))
    };
    let of_text = |fact: &str| text::canonical(fact).map(str::to_owned);
    Seen {
        external_user_id: identity.external_user_id.clone(),
        display_name: display_name.and_then(of_text),
        phone: spelled(&facts.phone, phone::international),
        email: spelled(&facts.email, email::canonical),
        username: spelled(&facts.username, |fact| {
            text::canonical(fact).map(str::to_owned)
        }),
    }
}

impl Directory {
    /// Notes that an identity was seen which is nobody's. Never waits; what is held back is counted in
    /// `roster_unmatched_held_back_total`.
    pub fn sight(
        &self,
        project: &Project,
        identity: &ConnectorIdentity,
        facts: &Facts,
        display_name: Option<&str>,
    ) {
        let sightings = self.sightings();
        let identity_key = project.identity_key(identity);
        let Some(key) = key(project.no, &identity_key) else {
            return;
        };
        let now = self.now();
        let verdict = sightings.state().see(key, now, &sightings.limits);
        let count = match verdict {
            Verdict::Gathered => return,
            Verdict::HeldBack => return held_back("rate", 1),
            Verdict::Write(count) => count,
        };
        let seen = seen(identity, facts, display_name);
        let times = (now.to_utc(), now.to_utc());
        let sighting = Sighting::new(
            project,
            &identity.channel,
            identity_key,
            &seen,
            times,
            count,
        );
        let is_sent = sighting.is_ok_and(|sighting| sightings.queue.try_send(sighting).is_ok());
        if !is_sent {
            sightings.state().known.pop(&key);
            held_back("queue", 1);
        }
    }

    /// Takes an unmatched identity off the list until it is seen again; whether it was on it.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] where the texts are no identity.
    pub async fn dismiss_unmatched(
        &self,
        ctx: &Context,
        channel: &str,
        external_user_id: &str,
    ) -> Result<bool, CommandError> {
        ctx.authorise(Operation::DismissUnmatched)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(false);
        };
        let active = self.active_schema(&project).await?;
        let channel = active
            .schema
            .channel(channel)
            .map_err(CommandError::invalid)?;
        // As it was listed: no region is applied to it.
        let identity = match ConnectorIdentity::read(&channel, external_user_id) {
            Some(identity) => identity,
            None => active
                .schema
                .identity(&channel, external_user_id)
                .map_err(CommandError::invalid)?,
        };
        let dismissed = self.cell().dismiss_unmatched(&project, &identity).await?;
        self.sightings().forget(&project, &identity);
        Ok(dismissed)
    }

    /// Deletes rows of identities that were not seen for 90 days.
    pub(crate) async fn sweep_unmatched(&self) -> Result<(), CommandError> {
        let before = self.now().plus_seconds(-KEPT_SECONDS);
        self.cell().sweep_unmatched(before.to_utc()).await?;
        Ok(())
    }

    /// Writes sightings until the stop, and then what is left of them.
    pub(crate) async fn write_sightings(self, stop: CancellationToken) {
        let sightings = Arc::clone(self.sightings());
        let waiting = sightings
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut waiting) = waiting else {
            return;
        };
        let mut looks = tokio::time::interval(LOOK);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => self.write_gathered(false).await,
                _ = waiting.recv_many(&mut batch, BATCH) => {
                    write(self.cell(), &sightings, &mut batch).await;
                }
            }
        }
        waiting.close();
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            write(self.cell(), &sightings, &mut batch).await;
        }
        self.write_gathered(true).await;
    }

    async fn write_gathered(&self, all: bool) {
        let (due, known) = {
            let mut state = self.sightings().state();
            (state.due(self.now(), all), state.known.len())
        };
        metrics::gauge!("roster_unmatched_remembered")
            .set(u32::try_from(known).map_or(f64::MAX, f64::from));
        for some in due.chunks(BATCH) {
            match self.cell().move_unmatched(some).await {
                // Somebody had the identity meanwhile, or it was dismissed: who is seen again is listed again.
                Ok(gone) => {
                    let gone = gone.iter().map(|(project_no, key)| (*project_no, &**key));
                    self.sightings().forget_all(gone);
                }
                Err(error) => {
                    let lost = some.len();
                    tracing::warn!(%error, lost, "gathered sightings could not be written");
                }
            }
        }
    }
}

/// Writes a batch. What could not be written is a first sighting the next time.
async fn write(cell: &Cell, sightings: &Sightings, batch: &mut Vec<Sighting>) {
    // One that was forgotten meanwhile is there twice.
    let batch = Sighting::merged(batch.drain(..));
    let all = batch.len() as u64;
    match cell
        .write_unmatched(&batch, i64::from(sightings.limits.most))
        .await
    {
        Ok(written) => {
            metrics::counter!("roster_unmatched_written_total").increment(written);
            held_back("full", all.saturating_sub(written));
        }
        Err(error) => {
            tracing::warn!(%error, lost = all, "sightings could not be written");
            sightings.forget_all(batch.iter().map(Sighting::key));
            held_back("error", all);
        }
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::Timestamp;

    use super::{Key, State, UnmatchedLimits, Verdict};

    const LIMITS: UnmatchedLimits = UnmatchedLimits {
        burst: 3,
        per_minute: 6,
        most: 10,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn key(project_no: i32, number: u8) -> Key {
        (project_no, [number; 16])
    }

    #[test]
    fn the_first_is_written_and_later_ones_once_a_minute() {
        let mut state = State::new();
        let mut see = |seconds| state.see(key(1, 1), at(seconds), &LIMITS);
        assert_eq!(see(0), Verdict::Write(1));
        assert_eq!(see(1), Verdict::Gathered);
        assert_eq!(see(59), Verdict::Gathered);
        assert_eq!(see(60), Verdict::Write(3));
        assert_eq!(see(61), Verdict::Gathered);
        assert_eq!(state.due(at(100), false).len(), 0);
        let due = state.due(at(120), false);
        assert_eq!((due.len(), due[0].count), (1, 1));
        assert_eq!(due[0].last_seen_at, at(61).to_utc());
        assert_eq!(state.due(at(400), true).len(), 0);
    }

    #[test]
    fn a_flood_of_one_project_is_held_back_and_no_other_is() {
        let mut state = State::new();
        let mut taken = |project, seconds, from: u8, to: u8| {
            let seen =
                (from..to).map(|number| state.see(key(project, number), at(seconds), &LIMITS));
            seen.filter(|verdict| *verdict == Verdict::Write(1)).count()
        };
        assert_eq!(taken(1, 0, 0, 100), 3);
        assert_eq!(taken(2, 0, 0, 2), 2);
        // One more each ten seconds, and never more than at once.
        assert_eq!(taken(1, 9, 100, 150), 0);
        assert_eq!(taken(1, 10, 100, 150), 1);
        assert_eq!(taken(1, 100_000, 150, 200), 3);
        // Those who are known are not held back.
        assert_eq!(
            state.see(key(1, 0), at(100_001), &LIMITS),
            Verdict::Write(1)
        );
    }
}
