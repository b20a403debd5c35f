//! A CSV file with an `ETag`.

use std::fmt::Write;

use serde_json::json;

use crate::exchange::{Ask, Reply};
use crate::world::World;

pub(super) const TOKEN: &str = "csv-download-token-secret";

pub(super) fn answer(world: &World, ask: &Ask) -> Reply {
    if !world.counts(ask.bearer(), TOKEN) {
        return Reply::status(401, &json!({"message": "Unauthorized"}));
    }
    if ask.path != "/people.csv" {
        return Reply::other(404, "text/html", "<html>Not found</html>");
    }
    let tag = format!("\"v{}\"", world.version);
    if ask.header("if-none-match") == Some(tag.as_str()) {
        return Reply::other(304, "text/csv", "").with("etag", tag);
    }
    let mut file = String::from("\u{feff}Id,E-mail,First name,Last name\r\n");
    for person in world.present() {
        let _ = write!(
            file,
            "c-{},{},\"{}\",\"{}\"\r\n",
            person.no, person.email, person.first, person.last
        );
    }
    Reply::other(200, "text/csv; charset=utf-8", file).with("etag", tag)
}
