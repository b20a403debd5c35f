//! Use cases on links and grants: who is behind an identity, and which agents that person may use.
//!
//! Everything but the wildcard of a channel is a command on one customer. What the streams of single identities know
//! changes in the same append.

mod change;
mod grants;
mod identities;
mod matched;

use roster_domain::channel_access::ChannelAccessRefusal;
use roster_domain::identity::IdentityRefusal;

pub use grants::{AttachInput, Grantee};
pub use identities::{LinkInput, Linked, UnlinkInput, Unlinked};
pub use matched::MatchedInput;

use crate::{CommandError, NotFound};

impl From<ChannelAccessRefusal> for CommandError {
    fn from(refusal: ChannelAccessRefusal) -> Self {
        match refusal {
            ChannelAccessRefusal::GrantNotFound => Self::NotFound(NotFound::Grant),
        }
    }
}

impl From<IdentityRefusal> for CommandError {
    fn from(refusal: IdentityRefusal) -> Self {
        match refusal {
            IdentityRefusal::IdentityForgotten => Self::internal("a forgotten identity was found"),
        }
    }
}
