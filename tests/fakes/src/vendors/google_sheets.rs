//! Google Sheets: a hidden tab before the one with the people, values without their trailing blanks, no values at all where none are.

use serde_json::{Value, json};

use super::google::{refusal, token};
use crate::exchange::{Ask, Reply};
use crate::world::{Person, World};

pub(super) const SPREADSHEET: &str = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms";
pub(super) const KEY: &str = "AIzaSyD-fake-google-api-key-secret";
const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets.readonly";
/// Blank rows at the end of the grid.
const BLANK: usize = 20;

pub(super) fn answer(world: &mut World, ask: &Ask) -> Reply {
    if ask.path == "/token" {
        return token(world, ask, SCOPE, None);
    }
    let counts = match ask.query("key") {
        Some(key) => world.counts(Some(key), KEY),
        None => world.counts(ask.bearer(), &world.token()),
    };
    match (counts, ask.query("key"), ask.bearer()) {
        (true, ..) => {}
        (false, Some(_), _) => {
            return refusal(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            );
        }
        (false, None, None) => {
            return refusal(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers.",
            );
        }
        (false, None, Some(_)) => {
            return refusal(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials.",
            );
        }
    }
    let base = format!("/v4/spreadsheets/{SPREADSHEET}");
    let Some(rest) = ask.path.strip_prefix(&base) else {
        return refusal(404, "NOT_FOUND", "Requested entity was not found.");
    };
    let grid = rows(world).count() + BLANK;
    if rest.is_empty() {
        let tab = |title: &str, rows: usize, hidden: bool| json!({"properties": {"title": title, "hidden": hidden, "gridProperties": {"rowCount": rows, "columnCount": 4}}});
        return Reply::ok(
            &json!({"sheets": [tab("Lists", 10, true), tab("Ann's people", grid, false)]}),
        );
    }
    let ranges: Vec<&str> = match rest.strip_prefix("/values/") {
        Some(range) => vec![range],
        None if rest == "/values:batchGet" => {
            let ranges = ask.query.iter().filter(|(name, _)| name == "ranges");
            ranges.map(|(_, range)| range.as_str()).collect()
        }
        None => return refusal(404, "NOT_FOUND", "Requested entity was not found."),
    };
    let mut answers = Vec::new();
    for range in ranges {
        let span = range
            .strip_prefix("'Ann''s people'!")
            .and_then(|span| span.split_once(':'));
        let Some((Ok(from), Ok(to))) =
            span.map(|(from, to)| (from.parse::<usize>(), to.parse::<usize>()))
        else {
            return refusal(
                400,
                "INVALID_ARGUMENT",
                &format!("Unable to parse range: {range}"),
            );
        };
        if from == 0 || from > grid {
            return refusal(
                400,
                "INVALID_ARGUMENT",
                &format!("Range ({range}) exceeds grid limits. Max rows: {grid}"),
            );
        }
        let wanted = rows(world).skip(from - 1).take(to + 1 - from);
        let mut values: Vec<Value> = wanted.map(Row::cells).collect();
        while values
            .last()
            .is_some_and(|row| row.as_array().is_none_or(Vec::is_empty))
        {
            values.pop();
        }
        let mut answer = json!({"range": range, "majorDimension": "ROWS"});
        if !values.is_empty() {
            answer["values"] = Value::Array(values);
        }
        answers.push(answer);
    }
    match rest.strip_prefix("/values/") {
        Some(_) => Reply::ok(&answers[0]),
        None => Reply::ok(&json!({"spreadsheetId": SPREADSHEET, "valueRanges": answers})),
    }
}

/// A row of the tab.
enum Row<'a> {
    Header,
    Blank,
    Of(&'a Person),
}

impl Row<'_> {
    fn cells(self) -> Value {
        match self {
            Self::Header => json!(["Id", "E-mail", "First name", "Last name"]),
            Self::Blank => json!([]),
            Self::Of(person) => json!([
                format!("c-{}", person.no),
                person.email,
                person.first,
                person.last
            ]),
        }
    }
}

/// The header, a blank row behind the first person, and everybody.
fn rows(world: &World) -> impl Iterator<Item = Row<'_>> {
    let mut people = world.present().map(Row::Of);
    let first = people.next();
    let blank = first.is_some().then_some(Row::Blank);
    std::iter::once(Row::Header)
        .chain(first)
        .chain(blank)
        .chain(people)
}
