//! A caller: it says commands about customers of its own, reads what it wrote, and notes everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::fleet::Addresses;
use super::ledger::is_unknown;
use super::said::{Attempt, Command, Heard, OWN, Person, SHARED, Said, own_identity};
use crate::client::Client;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// How often one command is sent.
const ATTEMPTS: usize = 3;
/// Customers that one caller changes again and again.
const CUSTOMERS: u32 = 30;
/// Identities and addresses that all callers fight for.
const FOUGHT_FOR: u32 = 12;
/// The wait after an answer that did not come.
const REST: Duration = Duration::from_millis(50);

/// One caller.
pub(super) struct Caller {
    number: usize,
    client: Client,
    addresses: Addresses,
    random: StdRng,
    stop: Arc<AtomicBool>,
    said: Said,
    /// Customers that imports made for sure and nothing has erased.
    imported: Vec<String>,
    /// What each customer's mark may be: what was acknowledged last, and what may have come or still come.
    marks: HashMap<String, Marks>,
}

#[derive(Default)]
struct Marks {
    /// The last acknowledged state; `None` where there is no customer.
    acknowledged: Option<String>,
    unknown: Vec<Option<String>>,
}

impl Caller {
    /// A caller that goes on until it is told to stop.
    pub(super) fn new(
        number: usize,
        client: Client,
        addresses: Addresses,
        seed: u64,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let seed = seed.wrapping_mul(1_000).wrapping_add(number as u64);
        Self {
            number,
            client,
            addresses,
            random: StdRng::seed_from_u64(seed),
            stop,
            said: Said::default(),
            imported: Vec::new(),
            marks: HashMap::new(),
        }
    }

    /// Says commands until the stop; what was said and heard.
    pub(super) async fn run(mut self) -> Said {
        while !self.stop.load(Ordering::Relaxed) {
            let command = self.choose();
            self.carry_out(command).await;
        }
        self.said
    }

    fn customer(&mut self) -> String {
        format!(
            "c{}-{}",
            self.number,
            self.random.random_range(0..CUSTOMERS)
        )
    }

    fn mark(&self) -> String {
        format!("m{}-{}", self.number, self.said.commands.len())
    }

    fn person(&mut self, id: String, mark: String) -> Person {
        let fights = self.random.random_ratio(1, 20);
        let email = if fights {
            format!(
                "fight{}@example.org",
                self.random.random_range(0..FOUGHT_FOR)
            )
        } else {
            format!("{id}@example.org")
        };
        let enabled = self.random.random_ratio(4, 5);
        Person {
            id,
            mark,
            email,
            enabled,
        }
    }

    fn choose(&mut self) -> Command {
        let (id, mark) = (self.customer(), self.mark());
        match self.random.random_range(0..100) {
            0..34 => Command::Upsert {
                person: self.person(id, mark),
            },
            34..44 => {
                let first = self.random.random_range(0..CUSTOMERS);
                let count = self.random.random_range(2..20);
                let ids = (first..first + count).map(|place| place % CUSTOMERS);
                let people = ids
                    .map(|place| {
                        let id = format!("c{}-{place}", self.number);
                        self.person(id, format!("{mark}.{place}"))
                    })
                    .collect();
                Command::Bulk { people }
            }
            44..54 => Command::Delete { id },
            54..60 => Command::Link {
                identity: own_identity(&id),
                channel: OWN,
                id,
            },
            60..64 => Command::Link {
                identity: self.shared(),
                channel: SHARED,
                id,
            },
            64..66 => Command::Unlink {
                identity: own_identity(&id),
                channel: OWN,
            },
            66..69 => Command::Unlink {
                identity: self.shared(),
                channel: SHARED,
            },
            69..77 => Command::Grant { agent: mark, id },
            77..80 => Command::Revoke { id },
            80..82 if self.number == 0 => Command::Schema {
                field: mark.replace('-', "_"),
            },
            80..84 => {
                let rows = self.random.random_range(5..400);
                let ids = (0..rows).map(|row| format!("i{mark}-{row}")).collect();
                Command::Import { mark, ids }
            }
            84..87 if !self.imported.is_empty() => {
                let most = self.imported.len().min(300);
                let count = self.random.random_range(1..=most);
                Command::Purge {
                    ids: self.imported.drain(..count).collect(),
                }
            }
            84..96 => Command::Dispatch {
                identity: own_identity(&id),
                run: mark,
            },
            _ => Command::Sight {
                identity: format!("stranger-{mark}"),
            },
        }
    }

    fn shared(&mut self) -> String {
        format!("S-{}", self.random.random_range(0..FOUGHT_FOR))
    }

    /// Sends a command, again where no answer came; sometimes under one `Idempotency-Key`, sometimes to another server.
    async fn carry_out(&mut self, command: Command) {
        let number = self.said.commands.len();
        self.said.commands.push(command.clone());
        let key = self
            .random
            .random_ratio(1, 2)
            .then(|| format!("key-{number}"));
        let attempts = self.random.random_range(1..=ATTEMPTS);
        let mut is_sure = true;
        for attempt in 0..attempts {
            let heard = self
                .attempt(&command, number, attempt, key.as_deref())
                .await;
            match &heard {
                Heard::Done { body, position } => {
                    self.note(&command, is_sure, Some(body));
                    if self.random.random_ratio(1, 4) {
                        self.read_back(&command, position.as_deref()).await;
                    }
                    return;
                }
                Heard::Refused(_) => {
                    self.note_refusal(&command);
                    return;
                }
                Heard::Unknown(_) => {
                    is_sure = false;
                    self.note(&command, is_sure, None);
                    sleep(REST).await;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        command: &Command,
        number: usize,
        attempt: usize,
        key: Option<&str>,
    ) -> Heard {
        let trace = format!("{:08x}{number:016x}{:08x}", self.number + 1, attempt + 1);
        let server = self.random.random_range(0..64);
        let mut client = self
            .client
            .at_url(&self.addresses.of(server))
            .with_header("traceparent", &format!("00-{trace}-{:016x}-00", 1));
        if let Some(key) = key {
            client = client.with_header("idempotency-key", key);
        }
        let (route, members) = command.request();
        let sent = Instant::now();
        let heard = match timeout(ANSWER, client.try_post(route, members)).await {
            Ok(Ok(answer)) => Heard::of(&answer),
            Ok(Err(error)) => Heard::Unknown(error.to_string()),
            Err(_) => Heard::Unknown("no answer in time".into()),
        };
        let (ended, heard_now) = (Instant::now(), heard.clone());
        self.said.attempts.push(Attempt {
            command: number,
            trace,
            sent,
            ended,
            heard,
        });
        heard_now
    }

    /// Remembers what reads may show from now on. Without a body nobody knows whether it was done.
    fn note(&mut self, command: &Command, is_sure: bool, body: Option<&Value>) {
        match command {
            Command::Upsert { person } => {
                self.mark_as(&person.id, Some(&person.mark), body.is_some());
            }
            Command::Bulk { people } => {
                for (place, person) in people.iter().enumerate() {
                    let item = body.map(|body| &body["items"][place]);
                    let is_known = item.is_some_and(|item| !is_unknown(item));
                    if !is_known || item.is_some_and(|item| item["status"] != "failed") {
                        self.mark_as(&person.id, Some(&person.mark), is_known);
                    }
                }
            }
            Command::Delete { id } => self.mark_as(id, None, body.is_some()),
            Command::Import { ids, .. } if is_sure && body.is_some() => {
                self.imported.extend(ids.iter().cloned());
            }
            _ => {}
        }
    }

    /// A refusal tells only of a deletion what is so.
    fn note_refusal(&mut self, command: &Command) {
        if let Command::Delete { id } = command {
            self.mark_as(id, None, true);
        }
    }

    fn mark_as(&mut self, id: &str, mark: Option<&String>, is_known: bool) {
        let marks = self.marks.entry(id.to_owned()).or_default();
        if is_known {
            marks.acknowledged = mark.cloned();
        } else {
            marks.unknown.push(mark.cloned());
        }
    }

    /// Reads a customer at the position of the answer, from any server: nothing older may come.
    async fn read_back(&mut self, command: &Command, position: Option<&str>) {
        let (
            Command::Upsert {
                person: Person { id, .. },
            }
            | Command::Delete { id },
            Some(position),
        ) = (command, position)
        else {
            return;
        };
        let server = self.random.random_range(0..64);
        let client = self
            .client
            .at_url(&self.addresses.of(server))
            .with_header("roster-min-position", position);
        let members = json!({"customer_user_id": id});
        let Ok(Ok(answer)) = timeout(ANSWER, client.try_post("users/get", members)).await else {
            return;
        };
        let found = match answer.status {
            200 => answer.json()["user"]["profile"]["mark"]
                .as_str()
                .map(str::to_owned),
            404 => None,
            _ => return,
        };
        let Some(marks) = self.marks.get(id) else {
            return;
        };
        if found != marks.acknowledged && !marks.unknown.contains(&found) {
            let expected = &marks.acknowledged;
            self.said.wrong_reads.push(format!(
                "{id} at {position} has the mark {found:?}, where {expected:?} was acknowledged"
            ));
        }
    }
}
