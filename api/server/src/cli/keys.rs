//! `roster keys`: API keys, straight in the database. The key-encryption key has a file of its own, `rotate`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Parser, Subcommand};
use roster_commands::authority::{TABLE, Verb};
use roster_commands::clock::{Clock, SystemClock};
use roster_commands::keys::{Keys, NewKey};
use roster_domain::Timestamp;
use roster_domain::scope::is_scope_id;
use roster_store::keys::ApiKeyRecord;

use super::rotate;
use crate::config::Settings;
use crate::output;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; the credential is shown this once.
    Create(Create),
    /// List the keys, newest first.
    List,
    /// End a key. Servers notice within ten seconds.
    Revoke {
        /// The id, as `list` shows it.
        key_id: String,
    },
    /// Wrap everything with another key-encryption key, while servers that have both serve.
    RotateKek(rotate::Args),
}

#[derive(Debug, Parser)]
pub(super) struct Create {
    /// The account that the key acts for.
    #[arg(long, value_parser = scope_id)]
    account: String,
    /// The only organization; every one of the account without it.
    #[arg(long, value_parser = scope_id)]
    org: Option<String>,
    /// The only project; every one of the organization without it.
    #[arg(long, value_parser = scope_id, requires = "org")]
    project: Option<String>,
    /// Permissions, with commas: `*`, `project_users:*`, `project_users:view` (or update, delete, execute).
    #[arg(long, value_delimiter = ',', default_value = "*", value_parser = permission)]
    scopes: Vec<String>,
    /// When it ends: `30d`, `12h`, or a time such as 2027-01-31T00:00:00Z.
    #[arg(long)]
    expires: Option<String>,
    /// What it is for.
    #[arg(long, default_value = "")]
    name: String,
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    if let Command::RotateKek(args) = command {
        return rotate::run(&args, settings).await;
    }
    let session = Session::open(settings).await?;
    let clock = Arc::new(SystemClock);
    let keys = Keys::new(session.cell.pool().clone(), clock.clone());
    match command {
        Command::Create(create) => {
            let expires_at = create
                .expires
                .as_deref()
                .map(|text| end(text, clock.now()))
                .transpose()?;
            let new = NewKey {
                name: create.name,
                account_id: create.account,
                org_id: create.org,
                project_id: create.project,
                scopes: create.scopes,
                expires_at,
            };
            let created = keys.create(new).await?;
            output::note(format_args!(
                "key {}: this is the only time that its credential is shown",
                created.key_id
            ));
            output::line(created.token)?;
        }
        Command::RotateKek(_) => {}
        Command::List => list(&keys.list().await?, clock.now().to_utc())?,
        Command::Revoke { key_id } => {
            keys.revoke(&key_id)
                .await
                .with_context(|| format!("key {key_id}"))?;
            output::line(format_args!("key {key_id} is revoked"))?;
        }
    }
    session.close().await;
    Ok(ExitCode::SUCCESS)
}

fn list(keys: &[ApiKeyRecord], now: DateTime<Utc>) -> std::io::Result<()> {
    output::line(format_args!(
        "{:<18} {:<8} {:<21} {:<21} SCOPE AND PERMISSIONS",
        "KEY", "STATE", "CREATED", "ENDS"
    ))?;
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            _ => "active",
        };
        let any = || "*".to_owned();
        let scope = [
            key.account_id.clone(),
            key.org_id.clone().unwrap_or_else(any),
            key.project_id.clone().unwrap_or_else(any),
        ]
        .join("/");
        let name = if key.name.is_empty() {
            String::new()
        } else {
            format!(" {:?}", key.name)
        };
        output::line(format_args!(
            "{:<18} {state:<8} {:<21} {:<21} {scope} {}{name}",
            key.key_id,
            time(key.created_at),
            key.expires_at.map_or_else(|| "never".into(), time),
            key.scopes.join(",")
        ))?;
    }
    Ok(())
}

fn time(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn scope_id(text: &str) -> Result<String, String> {
    if is_scope_id(text) {
        Ok(text.to_owned())
    } else {
        Err("must match [A-Za-z0-9][A-Za-z0-9._-]{0,127} and not be 'unknown'".into())
    }
}

/// A permission that some operation asks for: a misspelt one would silently allow nothing.
fn permission(text: &str) -> Result<String, String> {
    let verbs = [Verb::View, Verb::Update, Verb::Delete, Verb::Execute].map(Verb::as_str);
    let is_known = |module: &str| TABLE.iter().any(|permission| permission.module == module);
    let is_right = text == "*"
        || text.split_once(':').is_some_and(|(module, verb)| {
            is_known(module) && (verb == "*" || verbs.contains(&verb))
        });
    if is_right {
        Ok(text.to_owned())
    } else {
        Err("must be `*`, `module:*` or `module:verb`".into())
    }
}

fn end(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let span = |unit: char, seconds: i64| {
        text.strip_suffix(unit)?
            .parse::<u32>()
            .ok()
            .map(|n| i64::from(n) * seconds)
    };
    if let Some(seconds) = span('d', 86_400).or_else(|| span('h', 3_600)) {
        return Ok(now.plus_seconds(seconds));
    }
    let instant = DateTime::parse_from_rfc3339(text)
        .context("--expires must be such as 30d, 12h or 2027-01-31T00:00:00Z")?;
    let instant = Timestamp::from(instant.with_timezone(&Utc));
    if instant <= now {
        bail!("--expires is in the past");
    }
    Ok(instant)
}

#[cfg(test)]
mod tests {
    use roster_domain::Timestamp;

    use super::{end, permission};

    #[test]
    fn ends_are_spans_or_times() {
        let now = Timestamp(1_767_225_600_000_000);
        assert_eq!(end("2d", now).expect("a span"), now.plus_seconds(172_800));
        assert_eq!(end("3h", now).expect("a span"), now.plus_seconds(10_800));
        assert_eq!(
            end("2026-01-01T02:00:00+01:00", now).expect("a time"),
            now.plus_seconds(3_600)
        );
        for bad in [
            "",
            "d",
            "-1d",
            "2025-01-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "soon",
        ] {
            assert!(end(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_permissions_that_exist_are_given() {
        for good in [
            "*",
            "project_users:*",
            "project_users:view",
            "project_users:execute",
        ] {
            assert!(permission(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "project_users",
            "project_users:read",
            "users:view",
            "*:view",
        ] {
            assert!(permission(bad).is_err(), "{bad}");
        }
    }
}
