//! A whole database as text, and the search for a value in every form in which it could stand there.

use std::process::Command;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use futures::TryStreamExt;
use roster_domain::value::fold::{digits, fold};
use secrecy::ExposeSecret;
use sqlx::PgConnection;
use tokio::task::spawn_blocking;

use crate::cluster::cluster;
use crate::database::Database;

/// The fewest digits that are searched for alone: fewer occur in any hexadecimal text.
const FEWEST_DIGITS: usize = 9;

/// The text of a database, in the forms that a search looks at.
pub struct Dump {
    text: String,
    lower: String,
    folded: String,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Dump")
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

impl Dump {
    /// Everything that `pg_dump` writes in its plain format. Where there is no `pg_dump` that fits the server, the rows of
    /// every table as the same `COPY` gives them.
    pub async fn take(database: &Database) -> anyhow::Result<Self> {
        let url = database.owner_url().expose_secret().to_owned();
        let dumped = spawn_blocking(move || pg_dump(&url)).await?;
        let text = match dumped {
            Ok(text) => text,
            Err(error) => {
                eprintln!("every table is copied, for there is no usable pg_dump: {error:#}");
                copy_of_every_table(database).await?
            }
        };
        Ok(Self::of(text))
    }

    /// What the statistics of Postgres keep of the values of columns, which is no part of a dump.
    pub async fn of_statistics(connection: &mut PgConnection) -> anyhow::Result<Self> {
        let kept: Vec<String> = sqlx::query_scalar(
            "SELECT concat_ws(E'\\n', schemaname, tablename, attname, most_common_vals::text, histogram_bounds::text,
                              most_common_elems::text)
               FROM pg_stats
              WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(connection)
        .await?;
        Ok(Self::of(kept.join("\n")))
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Any text, such as the log of a server.
    pub fn of(text: String) -> Self {
        Self {
            lower: text.to_lowercase(),
            folded: fold(&text),
            text,
        }
    }

    /// The forms in which a value stands in the text; none is what an erasure promises.
    pub fn forms_of(&self, value: &str) -> Vec<String> {
        let mut found = Vec::new();
        if self.lower.contains(&value.to_lowercase()) {
            found.push("raw or lower-cased".to_owned());
        }
        if self.folded.contains(&fold(value)) {
            found.push("accent-folded".to_owned());
        }
        for (name, spelling) in spellings(value) {
            let bytes = spelling.as_bytes();
            if name == "digits" && self.text.contains(&spelling) {
                found.push("digits".to_owned());
            }
            if self.lower.contains(&hex(bytes)) {
                found.push(format!("{name}, hexadecimal"));
            }
            for (alignment, encoded) in base64_cores(bytes).into_iter().enumerate() {
                if self.text.contains(&encoded) || self.lower.contains(&hex(encoded.as_bytes())) {
                    found.push(format!("{name}, base64, alignment {}", alignment % 3));
                }
            }
        }
        found
    }
}

fn pg_dump(url: &str) -> anyhow::Result<String> {
    let beside = cluster()
        .postgres_bin
        .as_ref()
        .map(|folder| folder.join("pg_dump"));
    let program = beside
        .filter(|program| program.exists())
        .unwrap_or_else(|| "pg_dump".into());
    // What follows the database is meant for the service alone.
    let url = url.split_once('?').map_or(url, |(plain, _)| plain);
    let output = Command::new(&program)
        .args(["--format=plain", url])
        .output();
    let output = output.with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!("pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn copy_of_every_table(database: &Database) -> anyhow::Result<String> {
    let mut connection = database.superuser().await?;
    let tables: Vec<String> = sqlx::query_scalar(
        // Rows of a partitioned table are in its partitions.
        "SELECT format('%I.%I', n.nspname, c.relname)
           FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut bytes = Vec::new();
    for table in tables {
        let mut rows = connection
            .copy_out_raw(&format!("COPY {table} TO STDOUT"))
            .await?;
        while let Some(part) = rows.try_next().await? {
            bytes.extend_from_slice(&part);
        }
    }
    Ok(String::from_utf8(bytes)?)
}

/// The spellings of a value that Roster or Postgres could have made: as it is, lower-cased, folded, its digits.
pub fn spellings(value: &str) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("raw", value.to_owned()),
        ("lower-cased", value.to_lowercase()),
        ("folded", fold(value)),
    ];
    let number = digits(value);
    if number.len() >= FEWEST_DIGITS {
        all.push(("digits", number));
    }
    all
}

/// Hexadecimal digits, as Postgres writes `bytea`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What of a base64 text depends on these bytes only, for each place that they may begin at and for both alphabets.
pub fn base64_cores(bytes: &[u8]) -> Vec<String> {
    let core = |encode: &dyn Fn(&[u8]) -> String, before: usize| {
        let encoded = encode(&[&vec![0; before], bytes].concat());
        encoded[(before * 8).div_ceil(6)..(before + bytes.len()) * 8 / 6].to_owned()
    };
    let standard = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let url_safe = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    (0..3)
        .map(|before| core(&standard, before))
        .chain((0..3).map(|before| core(&url_safe, before)))
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{Dump, hex};

    #[test]
    fn a_value_is_found_in_every_form() {
        let value = "Ádá Lovelace +49 170 5550101";
        for before in ["", "x", "xy", "xyz"] {
            let encoded = STANDARD.encode(format!("{before}{value}and more"));
            assert!(
                !Dump::of(encoded.clone()).forms_of(value).is_empty(),
                "base64 behind {before:?}"
            );
            assert!(
                !Dump::of(hex(encoded.as_bytes())).forms_of(value).is_empty(),
                "hexadecimal base64 behind {before:?}"
            );
        }
        let spelled = [
            value.to_uppercase(),
            "ada lovelace +49 170 5550101".into(),
            "491705550101".into(),
        ];
        for text in spelled
            .into_iter()
            .chain([hex(value.as_bytes()).to_uppercase()])
        {
            assert!(
                !Dump::of(format!("before\t{text}\tafter"))
                    .forms_of(value)
                    .is_empty(),
                "{text}"
            );
        }
        assert_eq!(
            Dump::of("Ada Byron +49 170 5550102".into()).forms_of(value),
            Vec::<String>::new()
        );
    }
}
