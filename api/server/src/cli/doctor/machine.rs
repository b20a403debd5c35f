//! The machine: free disk, and who may read the key file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Report;
use crate::config::Settings;

/// Free space under which a full disk is near.
const LOW: u64 = 2 << 30;
/// Free space under which Postgres soon stops.
const OUT: u64 = 256 << 20;

pub(super) fn check(report: &mut Report, settings: &Settings) {
    if settings.is_managed() {
        disk(report, &settings.data_dir);
    }
    let own = settings
        .is_managed()
        .then(|| settings.own_kek())
        .filter(|path| path.exists());
    if let Some(path) = settings.keys.kek_file.clone().or(own) {
        key_file(report, &path);
    }
}

fn disk(report: &mut Report, data_dir: &Path) {
    let folder = if data_dir.exists() {
        data_dir
    } else {
        Path::new(".")
    };
    let Ok(found) = statvfs(folder) else {
        return report.warn("disk", format_args!("{} cannot be asked", folder.display()));
    };
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let text = format!("{} MiB free at {}", free >> 20, data_dir.display());
    match free {
        ..OUT => report.fail("disk", text),
        OUT..LOW => report.warn("disk", text),
        _ => report.ok("disk", text),
    }
}

fn key_file(report: &mut Report, path: &Path) {
    match std::fs::metadata(path).map(|found| found.permissions().mode() & 0o077) {
        Ok(0) => report.ok(
            "key file",
            format_args!("{} is its owner's only", path.display()),
        ),
        Ok(_) => report.warn(
            "key file",
            format_args!("others may read {}: chmod 600 it", path.display()),
        ),
        Err(error) => report.fail("key file", format_args!("{}: {error}", path.display())),
    }
}
