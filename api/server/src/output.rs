//! The only place that writes to the terminal. What a command found goes to standard output, what went wrong to standard
//! error; log lines are `telemetry`'s.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One line of a command's result.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// The code of what was found, also where whoever reads had enough before all of it was told.
pub(crate) fn verdict(told: io::Result<()>, code: ExitCode) -> anyhow::Result<ExitCode> {
    match told {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    }
}

/// Bytes of a command's result, such as an export.
pub(crate) fn bytes(content: &[u8]) -> io::Result<()> {
    io::stdout().lock().write_all(content)
}

/// One line about what is happening, beside the result.
pub(crate) fn note(text: impl Display) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar that counts bytes; only a spinner where their number is unknown.
pub(crate) fn byte_bar(total: Option<u64>, message: &'static str) -> ProgressBar {
    let counted = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar(
        total,
        message,
        counted,
        "{msg} {spinner} {bytes} {bytes_per_sec}",
    )
}

/// A bar that counts rows or events.
pub(crate) fn count_bar(total: Option<u64>, message: &'static str) -> ProgressBar {
    bar(
        total,
        message,
        "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        "{msg} {spinner} {human_pos}",
    )
}

fn bar(total: Option<u64>, message: &'static str, counted: &str, uncounted: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = total
        .map_or_else(ProgressBar::new_spinner, ProgressBar::new)
        .with_message(message);
    let template = if total.is_some() { counted } else { uncounted };
    bar.enable_steady_tick(Duration::from_millis(120));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
