//! Google Workspace: users by page token, no list at all where nobody is.

use serde_json::{Value, json};

use super::google::{ADMIN, refusal, token};
use crate::exchange::{Ask, Reply};
use crate::world::World;

const SCOPE: &str = "https://www.googleapis.com/auth/admin.directory.user.readonly";

pub(super) fn answer(world: &mut World, ask: &Ask) -> Reply {
    if ask.path == "/token" {
        return token(world, ask, SCOPE, Some(ADMIN));
    }
    if !world.counts(ask.bearer(), &world.token()) {
        return refusal(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        );
    }
    if ask.path != "/admin/directory/v1/users" || ask.query("customer") != Some("my_customer") {
        return refusal(400, "INVALID_ARGUMENT", "Bad Request");
    }
    let most = ask.number("maxResults", 100);
    if most > 500 {
        return refusal(400, "INVALID_ARGUMENT", "Invalid Input: maxResults");
    }
    let token = ask.query("pageToken").unwrap_or("page-0");
    let Some(Ok(behind)) = token.strip_prefix("page-").map(str::parse) else {
        return refusal(400, "INVALID_ARGUMENT", "Invalid Input: pageToken");
    };
    let (people, next) = world.after(behind, most);
    let users = people.iter().map(|person| {
        json!({
            "kind": "admin#directory#user", "id": person.no.to_string(), "primaryEmail": person.email,
            "name": {"givenName": person.first, "familyName": person.last, "fullName": format!("{} {}", person.first, person.last)},
            "suspended": false, "archived": false, "creationTime": "2026-01-01T00:00:00.000Z",
        })
    });
    let users: Vec<Value> = users.collect();
    let mut body = json!({"kind": "admin#directory#users", "etag": "\"x\""});
    if !users.is_empty() {
        body["users"] = Value::Array(users);
    }
    if let Some(next) = next {
        body["nextPageToken"] = format!("page-{next}").into();
    }
    Reply::ok(&body)
}
