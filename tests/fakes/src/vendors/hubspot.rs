//! `HubSpot`: a list by id, a search that ends at its ten-thousandth result and lags behind.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World, page};

pub(super) const TOKEN: &str = "pat-na1-0d6fe1c2-7a55-4f0f-9f6e-hubspotsecret";
const KNOWN: &[&str] = &[
    "email",
    "firstname",
    "lastname",
    "phone",
    "createdate",
    "hs_object_id",
    "lastmodifieddate",
];

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.bearer(), TOKEN) {
        return refusal(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found.",
        );
    }
    match (ask.method.as_str(), ask.path.as_str()) {
        ("GET", "/crm/v3/objects/contacts") => list(world, ask),
        ("POST", "/crm/v3/objects/contacts/search") => search(world, &ask.body),
        ("GET", "/crm/v3/properties/contacts") => {
            let names: Vec<Value> = KNOWN
                .iter()
                .map(|name| json!({"name": name, "label": name, "type": "string"}))
                .collect();
            Reply::ok(&json!({"results": names}))
        }
        _ => Reply::other(
            404,
            "text/html",
            "<!DOCTYPE html><html><body>Not found</body></html>",
        ),
    }
}

fn list(world: &World, ask: &Ask) -> Reply {
    let limit = ask.number("limit", 10);
    if limit == 0 || limit > 100 {
        return refusal(
            400,
            "VALIDATION_ERROR",
            "Invalid limit: must be between 1 and 100",
        );
    }
    let Ok(after) = ask.query("after").unwrap_or("0").parse() else {
        return refusal(400, "VALIDATION_ERROR", "Invalid after");
    };
    let wanted: Vec<String> = ask
        .query("properties")
        .unwrap_or_default()
        .split(',')
        .map(ToOwned::to_owned)
        .collect();
    let (people, next) = world.after(after, limit);
    let paging = next.map(|next| {
        let link = format!("{}/crm/v3/objects/contacts?after={next}", ask.url);
        json!({"next": {"after": next.to_string(), "link": link}})
    });
    results(&people, &wanted, None, paging)
}

fn search(world: &World, body: &Value) -> Reply {
    let limit = usize::try_from(body["limit"].as_u64().unwrap_or(10)).unwrap_or(usize::MAX);
    if limit > 200 {
        return refusal(
            400,
            "VALIDATION_ERROR",
            "Invalid limit: must be at most 200",
        );
    }
    let offset = body["after"]
        .as_str()
        .map_or(0, |after| after.parse().unwrap_or(usize::MAX));
    if offset.saturating_add(limit) > world.found_at_most {
        return refusal(
            400,
            "VALIDATION_ERROR",
            "Paging through more than 10000 results is not supported",
        );
    }
    let is_by_id = match &body["sorts"][0] {
        Value::String(name) => name == "hs_object_id",
        sort => sort["propertyName"] == "hs_object_id" && sort["direction"] == "ASCENDING",
    };
    let (mut from, mut behind) = (0, 0);
    for filter in body["filterGroups"][0]["filters"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let value = filter["value"]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok());
        match (
            filter["propertyName"].as_str(),
            filter["operator"].as_str(),
            value,
        ) {
            (Some("lastmodifieddate"), Some("GTE"), Some(value)) => from = value,
            (Some("hs_object_id"), Some("GT"), Some(value)) => {
                behind = u64::try_from(value).unwrap_or_default();
            }
            _ => {
                return refusal(
                    400,
                    "VALIDATION_ERROR",
                    "Invalid input JSON: there was a problem with the request.",
                );
            }
        }
    }
    let wanted = body["properties"].as_array().into_iter().flatten();
    let wanted: Vec<String> = wanted
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    let found = || {
        let people = world.people.range(behind + 1..).map(|(_, person)| person);
        people.filter(|person| {
            !person.deleted && person.changed >= from && !world.late.contains(&person.no)
        })
    };
    let total = found().count();
    let most = world.most(limit);
    let (people, next) = if is_by_id {
        page(found().skip(offset), most)
    } else {
        let mut sorted: Vec<&Person> = found().collect();
        sorted.sort_by_key(|person| person.changed);
        page(sorted.into_iter().skip(offset), most)
    };
    let after = (offset + people.len()).to_string();
    let paging = next.map(|_| json!({"next": {"after": after}}));
    results(&people, &wanted, Some(total), paging)
}

/// A page of contacts.
fn results(
    people: &[&Person],
    wanted: &[String],
    total: Option<usize>,
    paging: Option<Value>,
) -> Reply {
    let total = total.map_or_else(String::new, |total| format!(r#""total":{total},"#));
    let paging = paging.map_or_else(String::new, |paging| format!(r#","paging":{paging}"#));
    let list = contacts(people, wanted);
    Reply::other(
        200,
        "application/json",
        format!(r#"{{{total}"results":{list}{paging}}}"#),
    )
}

/// Contacts as the text of a list: there may be hundreds of thousands.
fn contacts(people: &[&Person], wanted: &[String]) -> String {
    let mut list = String::with_capacity(people.len() * 320);
    for (index, person) in people.iter().enumerate() {
        list.push(if index == 0 { '[' } else { ',' });
        let (no, changed) = (person.no, person.changed());
        let _ = write!(
            list,
            r#"{{"id":"{no}","createdAt":"2026-01-01T00:00:00Z","updatedAt":"{changed}","archived":false,"properties":{{"#
        );
        let _ = write!(
            list,
            r#""createdate":"2026-01-01T00:00:00Z","hs_object_id":"{no}","lastmodifieddate":"{changed}""#
        );
        for name in wanted {
            let value = match name.as_str() {
                "email" => &person.email,
                "firstname" => &person.first,
                "lastname" => &person.last,
                "phone" => {
                    list.push_str(r#","phone":null"#);
                    continue;
                }
                // Unknown properties are left out without a word.
                _ => continue,
            };
            let _ = write!(list, r#","{name}":"#);
            if value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
            {
                let _ = write!(list, r#""{value}""#);
            } else {
                list.push_str(&Value::from(value.as_str()).to_string());
            }
        }
        list.push_str("}}");
    }
    list.push_str(if people.is_empty() { "[]" } else { "]" });
    list
}

pub(super) fn limit(policy: &str) -> Reply {
    let body = json!({
        "status": "error", "message": format!("You have reached your {} limit.", policy.to_lowercase()), "errorType": "RATE_LIMIT",
        "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24", "policyName": policy,
    });
    Reply::status(429, &body)
}

fn refusal(status: u16, category: &str, message: &str) -> Reply {
    let body = json!({
        "status": "error", "message": message, "category": category, "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24",
    });
    Reply::status(status, &body)
}
