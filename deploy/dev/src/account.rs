//! Which account the servers run as: Postgres refuses root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Uid, User};

use crate::StackError;

/// An unprivileged account that servers started by root drop to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// The account to drop to: none unless the caller is root, else `postgres`, else `nobody`.
    ///
    /// Existing data decides first: a cluster may only be run by its owner.
    pub fn to_drop_to(cluster: &Path) -> Result<Option<Self>, StackError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        if let Ok(found) = fs::metadata(cluster)
            && found.uid() != 0
        {
            return Ok(Some(Self {
                uid: found.uid(),
                gid: found.gid(),
            }));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                })
            })
            .ok_or(StackError::NoAccount)
    }

    /// Whether the account may pass through every folder above `path` and, where `path` exists,
    /// through `path` itself. Access lists are not looked at.
    pub fn reaches(self, path: &Path) -> bool {
        path.ancestors().all(|folder| match fs::metadata(folder) {
            Err(_) => true,
            Ok(found) => {
                let mode = found.permissions().mode();
                let bit = if found.uid() == self.uid {
                    0o100
                } else if found.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                mode & bit != 0
            }
        })
    }
}
