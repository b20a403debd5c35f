//! Every source against a fake of its vendor, with everything that may go wrong on the way.

#[path = "sources/changes.rs"]
mod changes;
#[path = "sources/faults.rs"]
mod faults;
#[path = "sources/files.rs"]
mod files;
#[path = "sources/guard.rs"]
mod guard;
#[path = "sources/session.rs"]
mod session;
#[path = "sources/settings.rs"]
mod settings;
#[path = "sources/walks.rs"]
mod walks;
