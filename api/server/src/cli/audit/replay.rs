//! `roster audit replay`.

use std::process::ExitCode;

use roster_store::Cell;
use roster_store::audit::{AuditCopy, replay};

use crate::output;

pub(super) async fn run(cell: &Cell, copy: &AuditCopy) -> anyhow::Result<ExitCode> {
    let bar = output::count_bar(None, "customers");
    let replayed = replay(cell, copy, |done| bar.set_position(done)).await?;
    bar.finish_and_clear();
    for difference in &replayed.differences {
        output::line(format_args!(
            "DIFFERS customer {}: {}",
            difference.stream, difference.message
        ))?;
    }
    output::line(format_args!(
        "{} customers rebuilt from the copy are equal to the log, {} differ, {} wait for the next export, {} events could not \
         be read",
        replayed.equal,
        replayed.differences.len(),
        replayed.waiting,
        replayed.unreadable
    ))?;
    let is_equal = replayed.differences.is_empty() && replayed.unreadable == 0;
    Ok(if is_equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
