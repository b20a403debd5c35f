//! `roster doctor`: looks at everything that a server needs, and says for each whether it is fine.

mod database;
mod machine;

use std::process::ExitCode;

use crate::bus::{BusAddress, BusError};
use crate::config::{ConfigError, Configuration, Settings};
use crate::{output, session};

/// The lines of the report.
#[derive(Default)]
struct Report {
    failed: bool,
    broken: Option<std::io::Error>,
}

impl Report {
    fn ok(&mut self, what: &str, found: impl std::fmt::Display) {
        self.line("ok  ", what, found);
    }

    fn warn(&mut self, what: &str, found: impl std::fmt::Display) {
        self.line("warn", what, found);
    }

    fn fail(&mut self, what: &str, found: impl std::fmt::Display) {
        self.failed = true;
        self.line("FAIL", what, found);
    }

    fn line(&mut self, verdict: &str, what: &str, found: impl std::fmt::Display) {
        if let Err(error) = output::line(format_args!("{verdict}  {what:<15} {found}")) {
            self.broken.get_or_insert(error);
        }
    }
}

pub(super) async fn run(loaded: Result<Configuration, ConfigError>) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    match loaded {
        Err(error) => report.fail("configuration", error),
        Ok(Configuration { settings, .. }) => {
            report.ok("configuration", "every setting is known and fits");
            machine::check(&mut report, &settings);
            anchors(&mut report, &settings);
            database::check(&mut report, &settings).await;
            bus(&mut report, &settings).await;
        }
    }
    let code = if report.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    output::verdict(report.broken.map_or(Ok(()), Err), code)
}

fn anchors(report: &mut Report, settings: &Settings) {
    match session::anchor_key(settings) {
        Ok(Some(key)) => report.ok(
            "anchors",
            format_args!(
                "signed to {}; public key {}",
                settings.anchors_path().display(),
                key.public()
            ),
        ),
        Ok(None) if settings.is_managed() => report.ok("anchors", "`roster serve` will make a key"),
        Ok(None) => report.warn(
            "anchors",
            "no key (anchors.key): a log that was computed anew would pass for the true one",
        ),
        Err(error) => report.fail("anchors", format_args!("{error:#}")),
    }
}

async fn bus(report: &mut Report, settings: &Settings) {
    let Some(address) = BusAddress::of(settings) else {
        let found = if settings.is_managed() {
            "`roster serve` will start it"
        } else {
            "not configured: no bus"
        };
        return report.ok("nats", found);
    };
    match address.connect().await {
        Ok((_, version)) => report.ok("nats", format_args!("{version} with JetStream")),
        Err(error @ BusError::Unreachable(_)) => {
            report.warn(
                "nats",
                format_args!("{error}; a server would serve, and events would wait"),
            );
        }
        Err(error) => report.fail("nats", error),
    }
}
