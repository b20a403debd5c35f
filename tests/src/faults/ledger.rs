//! What was said, held against the log: every acknowledged command is there once and whole, no refused one is there, and
//! what was answered before a command was sent stands before it.

use std::collections::{HashMap, HashSet};

use roster_domain::registry;
use roster_store::Cell;
use serde_json::Value;

use super::said::{Attempt, Command, Heard, Said};

/// Events of a page.
const PAGE: i64 = 5_000;

/// One event of the log, as far as commands are held against it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) position: i64,
    pub(super) stream: String,
    pub(super) name: &'static str,
    /// The trace of the request that caused it.
    pub(super) trace: Option<String>,
}

/// Reads the whole log.
pub(super) async fn read(cell: &Cell) -> anyhow::Result<Vec<Entry>> {
    let names: HashMap<i16, &str> = registry::all()
        .iter()
        .map(|known| (known.event_type.type_no, known.event_type.name))
        .collect();
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.position);
        let page = cell.read_page(after, PAGE).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        for recorded in &page {
            let traceparent = recorded.meta()?.traceparent;
            entries.push(Entry {
                position: recorded.position,
                stream: recorded.stream.to_string(),
                name: names.get(&recorded.type_no).copied().unwrap_or_default(),
                trace: traceparent.and_then(|text| text.split('-').nth(1).map(str::to_owned)),
            });
        }
    }
}

/// Whether the answer leaves open what became of an item.
pub(super) fn is_unknown(item: &Value) -> bool {
    let code = item["error"]["code"].as_str().unwrap_or_default();
    ["unavailable", "internal_error", "timeout"].contains(&code)
}

/// What the log has of each attempt.
pub(super) struct Ledger<'a> {
    by_trace: HashMap<&'a str, Vec<&'a Entry>>,
    violations: Vec<String>,
}

/// Everything that is wrong between what was said and the log.
pub(super) fn violations(said: &Said, entries: &[Entry]) -> Vec<String> {
    let mut by_trace: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        if let Some(trace) = &entry.trace {
            by_trace.entry(trace).or_default().push(entry);
        }
    }
    let mut ledger = Ledger {
        by_trace,
        violations: Vec::new(),
    };
    let known: HashSet<&str> = said
        .attempts
        .iter()
        .map(|attempt| attempt.trace.as_str())
        .collect();
    let strangers = ledger
        .by_trace
        .keys()
        .filter(|trace| !known.contains(*trace));
    let strangers: Vec<String> = strangers
        .map(|trace| format!("nobody sent the trace {trace} of the log"))
        .collect();
    ledger.violations.extend(strangers);
    let mut earlier: HashMap<usize, Vec<&Attempt>> = HashMap::new();
    for attempt in &said.attempts {
        let command = &said.commands[attempt.command];
        let before = earlier.entry(attempt.command).or_default();
        ledger.check(command, attempt, before);
        before.push(attempt);
    }
    ledger.check_order(said);
    ledger.violations
}

impl Ledger<'_> {
    fn wrong(&mut self, command: &Command, attempt: &Attempt, what: impl Into<String>) {
        let what = what.into();
        self.violations.push(format!(
            "{what}: {command:?}, trace {}, {}",
            attempt.trace,
            attempt.text()
        ));
    }

    fn of(&self, attempt: &Attempt) -> &[&Entry] {
        self.by_trace
            .get(attempt.trace.as_str())
            .map_or(&[], Vec::as_slice)
    }

    /// The events that are the command itself, not what it brings with it.
    fn main(&self, command: &Command, attempt: &Attempt) -> Vec<&Entry> {
        let events = command.events();
        let is_main = |entry: &&&Entry| events.contains(&entry.name);
        self.of(attempt).iter().filter(is_main).copied().collect()
    }

    fn check(&mut self, command: &Command, attempt: &Attempt, before: &[&Attempt]) {
        let (all, main) = (self.of(attempt).len(), self.main(command, attempt).len());
        let is_bulk = matches!(command, Command::Bulk { .. });
        if !is_bulk && main > 1 {
            self.wrong(command, attempt, "it is in the log more than once");
        }
        if all > 0
            && main == 0
            && !command.is_job()
            && !matches!(command, Command::Sight { .. } | Command::Dispatch { .. })
        {
            self.wrong(command, attempt, "only a part of it is in the log");
        }
        if !self.is_whole(attempt, is_bulk) {
            self.wrong(command, attempt, "its events do not follow each other");
        }
        match &attempt.heard {
            Heard::Refused(_) if all > 0 => {
                self.wrong(command, attempt, "it was refused and is in the log");
            }
            Heard::Done {
                position: Some(position),
                ..
            } if attempt.position().is_none() => {
                self.wrong(command, attempt, format!("the epoch changed: {position}"));
            }
            Heard::Done { .. } => self.check_done(command, attempt, before),
            _ => {}
        }
    }

    fn check_done(&mut self, command: &Command, attempt: &Attempt, before: &[&Attempt]) {
        let main: Vec<(i64, String)> = self
            .main(command, attempt)
            .iter()
            .map(|entry| (entry.position, entry.stream.clone()))
            .collect();
        let body = attempt.body().cloned().unwrap_or_default();
        // Whether it must be there now, must not be there now, or was there by an earlier attempt.
        let expected = match command {
            Command::Upsert { .. } => body["changed"].as_bool(),
            Command::Delete { .. } | Command::Revoke { .. } => Some(true),
            Command::Link { .. } => body["created"].as_bool(),
            Command::Unlink { .. } => body["unlinked"].as_bool(),
            Command::Grant { .. } | Command::Schema { .. } => Some(!main.is_empty()),
            Command::Bulk { .. } => {
                self.check_bulk(command, attempt, before, &main);
                return;
            }
            _ => return,
        };
        if expected != Some(!main.is_empty()) {
            self.wrong(command, attempt, "the answer and the log differ");
        }
        // A mark is written by no other command, so nothing is left to do only where an earlier attempt did it.
        let is_marked = matches!(
            command,
            Command::Upsert { .. } | Command::Grant { .. } | Command::Schema { .. }
        );
        let was_done = before
            .iter()
            .any(|earlier| !self.main(command, earlier).is_empty());
        if is_marked && main.is_empty() && !was_done {
            self.wrong(
                command,
                attempt,
                "it was acknowledged and is not in the log",
            );
        }
        let last = self.of(attempt).last().map(|entry| entry.position);
        if last.is_some() && last != attempt.position() {
            self.wrong(
                command,
                attempt,
                format!("it ends at {last:?}, another position than was answered"),
            );
        }
        if let (Command::Upsert { .. }, Some((_, stream))) = (command, main.first())
            && body["customer"]["customer_ref"] != **stream
        {
            self.wrong(
                command,
                attempt,
                format!("it is about the customer {stream}"),
            );
        }
    }

    /// An item that was done has one event on its customer's stream, and no other item has any.
    fn check_bulk(
        &mut self,
        command: &Command,
        attempt: &Attempt,
        before: &[&Attempt],
        main: &[(i64, String)],
    ) {
        let body = attempt.body().cloned().unwrap_or_default();
        let (mut changed, mut unknown) = (0, 0);
        for item in body["items"].as_array().into_iter().flatten() {
            let stream = item["customer_ref"].as_str().unwrap_or_default();
            let now = main.iter().filter(|(_, of)| of == stream).count();
            let is_there = match item["status"].as_str() {
                Some("created" | "updated") => {
                    changed += 1;
                    now == 1
                }
                Some("unchanged") => {
                    now == 0
                        && before.iter().any(|earlier| {
                            self.main(command, earlier)
                                .iter()
                                .any(|entry| entry.stream == stream)
                        })
                }
                // It may have been done all the same, as a request that is answered with 503.
                _ if is_unknown(item) => {
                    unknown += 1;
                    true
                }
                _ => true,
            };
            if !is_there {
                self.wrong(
                    command,
                    attempt,
                    format!("the item {item} and the log differ"),
                );
            }
        }
        if !(changed..=changed + unknown).contains(&main.len()) {
            self.wrong(command, attempt, "its counts and the log differ");
        }
    }

    /// Events of a request follow each other, on each stream where there are several commands in it.
    fn is_whole(&self, attempt: &Attempt, by_stream: bool) -> bool {
        let mut last: HashMap<&str, i64> = HashMap::new();
        self.of(attempt).iter().all(|entry| {
            let key = if by_stream { entry.stream.as_str() } else { "" };
            let before = last.insert(key, entry.position);
            before.is_none_or(|before| before + 1 == entry.position)
        })
    }

    /// What was acknowledged before a command was sent has lower positions than the command.
    fn check_order(&mut self, said: &Said) {
        let mut acknowledged: Vec<(std::time::Instant, i64)> = said
            .attempts
            .iter()
            .filter_map(|attempt| Some((attempt.ended, attempt.position()?)))
            .collect();
        acknowledged.sort_unstable();
        let mut highest = 0;
        for (_, position) in &mut acknowledged {
            highest = highest.max(*position);
            *position = highest;
        }
        for attempt in &said.attempts {
            let before = acknowledged.partition_point(|(ended, _)| *ended < attempt.sent);
            let floor = before.checked_sub(1).map_or(0, |last| acknowledged[last].1);
            let first = self.of(attempt).first().map(|entry| entry.position);
            if first.is_some_and(|first| first <= floor) {
                let what = format!(
                    "it stands at {first:?}, though {floor} was answered before it was sent"
                );
                self.wrong(&said.commands[attempt.command], attempt, what);
            }
        }
    }
}
