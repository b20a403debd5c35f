//! Intercom: a list, and a search whose times of change count in days.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World, page};

pub(super) const TOKEN: &str = "dG9rOmludGVyY29tLWFjY2Vzcy10b2tlbi1zZWNyZXQ=";
const DAY: i64 = 86_400_000;

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.bearer(), TOKEN) {
        return refusal(401, "unauthorized", "Access Token Invalid");
    }
    if ask.header("intercom-version").is_none() {
        return refusal(
            400,
            "intercom_version_invalid",
            "The requested version could not be found",
        );
    }
    let (size, after, from) = match (ask.method.as_str(), ask.path.as_str()) {
        ("GET", "/contacts") => (
            ask.number("per_page", 50),
            ask.query("starting_after"),
            None,
        ),
        ("POST", "/contacts/search") => {
            let body = &ask.body;
            let filter = &body["query"]["value"][0];
            let sorted = body["sort"] == json!({"field": "updated_at", "order": "ascending"});
            let (Some(from), true, true) =
                (filter["value"].as_i64(), filter["operator"] == ">", sorted)
            else {
                return refusal(400, "parameter_invalid", "Unsupported query");
            };
            let size = body["pagination"]["per_page"].as_u64().unwrap_or(50);
            let after = body["pagination"]["starting_after"].as_str();
            (
                usize::try_from(size).unwrap_or(usize::MAX),
                after,
                Some(from),
            )
        }
        _ => return refusal(404, "not_found", "Resource Not Found"),
    };
    if size == 0 || size > 150 {
        return refusal(
            400,
            "parameter_invalid",
            "per_page must be between 1 and 150",
        );
    }
    let position = after.unwrap_or("0:0").split_once(':');
    let Some((Ok(changed), Ok(no))) =
        position.map(|(changed, no)| (changed.parse::<i64>(), no.parse::<u64>()))
    else {
        return refusal(400, "parameter_invalid", "starting_after is invalid");
    };
    let most = world.most(size);
    let (people, more) = match from {
        None => world.after(no, most),
        Some(from) => {
            // The filter begins with the day after.
            let begin = ((from * 1_000).div_euclid(DAY) + 1) * DAY;
            let there = |person: &&Person| {
                !person.deleted && person.changed >= begin && !world.late.contains(&person.no)
            };
            page(
                world.by_change((changed, no)).into_iter().filter(there),
                most,
            )
        }
    };
    let next = people
        .last()
        .filter(|_| more.is_some())
        .map(|last| format!("{}:{}", last.changed, last.no));
    let data = people.iter().map(|person| {
        json!({
            "type": "contact", "id": format!("6a{:022x}", person.no), "role": "user", "email": person.email,
            "name": person.first, "updated_at": person.changed / 1_000, "custom_attributes": {"last": person.last},
        })
    });
    let data: Vec<Value> = data.collect();
    let mut pages = json!({"type": "pages", "page": 1, "per_page": size, "total_pages": 1});
    if let Some(next) = next {
        pages["next"] = json!({"per_page": size, "starting_after": next});
    }
    Reply::ok(
        &json!({"type": "list", "data": data, "total_count": world.people.len(), "pages": pages}),
    )
}

pub(super) fn limit() -> Reply {
    refusal(
        429,
        "rate_limit_exceeded",
        "You have exceeded the rate limit",
    )
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"type": "error.list", "request_id": "b68959ea-6328-4f70-83cb-e7913dba1542", "errors": [{"code": code, "message": message}]});
    Reply::status(status, &body)
}
