//! Salesforce: SOQL, result cursors of 2,000 records, errors as lists, times whose offset has no colon.

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::{Person, World};

pub(super) const CLIENT: &str = "3MVG9-consumer-key";
pub(super) const SECRET: &str = "1955279925675241571-salesforce-secret";
const FIELDS: &[&str] = &[
    "Id",
    "Email",
    "FirstName",
    "LastName",
    "Phone",
    "SystemModstamp",
    "IsDeleted",
];

pub(super) fn answer(world: &mut World, ask: &Ask) -> Reply {
    if ask.path == "/services/oauth2/token" {
        let good = ask.body["grant_type"] == "client_credentials"
            && ask.body["client_id"] == CLIENT
            && ask.body["client_secret"] == SECRET;
        return if good {
            let body = json!({"access_token": world.issue(), "instance_url": ask.url, "token_type": "Bearer", "issued_at": "1772323200000"});
            Reply::ok(&body)
        } else {
            Reply::status(
                400,
                &json!({"error": "invalid_client", "error_description": "invalid client credentials"}),
            )
        };
    }
    if !world.counts(ask.bearer(), &world.token()) {
        return refusal(401, "INVALID_SESSION_ID", "Session expired or invalid");
    }
    let path = ask
        .path
        .strip_prefix("/services/data/v59.0/")
        .unwrap_or_default();
    match path {
        "query" | "queryAll" => query(world, ask, path == "queryAll"),
        "sobjects/Contact/describe" => {
            let fields: Vec<Value> = FIELDS
                .iter()
                .map(|name| json!({"name": name, "relationshipName": null}))
                .collect();
            Reply::ok(&json!({"name": "Contact", "fields": fields}))
        }
        path => {
            let locator = path
                .strip_prefix("query/01g")
                .and_then(|rest| rest.split_once('-'));
            let numbers =
                locator.map(|(result, from)| (result.parse::<usize>(), from.parse::<usize>()));
            match numbers {
                Some((Ok(result), Ok(from))) if result < world.results.len() => {
                    page(world, result, from)
                }
                _ => refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
            }
        }
    }
}

fn query(world: &mut World, ask: &Ask, deleted: bool) -> Reply {
    let soql = ask.query("q").unwrap_or_default();
    let Some((fields, rest)) = soql
        .strip_prefix("SELECT ")
        .and_then(|soql| soql.split_once(" FROM Contact"))
    else {
        return refusal(400, "MALFORMED_QUERY", "unexpected token");
    };
    if let Some(unknown) = fields
        .split(',')
        .find(|name| !FIELDS.contains(&name.trim()))
    {
        let message = format!("No such column '{unknown}' on entity 'Contact'");
        return refusal(400, "INVALID_FIELD", &message);
    }
    let from = match rest.strip_prefix(" WHERE SystemModstamp >= ") {
        None => 0,
        Some(rest) => {
            let literal = rest.split(' ').next().unwrap_or_default();
            match chrono::DateTime::parse_from_rfc3339(literal) {
                Ok(instant) => instant.timestamp_millis(),
                Err(_) => {
                    return refusal(
                        400,
                        "MALFORMED_QUERY",
                        "line 1:1 no viable alternative at character",
                    );
                }
            }
        }
    };
    let limit = rest
        .split_once(" LIMIT ")
        .map(|(_, limit)| limit.parse().unwrap_or(0));
    let found = world.by_change((from - 1, u64::MAX)).into_iter();
    let found = found
        .filter(|person| deleted || !person.deleted)
        .map(|person| person.no);
    let found: Vec<u64> = found.take(limit.unwrap_or(usize::MAX)).collect();
    world.results.push(found);
    page(world, world.results.len() - 1, 0)
}

fn page(world: &World, result: usize, from: usize) -> Reply {
    let found = &world.results[result];
    let numbers: Vec<u64> = found
        .iter()
        .skip(from)
        .take(world.most(2_000))
        .copied()
        .collect();
    let to = from + numbers.len();
    let records: Vec<Value> = numbers
        .iter()
        .filter_map(|no| world.people.get(no))
        .map(contact)
        .collect();
    let mut body = json!({"totalSize": found.len(), "done": to >= found.len(), "records": records});
    if to < found.len() {
        body["nextRecordsUrl"] = format!("/services/data/v59.0/query/01g{result}-{to}").into();
    }
    Reply::ok(&body).with("sforce-limit-info", "api-usage=896/15000")
}

fn contact(person: &Person) -> Value {
    let id = format!("003{:012}AAA", person.no);
    json!({
        "attributes": {"type": "Contact", "url": format!("/services/data/v59.0/sobjects/Contact/{id}")},
        "Id": id, "Email": person.email, "FirstName": person.first, "LastName": person.last, "Phone": null,
        "SystemModstamp": person.changed().replace('Z', "+0000"), "IsDeleted": person.deleted,
    })
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    Reply::status(status, &json!([{"message": message, "errorCode": code}]))
}
