//! What can be asked of an identity.

use uuid::Uuid;

use crate::Timestamp;
use crate::access::ConnectorIdentity;

/// A command on one connector identity.
#[derive(Clone, Debug)]
pub enum IdentityCommand {
    /// Keep rules from binding the identity to a customer.
    Block {
        /// When.
        at: Timestamp,
        /// The identity.
        identity: ConnectorIdentity,
        /// The customer.
        customer_ref: Uuid,
    },
    /// Let rules bind them again, or the customer is erased. What is known of nobody else is forgotten.
    Unblock {
        /// When.
        at: Timestamp,
        /// The customer.
        customer_ref: Uuid,
    },
}
