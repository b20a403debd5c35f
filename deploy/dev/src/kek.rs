//! The keys of a desk, such as the key-encryption key and the one that signs anchors: made once, outside Postgres, readable by
//! their owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::StackError;
use crate::files;

/// Bytes of a key (AES-256, Ed25519).
const KEY_BYTES: usize = 32;

/// Creates the key file (32 random bytes as hex, mode 0600) unless it exists.
///
/// An existing key is never replaced: everything sealed under it would be lost. A file that others
/// may read is made private again.
pub fn ensure(path: &Path) -> Result<(), StackError> {
    let attempt = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if path.exists() {
            return fs::set_permissions(path, fs::Permissions::from_mode(0o600));
        }
        files::write_private(path, &format!("{}\n", files::random_hex(KEY_BYTES)?))
    };
    attempt().map_err(StackError::io(format!("key file {}", path.display())))
}
