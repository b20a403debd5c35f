//! `ready.json`: where a server that answers is, and the credential of its demo project.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// How long a server of this machine may take to accept.
const ANSWER: Duration = Duration::from_millis(500);

/// What others need to use the server. Members about the demo project are null where there is none.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) account_id: Option<String>,
    pub(crate) org_id: Option<String>,
    pub(crate) project_id: Option<String>,
    pub(crate) database_url: String,
    pub(crate) nats_url: Option<String>,
}

/// Writes the file in one step, for its owner only.
pub(crate) fn write(path: &Path, ready: &Ready) -> anyhow::Result<()> {
    let attempt = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(serde_json::to_string_pretty(ready)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(draft, path)
    };
    attempt().with_context(|| path.display().to_string())
}

/// What a running server wrote.
pub(crate) fn read(path: &Path) -> anyhow::Result<Ready> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Removes what a server that was killed left behind: nobody answers there.
pub(crate) fn remove_stale(path: &Path) {
    let Ok(ready) = read(path) else { return };
    let address = ready.url.trim_start_matches("http://").parse();
    let answers = |address| TcpStream::connect_timeout(&address, ANSWER).is_ok();
    if !address.is_ok_and(answers) {
        remove(path);
    }
}

/// Removes the file if this server wrote it, so that nobody takes a server that ended for one that answers.
pub(crate) fn remove_own(path: &Path, own: &Ready) {
    if read(path).is_ok_and(|ready| ready.url == own.url) {
        remove(path);
    }
}

/// Removes the file.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "was not removed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Ready, read, remove_own, remove_stale, write};

    fn ready(url: &str) -> Ready {
        Ready {
            url: url.into(),
            api_key: None,
            account_id: None,
            org_id: None,
            project_id: None,
            database_url: "postgres://db/roster".into(),
            nats_url: None,
        }
    }

    #[test]
    fn the_file_is_its_owners_and_goes_with_its_server() {
        let path = std::env::temp_dir().join(format!("roster-ready-{}.json", std::process::id()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = ready(&format!(
            "http://{}",
            listener.local_addr().expect("an address")
        ));
        write(&path, &own).expect("written");
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        remove_stale(&path);
        remove_own(&path, &ready("http://127.0.0.1:1"));
        assert_eq!(read(&path).expect("still there").url, own.url);
        drop(listener);
        remove_stale(&path);
        assert!(read(&path).is_err());
    }
}
