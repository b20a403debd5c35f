//! Short words for the description of a source.

use roster_commands::sync::source::{AuthField, AuthKind};

/// A way to authenticate.
pub(crate) fn auth<const N: usize>(kind: &'static str, fields: [AuthField; N]) -> AuthKind {
    AuthKind {
        kind,
        fields: fields.into(),
    }
}

/// A part of a credential that is never shown again.
pub(crate) const fn secret(name: &'static str, label: &'static str) -> AuthField {
    field(name, label, true, true)
}

/// A part of a credential that may be shown.
pub(crate) const fn open(name: &'static str, label: &'static str) -> AuthField {
    field(name, label, false, true)
}

/// A part of a credential that may be shown and may be left out.
pub(crate) const fn optional(name: &'static str, label: &'static str) -> AuthField {
    field(name, label, false, false)
}

const fn field(name: &'static str, label: &'static str, secret: bool, required: bool) -> AuthField {
    AuthField {
        name,
        label,
        secret,
        required,
    }
}
