//! Zendesk: the incremental export, with deleted people, whose end may come without a cursor.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{World, page};

pub(super) const EMAIL: &str = "admin@example.org";
pub(super) const TOKEN: &str = "zendesk-api-token-secret-6a7b8c";

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    let expected = format!("{EMAIL}/token:{TOKEN}");
    if !world.counts(ask.basic().as_deref(), &expected) {
        return Reply::status(401, &json!({"error": "Couldn't authenticate you"}));
    }
    if ask.path != "/api/v2/incremental/users/cursor.json" {
        return Reply::status(
            404,
            &json!({"error": "InvalidEndpoint", "description": "Not found"}),
        );
    }
    let size = ask.number("per_page", 1_000);
    if size == 0 || size > 1_000 {
        return Reply::status(
            422,
            &json!({"error": "InvalidValue", "description": "per_page must be at most 1000"}),
        );
    }
    let position = match (ask.query("cursor"), ask.query("start_time")) {
        (Some(cursor), _) => cursor.split_once(':'),
        (None, Some(_)) => Some(("0", "0")),
        (None, None) => None,
    };
    let Some((Ok(changed), Ok(no))) =
        position.map(|(changed, no)| (changed.parse::<i64>(), no.parse::<u64>()))
    else {
        return Reply::status(
            422,
            &json!({"error": "InvalidValue", "description": "start_time or cursor is required"}),
        );
    };
    let (people, more) = page(world.by_change((changed, no)).into_iter(), world.most(size));
    let cursor = people
        .last()
        .map(|last| format!("{}:{}", last.changed, last.no));
    let users = people.iter().map(|person| {
        let email = if person.deleted { Value::Null } else { person.email.as_str().into() };
        json!({
            "id": person.no, "name": person.first, "email": email, "role": "end-user", "active": !person.deleted,
            "suspended": false, "user_fields": {"last": person.last}, "updated_at": person.changed(),
        })
    });
    let users: Vec<Value> = users.collect();
    let url = cursor
        .as_ref()
        .map(|cursor| format!("{}{}?cursor={cursor}", ask.url, ask.path));
    Reply::ok(&json!({
        "users": users, "after_url": url, "after_cursor": cursor, "before_url": null, "before_cursor": null,
        "end_of_stream": more.is_none(),
    }))
}
