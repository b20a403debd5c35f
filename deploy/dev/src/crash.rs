//! Crashing and pausing a started server with all of its processes, as tests of faults do.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Stops a process and its children where they stand; nothing of it runs until [`resume`].
pub(crate) fn pause(pid: i32) -> nix::Result<()> {
    // The parent first, so that it makes no further child.
    send(pid, Signal::SIGSTOP)?;
    for child in children(pid) {
        send(child, Signal::SIGSTOP)?;
    }
    Ok(())
}

/// Lets a paused process and its children go on.
pub(crate) fn resume(pid: i32) -> nix::Result<()> {
    for child in children(pid) {
        send(child, Signal::SIGCONT)?;
    }
    send(pid, Signal::SIGCONT)
}

/// Kills a process and its children without warning.
pub(crate) fn kill(pid: i32) -> nix::Result<()> {
    pause(pid)?;
    for child in children(pid) {
        send(child, Signal::SIGKILL)?;
    }
    send(pid, Signal::SIGKILL)
}

/// A process that has ended meanwhile is as good as one that was reached.
fn send(pid: i32, signal: Signal) -> nix::Result<()> {
    match signal::kill(Pid::from_raw(pid), signal) {
        Err(Errno::ESRCH) => Ok(()),
        sent => sent,
    }
}

/// The children of a process, as `/proc` has them; none on a system without it.
fn children(parent: i32) -> Vec<i32> {
    let parent = parent.to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name stands in brackets and may hold anything; state and parent follow it.
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split(' ').nth(1) == Some(parent.as_str())
    })
    .collect()
}
