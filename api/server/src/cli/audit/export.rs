//! `roster audit export`.

use std::process::ExitCode;

use roster_store::Cell;
use roster_store::audit::{AuditCopy, export};

use crate::output;

pub(super) async fn run(cell: &Cell, copy: &AuditCopy) -> anyhow::Result<ExitCode> {
    let bar = output::count_bar(Some(0), "events");
    let exported = export(cell, copy, |done, all| {
        bar.set_length(all.unsigned_abs());
        bar.set_position(done.unsigned_abs());
    })
    .await?;
    bar.finish_and_clear();
    output::line(format_args!(
        "{} events written, {} erased; the copy goes to position {}",
        exported.events, exported.rewritten, exported.position
    ))?;
    Ok(ExitCode::SUCCESS)
}
