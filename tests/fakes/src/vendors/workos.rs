//! `WorkOS`: the users of a directory, and the events about them.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World};

pub(super) const KEY: &str = "sk_test_workos_api_key_secret";
pub(super) const DIRECTORY: &str = "directory_01ECAZ4NV9QMV47GW873HDCX74";

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.bearer(), KEY) {
        return Reply::status(401, &json!({"message": "Unauthorized"}));
    }
    let limit = ask.number("limit", 10);
    if limit == 0 || limit > 100 {
        return Reply::status(
            422,
            &json!({"message": "Validation failed", "errors": [{"field": "limit", "code": "limit must be at most 100"}]}),
        );
    }
    match ask.path.as_str() {
        "/directory_users" if ask.query("directory") == Some(DIRECTORY) => {
            let behind = ask
                .query("after")
                .and_then(|after| after.strip_prefix("directory_user_")?.parse().ok());
            let (people, next) = world.after(behind.unwrap_or(0), limit);
            let data: Vec<Value> = people.iter().map(|person| user(person)).collect();
            let after = next.map(|no| format!("directory_user_{no:010}"));
            Reply::ok(
                &json!({"object": "list", "data": data, "list_metadata": {"before": null, "after": after}}),
            )
        }
        "/events" => events(world, ask, world.most(limit)),
        _ => Reply::status(404, &json!({"message": "Directory not found"})),
    }
}

/// The last event of everybody, in their order.
fn events(world: &World, ask: &Ask, limit: usize) -> Reply {
    if !ask.query.iter().any(|(name, _)| name == "events[]") {
        return Reply::status(400, &json!({"message": "events is required"}));
    }
    let start = ask
        .query("range_start")
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let start = start.map_or(i64::MIN, |start| start.timestamp_millis());
    let behind: u64 = ask
        .query("after")
        .and_then(|after| after.strip_prefix("event_")?.parse().ok())
        .unwrap_or(0);
    let mut people: Vec<&Person> = world
        .people
        .values()
        .filter(|person| person.changed >= start && person.version > behind)
        .collect();
    people.sort_by_key(|person| (person.version, person.no));
    // Those who changed at once share a version, and stay together.
    let cut = people
        .get(limit.saturating_sub(1))
        .map(|person| person.version);
    let more = cut.filter(|cut| people.iter().any(|person| person.version > *cut));
    people.retain(|person| cut.is_none_or(|cut| person.version <= cut));
    let data = people.iter().map(|person| {
        let event = if person.deleted { "dsync.user.deleted" } else { "dsync.user.updated" };
        json!({"object": "event", "id": format!("event_{}", person.version), "event": event, "created_at": person.changed(), "data": user(person)})
    });
    let data: Vec<Value> = data.collect();
    let after = more.map(|version| format!("event_{version}"));
    Reply::ok(&json!({"object": "list", "data": data, "list_metadata": {"after": after}}))
}

fn user(person: &Person) -> Value {
    json!({
        "object": "directory_user", "id": format!("directory_user_{:010}", person.no), "directory_id": DIRECTORY,
        "email": person.email, "first_name": person.first, "last_name": person.last, "state": "active",
        "updated_at": person.changed(),
    })
}
