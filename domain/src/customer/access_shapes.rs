//! The frozen shapes of links and grants in the log. The channel and the agents are open, the external user id is sealed.

use serde::{Deserialize, Serialize};

use super::CustomerEvent;
use crate::access::{LinkedBy, Terms, TermsV1};
use crate::event::{DecodeError, Encoded, from_bytes, to_bytes};
use crate::{Personal, Timestamp};

/// `customer.identity_linked` version 1.
pub(super) const IDENTITY_LINKED: i16 = 5;
/// `customer.identity_unlinked` version 1.
pub(super) const IDENTITY_UNLINKED: i16 = 6;
/// `customer.grant_set` version 1.
pub(super) const GRANT_SET: i16 = 7;
/// `customer.grant_revoked` version 1.
pub(super) const GRANT_REVOKED: i16 = 8;

/// The personal part of all four.
#[derive(Serialize, Deserialize)]
struct IdentityPersonalV1 {
    external_user_id: String,
}

#[derive(Serialize, Deserialize)]
struct IdentityLinkedV1 {
    at: i64,
    channel: String,
    linked_by: i16,
}

#[derive(Serialize, Deserialize)]
struct IdentityUnlinkedV1 {
    at: i64,
    channel: String,
    blocks: bool,
}

#[derive(Serialize, Deserialize)]
struct GrantSetV1 {
    at: i64,
    channel: String,
    terms: TermsV1,
}

#[derive(Serialize, Deserialize)]
struct GrantRevokedV1 {
    at: i64,
    channel: String,
}

/// The bytes of one of the four; nothing for another event.
pub(super) fn encode(event: &CustomerEvent) -> Encoded {
    let (type_no, open, id) = match event {
        CustomerEvent::IdentityLinked {
            at,
            channel,
            external_user_id,
            linked_by,
        } => (
            IDENTITY_LINKED,
            to_bytes(&IdentityLinkedV1 {
                at: at.0,
                channel: channel.clone(),
                linked_by: linked_by.number(),
            }),
            external_user_id.known(),
        ),
        CustomerEvent::IdentityUnlinked {
            at,
            channel,
            external_user_id,
            blocks,
        } => (
            IDENTITY_UNLINKED,
            to_bytes(&IdentityUnlinkedV1 {
                at: at.0,
                channel: channel.clone(),
                blocks: *blocks,
            }),
            external_user_id.known(),
        ),
        CustomerEvent::GrantSet {
            at,
            channel,
            external_user_id,
            terms,
        } => (
            GRANT_SET,
            to_bytes(&GrantSetV1 {
                at: at.0,
                channel: channel.clone(),
                terms: terms.into(),
            }),
            external_user_id.known(),
        ),
        CustomerEvent::GrantRevoked {
            at,
            channel,
            external_user_id,
        } => (
            GRANT_REVOKED,
            to_bytes(&GrantRevokedV1 {
                at: at.0,
                channel: channel.clone(),
            }),
            external_user_id.known(),
        ),
        CustomerEvent::Registered { .. }
        | CustomerEvent::Updated { .. }
        | CustomerEvent::FieldsClaimed { .. }
        | CustomerEvent::Erased { .. } => (0, Vec::new(), None),
    };
    Encoded {
        type_no,
        type_version: 1,
        open,
        personal: id.map(|id| {
            to_bytes(&IdentityPersonalV1 {
                external_user_id: id.clone(),
            })
        }),
    }
}

/// One of the four from its bytes.
pub(super) fn decode(
    id: (i16, i16),
    open: &[u8],
    personal: Option<&[u8]>,
) -> Result<CustomerEvent, DecodeError> {
    let external_user_id = || -> Result<Personal<String>, DecodeError> {
        let personal: Option<IdentityPersonalV1> =
            personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
        Ok(personal.map(|part| part.external_user_id).into())
    };
    Ok(match id {
        (IDENTITY_LINKED, 1) => {
            let open: IdentityLinkedV1 = from_bytes(id, open)?;
            CustomerEvent::IdentityLinked {
                at: Timestamp(open.at),
                channel: open.channel,
                external_user_id: external_user_id()?,
                linked_by: LinkedBy::from_number(open.linked_by).ok_or(DecodeError::Malformed {
                    type_no: id.0,
                    type_version: id.1,
                })?,
            }
        }
        (IDENTITY_UNLINKED, 1) => {
            let open: IdentityUnlinkedV1 = from_bytes(id, open)?;
            CustomerEvent::IdentityUnlinked {
                at: Timestamp(open.at),
                channel: open.channel,
                external_user_id: external_user_id()?,
                blocks: open.blocks,
            }
        }
        (GRANT_SET, 1) => {
            let open: GrantSetV1 = from_bytes(id, open)?;
            CustomerEvent::GrantSet {
                at: Timestamp(open.at),
                channel: open.channel,
                external_user_id: external_user_id()?,
                terms: open.terms.into(),
            }
        }
        (GRANT_REVOKED, 1) => {
            let open: GrantRevokedV1 = from_bytes(id, open)?;
            CustomerEvent::GrantRevoked {
                at: Timestamp(open.at),
                channel: open.channel,
                external_user_id: external_user_id()?,
            }
        }
        (type_no, type_version) => {
            return Err(DecodeError::UnknownType {
                type_no,
                type_version,
            });
        }
    })
}

/// One of each with fixed content.
pub(super) fn samples(at: Timestamp) -> [CustomerEvent; 4] {
    let channel = || String::from("whatsapp");
    let external_user_id = || Personal::new(String::from("+491701234567"));
    [
        CustomerEvent::IdentityLinked {
            at,
            channel: channel(),
            external_user_id: external_user_id(),
            linked_by: LinkedBy::Admin,
        },
        CustomerEvent::IdentityUnlinked {
            at,
            channel: channel(),
            external_user_id: external_user_id(),
            blocks: true,
        },
        CustomerEvent::GrantSet {
            at,
            channel: channel(),
            external_user_id: external_user_id(),
            terms: Terms {
                agents: vec!["sales".into(), "support".into()],
                enabled: false,
                expires_at: Some(at.plus_seconds(60)),
            },
        },
        CustomerEvent::GrantRevoked {
            at,
            channel: channel(),
            external_user_id: external_user_id(),
        },
    ]
}
