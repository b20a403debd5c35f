//! Pipedrive, API v2: only persons that are there, a cursor that is null at the end.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World, page};

pub(super) const TOKEN: &str = "f8a3c0de-pipedrive-api-token-secret";

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.header("x-api-token"), TOKEN) {
        return refusal(401, "unauthorized access");
    }
    if ask.path != "/api/v2/persons" {
        return refusal(404, "Unknown method.");
    }
    let limit = ask.number("limit", 100);
    if limit == 0 || limit > 500 {
        return refusal(400, "Validation failed: limit must be at most 500");
    }
    let since = match ask
        .query("updated_since")
        .map(chrono::DateTime::parse_from_rfc3339)
    {
        None => i64::MIN,
        Some(Ok(since)) => since.timestamp_millis(),
        Some(Err(_)) => return refusal(400, "Validation failed: updated_since"),
    };
    let cursor = ask.query("cursor").unwrap_or("0:0").split_once(':');
    let Some((Ok(changed), Ok(no))) =
        cursor.map(|(changed, no)| (changed.parse::<i64>(), no.parse::<u64>()))
    else {
        return refusal(400, "Invalid cursor");
    };
    let there = |person: &&Person| !person.deleted && person.changed >= since;
    let most = world.most(limit);
    let (people, more) = if ask.query("sort_by") == Some("update_time") {
        page(
            world.by_change((changed, no)).into_iter().filter(there),
            most,
        )
    } else {
        page(
            world
                .people
                .range(no + 1..)
                .map(|(_, person)| person)
                .filter(there),
            most,
        )
    };
    let next = people
        .last()
        .filter(|_| more.is_some())
        .map(|last| format!("{}:{}", last.changed, last.no));
    let data = people.iter().map(|person| {
        json!({
            "id": person.no, "name": format!("{} {}", person.first, person.last), "first_name": person.first,
            "last_name": person.last, "emails": [{"value": person.email, "primary": true, "label": "work"}], "phones": [],
            "add_time": "2026-01-01T00:00:00Z", "update_time": person.changed(), "is_deleted": false, "custom_fields": {},
        })
    });
    let data: Vec<Value> = data.collect();
    Reply::ok(&json!({"success": true, "data": data, "additional_data": {"next_cursor": next}}))
}

pub(super) fn limit(daily: u64) -> Reply {
    refusal(429, "request over limit")
        .with("x-daily-ratelimit-token-remaining", daily.to_string())
        .with("x-ratelimit-reset", "2")
}

fn refusal(status: u16, message: &str) -> Reply {
    Reply::status(
        status,
        &json!({"success": false, "error": message, "errorCode": status}),
    )
}
