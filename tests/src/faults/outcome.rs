//! What a healed cell must show: over HTTP on every server, in its jobs, in its journal, and to a subscriber.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, ensure};
use futures::future::join_all;
use serde_json::{Value, json};

use super::expected::Expected;
use super::fleet::Fleet;
use super::said::{Command, Heard, OWN, Said, own_identity};
use crate::client::Client;
use crate::fold::Log;

/// Customers that are read from each server.
const READ: usize = 60;

/// All items of a list that is read by pages.
async fn all(client: &Client, route: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut page) = (Vec::new(), 1);
    loop {
        let answer = client
            .try_post(route, json!({"page_size": 200, "page": page}))
            .await?;
        ensure!(answer.status == 200, "{answer}");
        let found = answer.json();
        let found = found["items"].as_array().context("items")?;
        if found.is_empty() {
            return Ok(items);
        }
        items.extend_from_slice(found);
        page += 1;
    }
}

/// What of each command was heard.
struct Summary {
    done: Vec<Value>,
    unknown: usize,
}

fn summaries(said: &Said) -> HashMap<usize, Summary> {
    let mut all: HashMap<usize, Summary> = HashMap::new();
    for attempt in &said.attempts {
        let summary = all.entry(attempt.command).or_insert(Summary {
            done: Vec::new(),
            unknown: 0,
        });
        match &attempt.heard {
            Heard::Done { body, .. } => summary.done.push(body.clone()),
            Heard::Unknown(_) => summary.unknown += 1,
            Heard::Refused(_) => {}
        }
    }
    all
}

/// Imports and purges: each has ended, adds up, and did all that it was asked for or nothing.
pub(super) async fn jobs(client: &Client, said: &Said, log: &Log) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let present: HashSet<&str> = log
        .active()
        .filter_map(|(_, folded)| Some(folded.customer.customer_user_id.known()?.as_str()))
        .collect();
    let mut imports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for import in all(client, "users/imports/list").await? {
        let provider = import["provider"].as_str().unwrap_or_default().to_owned();
        imports.entry(provider).or_default().push(import);
    }
    let purges: HashMap<String, Value> = all(client, "users/purge/list")
        .await?
        .into_iter()
        .filter_map(|purge| Some((purge["purge_id"].as_str()?.to_owned(), purge)))
        .collect();
    let summaries = summaries(said);
    let mut purged = HashSet::new();
    for (number, command) in said.commands.iter().enumerate() {
        let (Command::Purge { ids }, Some(summary)) = (command, summaries.get(&number)) else {
            continue;
        };
        for body in &summary.done {
            let purge = body["purge_id"].as_str().and_then(|id| purges.get(id));
            let stats = purge
                .map(|purge| &purge["stats"])
                .cloned()
                .unwrap_or_default();
            let sum = stats["deleted"]
                .as_u64()
                .zip(stats["not_found"].as_u64())
                .map(|(a, b)| a + b);
            if purge.is_none_or(|purge| purge["finished_at"].is_null())
                || sum != Some(ids.len() as u64)
            {
                wrong.push(format!(
                    "the purge {body} of {} customers became {purge:?}",
                    ids.len()
                ));
            }
        }
        let gone = ids
            .iter()
            .filter(|id| !present.contains(id.as_str()))
            .count();
        let may_be_gone = !summary.done.is_empty() || (summary.unknown > 0 && gone > 0);
        if may_be_gone && gone != ids.len() || !may_be_gone && gone > 0 {
            wrong.push(format!(
                "{gone} of {} customers are gone: {command:?}",
                ids.len()
            ));
        }
        if may_be_gone {
            purged.extend(ids.iter().map(String::as_str));
        }
    }
    let mut imported = 0;
    for (number, command) in said.commands.iter().enumerate() {
        let (Command::Import { mark, ids }, Some(summary)) = (command, summaries.get(&number))
        else {
            continue;
        };
        let runs = imports.remove(mark).unwrap_or_default();
        let created: u64 = runs.iter().filter_map(|run| run["created"].as_u64()).sum();
        let is_over = |run: &Value| run["status"] == "completed" && run["total"] == ids.len();
        let is_known = |body: &Value| runs.iter().any(|run| run["import_id"] == body["import_id"]);
        if !runs.iter().all(is_over) || !summary.done.iter().all(is_known) {
            wrong.push(format!(
                "the import {mark} of {} rows became {runs:?}",
                ids.len()
            ));
        }
        if !runs.is_empty() {
            imported += ids.len();
            if created != ids.len() as u64 {
                wrong.push(format!(
                    "{created} rows of {} are counted: {runs:?}",
                    ids.len()
                ));
            }
        }
        if runs.is_empty() && summary.done.is_empty() && summary.unknown == 0 {
            continue;
        }
        let is_expected = |id: &str| !runs.is_empty() && !purged.contains(id);
        let odd = ids
            .iter()
            .find(|id| present.contains(id.as_str()) != is_expected(id));
        if let Some(id) = odd {
            wrong.push(format!(
                "the row {id} of an import is there or not, and must not be so: {runs:?}"
            ));
        }
    }
    wrong.extend(
        imports
            .keys()
            .map(|mark| format!("nobody asked for the import {mark}")),
    );
    let rows = present.iter().filter(|id| id.starts_with('i')).count();
    if rows + purged.len() != imported {
        wrong.push(format!(
            "{rows} imported customers, {} purged ones and {imported} rows",
            purged.len()
        ));
    }
    Ok(wrong)
}

/// What each server answers about customers and identities.
pub(super) async fn reads(
    fleet: &Fleet,
    client: &Client,
    said: &Said,
    expected: &Expected,
) -> anyhow::Result<Vec<String>> {
    let mut ids: BTreeSet<&str> = expected.people.keys().map(String::as_str).collect();
    for command in &said.commands {
        if let Command::Delete { id } = command {
            ids.insert(id);
        }
    }
    let step = ids.len().div_ceil(READ).max(1);
    let mut wrong = Vec::new();
    for number in 0..fleet.members.len() {
        let client = client.at_url(&fleet.addresses.of(number));
        let looks = ids.iter().step_by(step).map(async |id| {
            let members = json!({"customer_user_id": id});
            let answer = client.try_post("users/get", members).await?;
            let user = &answer.json()["user"];
            let found = (answer.status == 200).then(|| {
                let text = |name: &str| user["profile"][name].as_str().unwrap_or_default().to_owned();
                (text("mark"), text("email"), user["enabled"] == true)
            });
            let wanted = expected.people.get(*id);
            let wanted = wanted.map(|person| (person.mark.clone(), person.email.clone(), person.enabled));
            let identity = own_identity(id);
            let members = json!({"channel": OWN, "external_user_id": identity});
            let behind = client.try_post("identities/resolve", members).await?;
            let behind = behind.json()["customer"]["customer_user_id"].as_str().map(str::to_owned);
            let linked = expected.links.get(&(OWN.to_owned(), identity)).cloned();
            anyhow::Ok((found != wanted || behind != linked).then(|| {
                format!("server {number} has {id} as {found:?}, {behind:?} and not as {wanted:?}, {linked:?}")
            }))
        });
        for look in join_all(looks).await {
            wrong.extend(look?);
        }
    }
    Ok(wrong)
}

/// Every acknowledged dispatch is in the journal once, and nothing else is there. A record that was about somebody who is
/// erased keeps its place and loses the name of its run.
pub(super) async fn journal(client: &Client, said: &Said) -> anyhow::Result<Vec<String>> {
    let (mut runs, mut nameless): (HashMap<String, usize>, usize) = (HashMap::new(), 0);
    let mut cursor = Value::Null;
    loop {
        let page = json!({"page_size": 200, "cursor": cursor});
        let answer = client.try_post("audit/list", page).await?;
        ensure!(answer.status == 200, "{answer}");
        let page = answer.json();
        for item in page["items"].as_array().context("items")? {
            match item["run_id"].as_str() {
                Some(run) => *runs.entry(run.to_owned()).or_default() += 1,
                None => nameless += 1,
            }
        }
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let deletions = said.commands.iter().filter_map(|command| match command {
        Command::Delete { id } => Some(own_identity(id)),
        _ => None,
    });
    let erased: HashSet<String> = deletions.collect();
    let (mut wrong, mut sure, mut perhaps) = (Vec::new(), 0, 0);
    let summaries = summaries(said);
    for (number, command) in said.commands.iter().enumerate() {
        let (Command::Dispatch { run, identity }, Some(summary)) =
            (command, summaries.get(&number))
        else {
            continue;
        };
        let (found, is_known) = (runs.remove(run).unwrap_or(0), !summary.done.is_empty());
        let is_right = match (found, is_known) {
            (1, _) => is_known || summary.unknown > 0,
            (0, false) => {
                perhaps += usize::from(summary.unknown > 0);
                true
            }
            (0, true) if erased.contains(identity) => {
                sure += 1;
                true
            }
            _ => false,
        };
        if !is_right {
            let answers = summary.done.len();
            wrong.push(format!("{found} records of {command:?}, {answers} answers"));
        }
    }
    if !(sure..=sure + perhaps).contains(&nameless) {
        wrong.push(format!(
            "{nameless} records of people who were erased, and {sure} were answered"
        ));
    }
    wrong.extend(runs.keys().map(|run| format!("nobody dispatched {run}")));
    Ok(wrong)
}

/// Who is listed as nobody's was seen, and is nobody's.
pub(super) async fn unmatched(
    client: &Client,
    said: &Said,
    expected: &Expected,
) -> anyhow::Result<Vec<String>> {
    let seen: HashSet<&str> = said
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Dispatch { identity, .. } | Command::Sight { identity } => {
                Some(identity.as_str())
            }
            _ => None,
        })
        .collect();
    let mut wrong = Vec::new();
    for item in all(client, "unmatched/list").await? {
        let identity = item["external_user_id"].as_str().unwrap_or_default();
        let is_linked = expected
            .links
            .contains_key(&(OWN.to_owned(), identity.to_owned()));
        if is_linked || !seen.contains(identity) {
            wrong.push(format!("unmatched, linked: {is_linked}, {item}"));
        }
    }
    Ok(wrong)
}
