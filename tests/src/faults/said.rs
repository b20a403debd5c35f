//! What callers said and what they heard: every attempt at a command, with the trace that its events carry.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Answer;

/// The channel of the identity that each customer has of its own.
pub(super) const OWN: &str = "line";
/// The channel whose identities are fought for.
pub(super) const SHARED: &str = "telegram";

/// A command, with its mark: a text that no other command has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Creates or changes a customer.
    Upsert { person: Person },
    /// The same for several.
    Bulk { people: Vec<Person> },
    /// Erases a customer.
    Delete { id: String },
    /// Binds an identity.
    Link {
        id: String,
        channel: &'static str,
        identity: String,
    },
    /// Unbinds an identity.
    Unlink {
        channel: &'static str,
        identity: String,
    },
    /// Grants the own identity of a customer an agent that is called like the mark.
    Grant { id: String, agent: String },
    /// Takes the grant of a customer's own identity.
    Revoke { id: String },
    /// Gives the schema a field of this name beside those of the start.
    Schema { field: String },
    /// Creates customers by a file whose provider is the mark.
    Import { mark: String, ids: Vec<String> },
    /// Erases customers.
    Purge { ids: Vec<String> },
    /// Records a call of an agent.
    Dispatch { run: String, identity: String },
    /// Looks for an identity that is nobody's.
    Sight { identity: String },
}

/// A customer as a command wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: String,
    /// What no other command writes.
    pub(super) mark: String,
    pub(super) email: String,
    pub(super) enabled: bool,
}

impl Person {
    fn body(&self) -> Value {
        json!({
            "customer_user_id": self.id,
            "enabled": self.enabled,
            "profile": {"mark": self.mark, "email": self.email},
        })
    }
}

/// The own identity of a customer.
pub(super) fn own_identity(id: &str) -> String {
    format!("U-{id}")
}

/// The schema of a round, with one field more.
pub(super) fn schema(field: Option<&str>) -> Value {
    let known = ["customer_user_id", "mark"].into_iter().chain(field);
    let mut fields: Vec<Value> = known
        .map(|name| {
            let is_id = name == "customer_user_id";
            json!({"name": name, "required": is_id, "unique": is_id})
        })
        .collect();
    fields.push(json!({"name": "email", "type": "email", "unique": true}));
    json!({"primary_key": "customer_user_id", "fields": fields})
}

impl Command {
    /// The route and the members of its body.
    pub(super) fn request(&self) -> (&'static str, Value) {
        match self {
            Self::Upsert { person } => ("users/upsert", person.body()),
            Self::Bulk { people } => {
                let items: Vec<Value> = people.iter().map(Person::body).collect();
                ("users/upsert-bulk", json!({"items": items}))
            }
            Self::Delete { id } => ("users/delete", json!({"customer_user_id": id})),
            Self::Link {
                id,
                channel,
                identity,
            } => (
                "identities/link",
                json!({"customer_user_id": id, "channel": channel, "external_user_id": identity}),
            ),
            Self::Unlink { channel, identity } => (
                "identities/unlink",
                json!({"channel": channel, "external_user_id": identity}),
            ),
            Self::Grant { id, agent } => (
                "users/attach-channel-grant",
                json!({
                    "customer_user_id": id, "channel": OWN, "external_user_id": own_identity(id),
                    "agents": [agent],
                }),
            ),
            Self::Revoke { id } => (
                "users/revoke-channel-grant",
                json!({"customer_user_id": id, "channel": OWN}),
            ),
            Self::Schema { field } => ("schema/upsert", schema(Some(field))),
            Self::Import { mark, ids } => {
                let rows: Vec<String> = ids
                    .iter()
                    .map(|id| format!("{id},{mark},{id}@example.org"))
                    .collect();
                let csv = format!("customer_user_id,mark,email\n{}\n", rows.join("\n"));
                ("users/import-csv", json!({"csv": csv, "provider": mark}))
            }
            Self::Purge { ids } => ("users/delete-bulk", json!({"customer_user_ids": ids})),
            Self::Dispatch { run, identity } => (
                "dispatches",
                json!({
                    "channel": OWN, "external_user_id": identity, "run_id": run, "agent_alias": "sales",
                    "endpoint": "POST /orders", "llm_fields": {"limit": 5},
                }),
            ),
            Self::Sight { identity } => (
                "identities/resolve",
                json!({"channel": OWN, "external_user_id": identity}),
            ),
        }
    }

    /// Whether it begins something that goes on after the answer.
    pub(super) const fn is_job(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::Purge { .. })
    }

    /// The names of the events that say that it was done, for a command whose events carry its trace.
    pub(super) const fn events(&self) -> &'static [&'static str] {
        match self {
            Self::Upsert { .. } | Self::Bulk { .. } => &["customer.registered", "customer.updated"],
            Self::Delete { .. } => &["customer.erased"],
            Self::Link { .. } => &["customer.identity_linked"],
            Self::Unlink { .. } => &["customer.identity_unlinked"],
            Self::Grant { .. } => &["customer.grant_set"],
            Self::Revoke { .. } => &["customer.grant_revoked"],
            Self::Schema { .. } => &["schema.replaced"],
            Self::Import { .. }
            | Self::Purge { .. }
            | Self::Dispatch { .. }
            | Self::Sight { .. } => &[],
        }
    }
}

/// What became of an attempt, as the caller sees it.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// 2xx.
    Done {
        /// The body.
        body: Value,
        /// What `Roster-Position` says.
        position: Option<String>,
    },
    /// 4xx: nothing was done.
    Refused(String),
    /// No answer, or one that does not say.
    Unknown(String),
}

impl Heard {
    /// What an answer says about its command.
    pub(super) fn of(answer: &Answer) -> Self {
        match answer.status {
            200..300 => Self::Done {
                body: answer.json(),
                position: answer.header("roster-position").map(str::to_owned),
            },
            // A request that took too long may still be carried out.
            400..=407 | 409..=499 => Self::Refused(answer.to_string()),
            _ => Self::Unknown(answer.to_string()),
        }
    }
}

/// One attempt at a command.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Which command of the round.
    pub(super) command: usize,
    /// The trace of its request, as hexadecimal digits.
    pub(super) trace: String,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When the answer was there.
    pub(super) ended: Instant,
    /// The answer.
    pub(super) heard: Heard,
}

impl Attempt {
    /// What was heard, for people.
    pub(super) fn text(&self) -> String {
        match &self.heard {
            Heard::Done { body, position } => format!("done at {position:?}: {body}"),
            Heard::Refused(why) => format!("refused: {why}"),
            Heard::Unknown(why) => format!("unknown: {why}"),
        }
    }

    /// The body of a good answer.
    pub(super) fn body(&self) -> Option<&Value> {
        match &self.heard {
            Heard::Done { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The position of a good answer, in epoch 1.
    pub(super) fn position(&self) -> Option<i64> {
        let Heard::Done { position, .. } = &self.heard else {
            return None;
        };
        position.as_ref()?.strip_prefix("1:")?.parse().ok()
    }
}

/// Everything that was said in a round.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Each command once; its place is its number.
    pub(super) commands: Vec<Command>,
    /// Every attempt.
    pub(super) attempts: Vec<Attempt>,
    /// What a caller read that it may not have read.
    pub(super) wrong_reads: Vec<String>,
}

impl Said {
    /// Adds what another caller said.
    pub(super) fn merge(&mut self, other: Self) {
        let offset = self.commands.len();
        self.commands.extend(other.commands);
        self.wrong_reads.extend(other.wrong_reads);
        let attempts = other.attempts.into_iter().map(|attempt| Attempt {
            command: attempt.command + offset,
            ..attempt
        });
        self.attempts.extend(attempts);
    }

    /// How many attempts were acknowledged, refused and left unknown.
    pub(super) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for attempt in &self.attempts {
            let place = match attempt.heard {
                Heard::Done { .. } => 0,
                Heard::Refused(_) => 1,
                Heard::Unknown(_) => 2,
            };
            counts[place] += 1;
        }
        counts
    }
}
