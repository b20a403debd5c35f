//! The folder that a stack lives in: made, reachable by the servers' account, locked.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StackError;
use crate::account::Account;

/// World-reachable folder that survives a restart of the machine (FHS 5.15).
const FALLBACK_BASE: &str = "/var/tmp";

/// A locked stack folder. The lock ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Home {
    /// Absolute path of the folder.
    pub(crate) path: PathBuf,
    /// The account that the servers drop to.
    pub(crate) account: Option<Account>,
    lock: File,
}

impl Home {
    /// Makes and locks the folder for `wanted`.
    pub(crate) fn open(wanted: &Path) -> Result<Self, StackError> {
        let wanted = absolute(wanted)?;
        let (path, account) = locate(&wanted)?;
        make(&path, account, path != wanted)?;
        if path != wanted {
            // A pointer for people who look for the data where they asked for it.
            fs::create_dir_all(&wanted).map_err(StackError::io(wanted.display().to_string()))?;
            fs::write(wanted.join("data-folder"), format!("{}\n", path.display()))
                .map_err(StackError::io("data-folder"))?;
        }
        let lock = lock(&path)?.ok_or_else(|| StackError::InUse { path: path.clone() })?;
        Ok(Self {
            path,
            account,
            lock,
        })
    }

    /// Gives the lock back, and removes the folder unless it is to be kept.
    pub(crate) fn close(&self, wanted: &Path, keep: bool) -> Result<(), StackError> {
        if !keep {
            remove(wanted)?;
        }
        self.lock.unlock().map_err(StackError::io("unlock"))
    }
}

/// Whether a live process holds the stack folder for `wanted`.
pub(crate) fn is_locked(wanted: &Path) -> Result<bool, StackError> {
    let (path, _) = locate(&absolute(wanted)?)?;
    if !path.exists() {
        return Ok(false);
    }
    Ok(lock(&path)?.is_none())
}

/// Removes the stack folder for `wanted`, wherever it was put.
pub(crate) fn remove(wanted: &Path) -> Result<(), StackError> {
    let wanted = absolute(wanted)?;
    let (path, _) = locate(&wanted)?;
    for folder in [&path, &wanted] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StackError::io(format!("remove {}", folder.display()))(
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `wanted`, or where root's servers can't reach it, a folder beside everybody's that can.
pub(crate) fn locate(wanted: &Path) -> Result<(PathBuf, Option<Account>), StackError> {
    let account = Account::to_drop_to(&wanted.join("postgres"))?;
    match account {
        Some(account) if !account.reaches(parent(wanted)) => {
            let path = fallback(wanted);
            // The data there may belong to another account than the one chosen for a new cluster.
            let account = Account::to_drop_to(&path.join("postgres"))?.unwrap_or(account);
            if account.reaches(parent(&path)) {
                Ok((path, Some(account)))
            } else {
                Err(StackError::Unreachable { path })
            }
        }
        account => Ok((wanted.to_owned(), account)),
    }
}

/// `wanted`, or a fallback where the servers' account can't reach programs in it; made if missing.
pub(crate) fn reachable(wanted: &Path, account: Option<Account>) -> Result<PathBuf, StackError> {
    let wanted = absolute(wanted)?;
    let path = match account {
        Some(account) if !account.reaches(&wanted) => fallback(&wanted),
        _ => wanted.clone(),
    };
    let shared = path != wanted;
    if shared || !path.exists() {
        make(&path, account, shared)?;
    }
    Ok(path)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn fallback(wanted: &Path) -> PathBuf {
    let base = Path::new(FALLBACK_BASE);
    let base = if base.is_dir() {
        base.to_owned()
    } else {
        std::env::temp_dir()
    };
    let name: String = wanted.to_string_lossy().replace('/', "-");
    base.join(format!("roster{name}"))
}

/// `shared`: the folder above is one that everybody writes to.
fn make(path: &Path, account: Option<Account>, shared: bool) -> Result<(), StackError> {
    let failed = || StackError::io(format!("folder {}", path.display()));
    fs::create_dir_all(parent(path)).map_err(failed())?;
    // Servers of another account pass through; nobody but the owner lists it.
    let mode = if account.is_some() { 0o711 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed())?;
    // A stranger could have put something there first, and we are root.
    if shared && (found.uid() != 0 || !found.is_dir()) {
        return Err(StackError::Unreachable {
            path: path.to_owned(),
        });
    }
    if found.is_dir() && account.is_some() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed())?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<Option<File>, StackError> {
    let file = path.join("stack.lock");
    let failed = |error| StackError::io(format!("lock {}", file.display()))(error);
    let handle = File::options()
        .create(true)
        .append(true)
        .open(&file)
        .map_err(failed)?;
    match handle.try_lock() {
        Ok(()) => Ok(Some(handle)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StackError> {
    std::path::absolute(path).map_err(StackError::io(path.display().to_string()))
}
