//! The command line: one file per command.

mod audit;
mod backup;
mod config;
mod doctor;
mod export;
mod import;
mod keys;
mod log;
mod migrate;
mod rebuild;
mod relay;
mod restore;
mod restore_check;
mod rotate;
mod serve;
mod sync;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Configuration, Inputs, environment};
use crate::output;

/// The command could not do its work.
const BROKEN: u8 = 2;

/// An event-sourced customer directory.
#[derive(Debug, Parser)]
#[command(
    name = "roster",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Configuration file (TOML); `ROSTER_CONFIG` names one too.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting, over every other source; may be repeated.
    #[arg(long = "set", global = true, value_name = "SETTING=VALUE", value_parser = assignment)]
    settings: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP; without a database, on a Postgres and a NATS that are started for it.
    Serve(serve::Args),
    /// Make or update the schemas and the service's role.
    Migrate(migrate::Args),
    /// Create, list and revoke API keys; take another key-encryption key into use.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Import a CSV file through a running server.
    Import(import::Args),
    /// Run, list and try connections of a running server to outside sources.
    Sync(sync::Args),
    /// Export customers as CSV through a running server.
    Export(export::Args),
    /// Look at the event log and verify it.
    #[command(subcommand)]
    Log(log::Command),
    /// Make read tables anew from the log while the service runs.
    Rebuild(rebuild::Args),
    /// Copy the database, without its keys.
    Backup(backup::Args),
    /// Bring a copy back into an empty database.
    Restore(restore::Args),
    /// Erase again, in a restored database, whom the erasure ledger lists; only then is it served.
    RestoreCheck(restore_check::Args),
    /// Keep an audit copy of the log in another database, and compare it.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Repair what subscribers on NATS follow.
    #[command(subcommand)]
    Relay(relay::Command),
    /// Check configuration, Postgres, NATS, keys, disk and clock.
    Doctor,
    /// Print the settings in effect and where each comes from, without secrets.
    Config,
    /// Print the version.
    Version,
}

/// Runs the command of this process's arguments.
///
/// 0: done. 1: done, and what was found is not good (failed rows, a damaged log, a failed check). 2: could not be done.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only fails where a provider is installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match outcome {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("roster: {}", describe(&error)));
            ExitCode::from(BROKEN)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut flags: Vec<(String, String, String)> = cli
        .settings
        .into_iter()
        .map(|(key, value)| (key, value, "--set".to_owned()))
        .collect();
    if let Command::Serve(args) = &cli.command {
        flags.extend(args.settings());
    }
    let load = || {
        Configuration::load(&Inputs {
            file: cli.config.clone(),
            environment: environment(),
            flags,
        })
    };
    match cli.command {
        Command::Version => version::run(),
        Command::Doctor => doctor::run(load()).await,
        Command::Config => config::run(&load()?),
        Command::Serve(_) => Box::pin(serve::run(load()?)).await,
        Command::Migrate(args) => migrate::run(&args, &load()?.settings).await,
        Command::Keys(command) => keys::run(command, &load()?.settings).await,
        Command::Backup(args) => backup::run(&args, &load()?.settings).await,
        Command::Restore(args) => restore::run(&args, &load()?.settings).await,
        Command::RestoreCheck(args) => restore_check::run(args, &load()?.settings).await,
        Command::Log(command) => log::run(command, &load()?.settings).await,
        Command::Rebuild(args) => rebuild::run(&args, &load()?.settings).await,
        Command::Audit(command) => audit::run(command, &load()?.settings).await,
        Command::Relay(command) => relay::run(command, &load()?.settings).await,
        Command::Import(args) => import::run(args, &load()?.settings).await,
        Command::Sync(args) => sync::run(args, &load()?.settings).await,
        Command::Export(args) => export::run(args, &load()?.settings).await,
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("must be SETTING=VALUE, such as limits.body_bytes=1048576")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// The error and its causes in one line; a cause that the line has already is not repeated.
fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whoever read our output has enough of it.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, describe};

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_parse() {
        for line in [
            "roster serve",
            "roster serve --listen 127.0.0.1:0 --demo --ready-file r.json --config c.toml",
            "roster serve --set limits.body_bytes=4096 --set log.format=json",
            "roster migrate --print-service-url",
            "roster keys create --account acc --org org --project prj --scopes project_users:view,project_users:update \
             --expires 30d",
            "roster keys list",
            "roster keys revoke ab12",
            "roster keys rotate-kek --new-key-file new.key",
            "roster keys rotate-kek --batch 100 --pause-ms 50",
            "roster backup --to copies/monday --jobs 4 --pg-bin /usr/lib/postgresql/18/bin",
            "roster restore --from copies/monday --force",
            "roster restore-check --ledger a.jsonl --ledger b.jsonl --new-epoch",
            "roster restore-check --without-ledger",
            "roster import people.csv --url http://h:1 --api-key rk_a_b --account a --org b --project c",
            "roster import people.csv --on-conflict skip --empty-cells keep --dry-run --delimiter ;",
            "roster sync run CRM --full --dry-run --confirm-deletes --project c",
            "roster sync list",
            "roster sync test dconn_1 --url http://h:1",
            "roster export -o people.csv --search ada",
            "roster export",
            "roster log tail --from 10 --follow --personal",
            "roster log verify",
            "roster rebuild directory",
            "roster rebuild customers --roll-back",
            "roster rebuild search --drop-old",
            "roster log verify --anchors a.jsonl --refold --public-key \
             d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "roster audit export --to postgres://audit@h/audit",
            "roster audit replay --from postgres://audit@h/audit",
            "roster audit sink --to events --rotate-mib 16 --once",
            "roster relay republish",
            "roster doctor",
            "roster config --config c.toml",
            "roster version",
        ] {
            assert!(
                parsed(line).is_ok(),
                "{line}: {}",
                parsed(line).expect_err("an error")
            );
        }
        for line in [
            "roster",
            "roster import",
            "roster keys create",
            "roster rebuild",
            "roster rebuild search --roll-back --drop-old",
            "roster backup",
            "roster restore",
            "roster restore-check --without-ledger --ledger a.jsonl",
            "roster serve --set nothing",
            "roster nothing",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn flags_of_serve_are_settings() {
        let Command::Serve(args) = parsed("roster serve --listen 127.0.0.1:0 --demo")
            .expect("a command")
            .command
        else {
            panic!("another command");
        };
        let settings = args
            .settings()
            .map(|(key, value, flag)| format!("{key}={value} {flag}"));
        assert_eq!(
            settings.collect::<Vec<_>>(),
            ["listen=127.0.0.1:0 --listen", "demo=true --demo"]
        );
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("refused");
        let error = Err::<(), _>(inner)
            .context("the database failed: refused")
            .context("start")
            .expect_err("an error");
        assert_eq!(describe(&error), "start: the database failed: refused");
    }
}
