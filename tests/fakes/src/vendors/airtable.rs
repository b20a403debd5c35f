//! Airtable: an iterator over a table, cells that are absent when they are empty.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{World, page};

pub(super) const TOKEN: &str = "patX1Y2Z3.airtable-personal-access-token-secret";
pub(super) const BASE: &str = "appAbCdEfGhIjKlMn";
pub(super) const TABLE: &str = "People & friends";
pub(super) const MODIFIED: &str = "Last modified";

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.bearer(), TOKEN) {
        return refusal(401, "AUTHENTICATION_REQUIRED", "Authentication required");
    }
    if ask.path == format!("/v0/meta/bases/{BASE}/tables") {
        let fields: Vec<Value> = ["Email", "First", "Last", MODIFIED]
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        return Reply::ok(&json!({"tables": [{"id": "tbl1", "name": TABLE, "fields": fields}]}));
    }
    if ask.method != "POST" || ask.path != format!("/v0/{BASE}/{TABLE}/listRecords") {
        return Reply::status(404, &json!({"error": "NOT_FOUND"}));
    }
    let size = ask.body["pageSize"].as_u64().unwrap_or(100);
    if size == 0 || size > 100 {
        return refusal(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: pageSize");
    }
    let since = match ask.body["filterByFormula"].as_str() {
        None => i64::MIN,
        Some(formula) => {
            let literal = formula
                .strip_prefix("IS_AFTER({Last modified}, '")
                .and_then(|rest| rest.strip_suffix("')"));
            match literal.map(chrono::DateTime::parse_from_rfc3339) {
                Some(Ok(instant)) => instant.timestamp_millis(),
                _ => {
                    return refusal(
                        422,
                        "INVALID_FILTER_BY_FORMULA",
                        "The formula for filtering records is invalid",
                    );
                }
            }
        }
    };
    let offset = ask.body["offset"].as_str().unwrap_or("itr1/rec0");
    let Some(Ok(behind)) = offset.strip_prefix("itr1/rec").map(str::parse::<u64>) else {
        return refusal(
            422,
            "LIST_RECORDS_ITERATOR_NOT_AVAILABLE",
            "The iterator is not available",
        );
    };
    let rest = world.people.range(behind + 1..).map(|(_, person)| person);
    let size = usize::try_from(size).unwrap_or(100);
    let (people, next) = page(
        rest.filter(|person| !person.deleted && person.changed > since),
        world.most(size),
    );
    let records = people.iter().map(|person| {
        json!({
            "id": format!("rec{:014}", person.no), "createdTime": "2026-01-01T00:00:00.000Z",
            "fields": {"Email": person.email, "First": person.first, "Last": person.last, MODIFIED: person.changed()},
        })
    });
    let records: Vec<Value> = records.collect();
    let mut body = json!({"records": records});
    if let Some(next) = next {
        body["offset"] = format!("itr1/rec{next}").into();
    }
    Reply::ok(&body)
}

pub(super) fn limit(kind: &str) -> Reply {
    refusal(429, kind, "Rate limit exceeded. Please try again later")
}

fn refusal(status: u16, kind: &str, message: &str) -> Reply {
    Reply::status(
        status,
        &json!({"error": {"type": kind, "message": message}}),
    )
}
