//! One NATS server with `JetStream` on loopback, and the greeting that any NATS server must give.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::StackError;
use crate::binaries::NatsBinary;
use crate::crash;
use crate::files;
use crate::options::Durability;
use crate::postgres::{exited, free_port, port_was_taken};
use crate::supervise::{self, POLL, StopSignal, Supervised};
use crate::version::{OLDEST_NATS, Version};

/// The folder of streams under the stack's folder.
const STORE: &str = "nats";

/// Recovering large streams is the slowest start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How long a server may take to greet.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// A greeting is under 2 KiB; a stranger on the port may send anything.
const GREETING_BYTES: u64 = 64 * 1024;

const PORT_ATTEMPTS: usize = 5;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) version: Version,
    process: Supervised,
    log: PathBuf,
}

impl Server {
    /// Kills the server without warning, as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<(), StackError> {
        self.process.kill().map_err(StackError::io("kill NATS"))
    }

    /// Pauses the server, or lets it go on.
    pub(crate) fn pause(home: &Path, paused: bool) -> Result<(), StackError> {
        let text = fs::read_to_string(home.join("nats.pid")).unwrap_or_default();
        let Ok(pid) = text.trim().parse() else {
            return Ok(());
        };
        let done = if paused {
            crash::pause(pid)
        } else {
            crash::resume(pid)
        };
        done.map_err(|error| StackError::io("pause NATS")(error.into()))
    }

    /// Starts the server again on the port that it had.
    pub(crate) fn restart(
        self,
        binary: &NatsBinary,
        home: &Path,
        durability: Durability,
    ) -> Result<Self, StackError> {
        let port = self.port;
        drop(self);
        end_leftover(home)?;
        launch(binary, home, durability, port)
    }

    /// Starts the server with its data under `home`.
    pub(crate) fn start(
        binary: &NatsBinary,
        home: &Path,
        durability: Durability,
    ) -> Result<Self, StackError> {
        end_leftover(home)?;
        for _ in 1..PORT_ATTEMPTS {
            match launch(binary, home, durability, free_port()?) {
                Err(StackError::Exited { log, .. }) if port_was_taken(&log) => {}
                outcome => return outcome,
            }
        }
        launch(binary, home, durability, free_port()?)
    }

    /// An error with the end of the log if the server has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), StackError> {
        match self.process.ended().map_err(StackError::io("NATS"))? {
            None => Ok(()),
            Some(status) => Err(exited("nats-server", status, &self.log)),
        }
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self) -> Result<(), StackError> {
        match self.process.stop().map_err(StackError::io("stop NATS"))? {
            Some(_) => Ok(()),
            None => Err(StackError::TimedOut {
                what: "stopping NATS".to_owned(),
                seconds: STOP_LIMIT.as_secs(),
                log: files::log_tail(&self.log),
            }),
        }
    }
}

/// The folder of the streams.
pub(crate) fn data(home: &Path) -> PathBuf {
    home.join(STORE)
}

fn launch(
    binary: &NatsBinary,
    home: &Path,
    durability: Durability,
    port: u16,
) -> Result<Server, StackError> {
    let settings = home.join("nats.conf");
    fs::write(&settings, configuration(home, port, durability))
        .map_err(StackError::io(settings.display().to_string()))?;
    let log_path = home.join("nats.log");
    let log =
        files::fresh_log(&log_path).map_err(StackError::io(log_path.display().to_string()))?;
    let mut command = Command::new(&binary.program);
    command.arg("--config").arg(&settings).current_dir(home);
    let process = Supervised::start(
        &command,
        StopSignal::Terminate,
        None,
        Some(&log),
        STOP_LIMIT,
    )
    .map_err(StackError::io("start nats-server"))?;
    let mut server = Server {
        port,
        version: binary.version,
        process,
        log: log_path,
    };
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        server.check()?;
        match greeting(&address) {
            Ok(version) => {
                server.version = version;
                return Ok(server);
            }
            Err(StackError::NatsUnreachable { .. }) if Instant::now() < deadline => {
                thread::sleep(POLL);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Paths are quoted as JSON strings, which the server's format accepts.
fn configuration(home: &Path, port: u16, durability: Durability) -> String {
    let quoted = |name: &str| Value::from(home.join(name).to_string_lossy()).to_string();
    // Streams of parallel tests each reserve their `max_bytes`; the limit is only accounting.
    let limit = match durability {
        Durability::Durable => "",
        Durability::Throwaway => ", max_file_store: 1TB",
    };
    format!(
        "listen: \"127.0.0.1:{port}\"\npid_file: {}\njetstream {{ store_dir: {}{limit} }}\n",
        quoted("nats.pid"),
        quoted(STORE),
    )
}

fn end_leftover(home: &Path) -> Result<(), StackError> {
    let text = fs::read_to_string(home.join("nats.pid")).unwrap_or_default();
    let settings = home.join("nats.conf");
    match text.trim().parse() {
        Ok(pid)
            if supervise::is_ours(pid, &settings)
                && !supervise::end_leftover(pid, &settings, Signal::SIGTERM) =>
        {
            Err(StackError::Leftover { what: "NATS", pid })
        }
        _ => Ok(()),
    }
}

/// Connects to the first server of a NATS URL and checks what it greets with: its version, and
/// that `JetStream` is on. WebSocket URLs greet later and are taken as they are (no version).
pub fn check_url(url: &str) -> Result<Option<Version>, StackError> {
    match address_of(url) {
        Some(address) => greeting(&address).map(Some),
        None => Ok(None),
    }
}

/// `host:port` of the first server; nothing for a WebSocket URL.
fn address_of(url: &str) -> Option<String> {
    let first = url.split(',').next().unwrap_or(url).trim();
    let (scheme, rest) = first.split_once("://").unwrap_or(("nats", first));
    if scheme.starts_with("ws") {
        return None;
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port {
        host.to_owned()
    } else {
        format!("{host}:4222")
    })
}

/// Reads the `INFO {…}` line, which a NATS server sends first.
fn greeting(address: &str) -> Result<Version, StackError> {
    let unreachable = |reason: String| StackError::NatsUnreachable {
        address: address.to_owned(),
        reason,
    };
    let read = || -> std::io::Result<String> {
        let target = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let stream = TcpStream::connect_timeout(&target, GREETING_LIMIT)?;
        stream.set_read_timeout(Some(GREETING_LIMIT))?;
        let mut line = String::new();
        BufReader::new(stream.take(GREETING_BYTES)).read_line(&mut line)?;
        Ok(line)
    };
    let line = read().map_err(|error| unreachable(error.to_string()))?;
    let info: Value = line
        .strip_prefix("INFO ")
        .and_then(|json| serde_json::from_str(json).ok())
        .ok_or_else(|| unreachable("it did not greet as a NATS server".to_owned()))?;
    let version = info["version"]
        .as_str()
        .and_then(Version::parse)
        .ok_or_else(|| unreachable("it greets without a version".to_owned()))?;
    if version < OLDEST_NATS {
        return Err(StackError::TooOld {
            what: "the NATS server",
            found: version,
            needed: OLDEST_NATS,
        });
    }
    if info["jetstream"] != Value::Bool(true) {
        return Err(StackError::NoJetStream {
            address: address.to_owned(),
        });
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// A server that greets once with `line`.
    fn greets_with(line: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            listener
                .accept()
                .unwrap()
                .0
                .write_all(line.as_bytes())
                .unwrap();
        });
        format!("nats://{address}")
    }

    #[test]
    fn the_address_is_found_in_every_shape_of_url() {
        for (url, address) in [
            ("nats://127.0.0.1:4333", "127.0.0.1:4333"),
            ("nats://name:secret@bus.internal", "bus.internal:4222"),
            ("tls://a:4443,tls://b:4443", "a:4443"),
            ("localhost:4222", "localhost:4222"),
            ("nats://[::1]:4222/", "[::1]:4222"),
        ] {
            assert_eq!(address_of(url).as_deref(), Some(address), "{url}");
        }
        assert_eq!(address_of("wss://bus.internal"), None);
    }

    #[test]
    fn a_server_with_jetstream_is_accepted() {
        let url = greets_with("INFO {\"version\":\"2.10.7\",\"jetstream\":true}\r\n");
        assert_eq!(check_url(&url).unwrap(), Some(Version::new(2, 10, 7)));
    }

    #[test]
    fn an_old_server_is_refused_with_both_versions() {
        let url = greets_with("INFO {\"version\":\"2.9.10\",\"jetstream\":true}\r\n");
        let message = check_url(&url).unwrap_err().to_string();
        assert_eq!(
            message,
            "the NATS server 2.9.10 is too old: 2.10 or newer is needed"
        );
    }

    #[test]
    fn a_server_without_jetstream_is_refused() {
        let url = greets_with("INFO {\"version\":\"2.10.7\"}\r\n");
        assert!(matches!(
            check_url(&url),
            Err(StackError::NoJetStream { .. })
        ));
    }

    #[test]
    fn a_stranger_on_the_port_is_not_taken_for_nats() {
        let url = greets_with("HTTP/1.1 400 Bad Request\r\n");
        assert!(matches!(
            check_url(&url),
            Err(StackError::NatsUnreachable { .. })
        ));
    }
}
