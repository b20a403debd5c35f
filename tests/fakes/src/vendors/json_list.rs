//! A list of JSON in every way in which lists are cut into pages.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World};

const KEY: &str = "json-list-api-key-secret";
const CLIENT: &str = "json-client";
const SECRET: &str = "json-client-secret-value";
/// Records of a page.
const SIZE: usize = 100;

/// How pages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// By number; a key in a header.
    Page,
    /// By the number of records before; user and password.
    Offset,
    /// By a cursor in the body; a token that is got first.
    Cursor,
    /// By a URL in the body; a key in the query.
    NextUrl,
    /// By a `Link` header; a bearer token.
    Link,
}

pub(super) fn credentials(paging: Paging, url: &str) -> Value {
    match paging {
        Paging::Page => json!({"type": "api_key_header", "name": "x-key", "key": KEY}),
        Paging::Offset => json!({"type": "basic", "user": "ann", "password": KEY}),
        Paging::Cursor => {
            json!({"type": "oauth_client_credentials", "token_url": format!("{url}/token"), "client_id": CLIENT, "client_secret": SECRET})
        }
        Paging::NextUrl => json!({"type": "api_key_query", "name": "api_key", "key": KEY}),
        Paging::Link => json!({"type": "bearer", "token": KEY}),
    }
}

pub(super) fn config(paging: Paging, url: &str) -> Value {
    let paging = match paging {
        Paging::Page => {
            json!({"type": "page", "param": "page", "size_param": "size", "size": SIZE})
        }
        Paging::Offset => {
            json!({"type": "offset", "param": "offset", "size_param": "size", "size": SIZE})
        }
        Paging::Cursor => json!({"type": "cursor", "param": "cursor", "path": "meta.next"}),
        Paging::NextUrl => json!({"type": "next_url", "path": "meta.next"}),
        Paging::Link => json!({"type": "link"}),
    };
    json!({
        "url": format!("{url}/people"), "records_path": "data.people", "paging": paging,
        "changes": {"path": "changed", "param": "since", "format": "unix_ms"},
    })
}

pub(super) fn answer(paging: Paging, world: &mut World, ask: &Ask) -> Reply {
    if ask.path == "/token" {
        let good = ask.body["client_id"] == CLIENT && ask.body["client_secret"] == SECRET;
        return if good {
            Reply::token(&world.issue())
        } else {
            Reply::status(401, &json!({"error": "invalid_client"}))
        };
    }
    let token = world.token();
    let counts = match paging {
        Paging::Page => world.counts(ask.header("x-key"), KEY),
        Paging::Offset => world.counts(ask.basic().as_deref(), &format!("ann:{KEY}")),
        Paging::Cursor => world.counts(ask.bearer(), &token),
        Paging::NextUrl => world.counts(ask.query("api_key"), KEY),
        Paging::Link => world.counts(ask.bearer(), KEY),
    };
    if !counts {
        return Reply::status(401, &json!({"detail": "who are you?"}));
    }
    let since = ask
        .query("since")
        .and_then(|text| text.parse::<i64>().ok())
        .unwrap_or(i64::MIN);
    let all: Vec<&Person> = world
        .present()
        .filter(|person| person.changed >= since)
        .collect();
    let size = world.most(SIZE);
    let from = match paging {
        Paging::Page => ask.number("page", 1).saturating_sub(1) * size,
        Paging::Offset => ask.number("offset", 0),
        _ => ask
            .query("cursor")
            .and_then(|cursor| cursor.strip_prefix("at-")?.parse().ok())
            .unwrap_or(0),
    };
    let people = all.iter().skip(from).take(size).map(|person| {
        json!({
            "id": person.no, "changed": person.changed,
            "contact": {"email": person.email, "first": person.first, "last": person.last},
        })
    });
    let people: Vec<Value> = people.collect();
    let more = from + people.len() < all.len();
    let cursor = more.then(|| format!("at-{}", from + people.len()));
    let since = ask
        .query("since")
        .map(|since| format!("&since={since}"))
        .unwrap_or_default();
    let link = cursor
        .as_ref()
        .map(|cursor| format!("/people?cursor={cursor}{since}"));
    let next = if paging == Paging::NextUrl {
        &link
    } else {
        &cursor
    };
    let reply = Reply::ok(&json!({"data": {"people": people}, "meta": {"next": next}}));
    match (paging, link) {
        (Paging::Link, Some(link)) => reply.with(
            "link",
            format!(
                "<{0}/people>; rel=\"first\", <{0}{link}>; rel=\"next\"",
                ask.url
            ),
        ),
        _ => reply,
    }
}
