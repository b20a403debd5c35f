//! Vendors as they answer: servers on loopback that check what the vendor checks and misbehave as they are told.
//!
//! ```no_run
//! # async fn example() {
//! use roster_fakes::{Fake, Fault, RetryAfter, Vendor};
//!
//! let fake = Fake::start(Vendor::Hubspot).await;
//! fake.fill(250);
//! fake.fault(2, Fault::Throttle(RetryAfter::Seconds(1)));
//! let (url, credentials, config) = (fake.url(), fake.credentials(), fake.config());
//! # }
//! ```

mod exchange;
mod fault;
mod server;
mod vendors;
mod world;

pub use exchange::Ask;
pub use fault::{Fault, RetryAfter};
pub use server::Fake;
pub use vendors::{Paging, Vendor};
pub use world::{Person, World};
