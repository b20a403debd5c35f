//! Microsoft Graph: the delta query of users, an empty last page, properties that are absent when they are unset.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World, page};

pub(super) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(super) const CLIENT: &str = "99999999-8888-4777-8666-555555555555";
pub(super) const SECRET: &str = "abc8Q~microsoft-client-secret";
/// Users of a page.
const SIZE: usize = 100;

pub(super) fn answer(world: &mut World, ask: &Ask) -> Reply {
    if ask.path == format!("/{TENANT}/oauth2/v2.0/token") {
        let good = ask.body["client_id"] == CLIENT
            && ask.body["client_secret"] == SECRET
            && ask.body["scope"] == "https://graph.microsoft.com/.default";
        return if good {
            Reply::token(&world.issue())
        } else {
            Reply::status(
                401,
                &json!({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}),
            )
        };
    }
    if !world.counts(ask.bearer(), &world.token()) {
        return refusal(
            401,
            "InvalidAuthenticationToken",
            "Access token has expired or is not yet valid.",
        );
    }
    if ask.path != "/v1.0/users/delta" || ask.query("$top").is_some() {
        return refusal(400, "BadRequest", "Resource not found for the segment");
    }
    // (changes after this one, up to this one, behind this user)
    let token = ask.query("$skiptoken").or(ask.query("$deltatoken"));
    let numbers: Vec<u64> = match token {
        None => vec![0, world.version, 0],
        Some(token) => token
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect(),
    };
    let (since, until, behind) = match numbers.as_slice() {
        [since, until, behind] => (*since, *until, *behind),
        [since] if *since <= world.version => (*since, world.version, 0),
        _ => {
            return refusal(
                410,
                "syncStateNotFound",
                "The sync state is not found; a full sync is needed.",
            );
        }
    };
    let first = since == 0;
    let rest = world.people.range(behind + 1..).map(|(_, person)| person);
    let there = rest.filter(|person| person.version > since && !(first && person.deleted));
    let (people, _) = page(there, world.most(SIZE));
    let value: Vec<Value> = people.iter().map(|person| user(person)).collect();
    // A page with users is never the last one.
    let link = match people.last() {
        Some(last) => (
            "@odata.nextLink",
            format!("$skiptoken={since}.{until}.{}", last.no),
        ),
        None => ("@odata.deltaLink", format!("$deltatoken={until}")),
    };
    let mut body = json!({"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users", "value": value});
    body[link.0] = format!("{}/v1.0/users/delta?{}", ask.url, link.1).into();
    Reply::ok(&body)
}

fn user(person: &Person) -> Value {
    let id = format!("00000000-0000-4000-8000-{:012}", person.no);
    if person.deleted {
        return json!({"id": id, "@removed": {"reason": "changed"}});
    }
    let mut user = json!({
        "id": id, "userPrincipalName": person.email, "givenName": person.first, "surname": person.last,
    });
    if person.no.is_multiple_of(2) {
        user["mail"] = person.email.as_str().into();
    }
    user
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let inner = json!({"date": "2026-03-01T00:00:00", "request-id": "r", "client-request-id": "c"});
    Reply::status(
        status,
        &json!({"error": {"code": code, "message": message, "innerError": inner}}),
    )
}
