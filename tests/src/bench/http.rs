//! A small HTTP/1.1 client: kept connections, ready-made requests, answers with a length. It costs the machine little.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use roster_domain::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stats::millis;

/// The folder of the routes of the project-users API.
const BASE: &str = "/directory-sync/internal/volt/project-users";

/// One project on a server, and the right to use it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Where the server listens.
    pub(super) address: SocketAddr,
    /// The credential.
    pub(super) api_key: Arc<str>,
    /// The tenant.
    pub(super) account_id: Arc<str>,
    /// The tenant.
    pub(super) org_id: Arc<str>,
    /// The tenant.
    pub(super) project_id: Arc<str>,
}

impl Target {
    /// The same server with another project.
    #[must_use]
    pub(super) fn project(&self, project_id: &str) -> Self {
        Self {
            project_id: project_id.into(),
            ..self.clone()
        }
    }

    /// The tenant.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            account_id: self.account_id.to_string(),
            org_id: self.org_id.to_string(),
            project_id: self.project_id.to_string(),
        }
    }

    /// The bytes of a request to a route, or to a path that begins with `/`: the scope is added to the body.
    pub(super) fn request(&self, route: &str, body: &Value) -> Vec<u8> {
        self.request_with(route, body, "")
    }

    /// The same for a read that waits for a position of the log.
    pub(super) fn request_at(&self, route: &str, body: &Value, position: i64) -> Vec<u8> {
        self.request_with(
            route,
            body,
            &format!("Roster-Min-Position: 1:{position}\r\n"),
        )
    }

    fn request_with(&self, route: &str, body: &Value, headers: &str) -> Vec<u8> {
        let mut body = body.clone();
        body["account_id"] = json!(&*self.account_id);
        body["org_id"] = json!(&*self.org_id);
        body["project_id"] = json!(&*self.project_id);
        let body = body.to_string();
        let path = if route.starts_with('/') {
            route.to_owned()
        } else {
            format!("{BASE}/{route}")
        };
        let mut request = self.head("POST", &path, "application/json", body.len(), headers);
        request.extend_from_slice(body.as_bytes());
        request
    }

    /// The head of an upload of a CSV file.
    fn upload(&self, provider: &str, length: usize) -> Vec<u8> {
        let path = format!(
            "{BASE}/users/import-csv?account_id={}&org_id={}&project_id={}&provider={provider}",
            self.account_id, self.org_id, self.project_id
        );
        self.head("POST", &path, "text/csv", length, "")
    }

    fn head(&self, method: &str, path: &str, kind: &str, length: usize, headers: &str) -> Vec<u8> {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n{headers}\r\n",
            self.address, self.api_key
        )
        .into_bytes()
    }

    /// A request on a connection of its own; an answer that is not 2xx is an error.
    pub(super) async fn call(&self, route: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(&self.request(route, body)).await
    }

    /// Reads a page outside of the API, such as `/readyz`.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(&self.head("GET", path, "application/json", 0, ""))
            .await
    }

    async fn answer(&self, request: &[u8]) -> anyhow::Result<Value> {
        let mut connection = Connection::open(self.address).await?;
        let status = connection.send(request).await?;
        let text = String::from_utf8_lossy(connection.body()).into_owned();
        anyhow::ensure!((200..300).contains(&status), "status {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Streams a file to the import; the id of the import.
    pub(super) async fn import(&self, file: &Path, provider: &str) -> anyhow::Result<String> {
        let length = usize::try_from(tokio::fs::metadata(file).await?.len())?;
        let mut connection = Connection::open(self.address).await?;
        connection
            .stream
            .write_all(&self.upload(provider, length))
            .await?;
        let mut file = tokio::fs::File::open(file).await?;
        tokio::io::copy(&mut file, &mut connection.stream).await?;
        let status = connection.read().await?;
        let text = String::from_utf8_lossy(connection.body()).into_owned();
        anyhow::ensure!((200..300).contains(&status), "status {status}: {text}");
        let answer: Value = serde_json::from_str(&text)?;
        let id = answer["import_id"].as_str();
        Ok(id
            .ok_or_else(|| anyhow::anyhow!("no import_id in {text}"))?
            .to_owned())
    }
}

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    head: usize,
    length: usize,
    /// Whether the last answer said that reads do not show the write yet.
    pub unprojected: bool,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 << 10),
            head: 0,
            length: 0,
            unprojected: false,
        })
    }

    /// Sends a request and reads its answer; the status.
    pub async fn send(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.read().await
    }

    /// Sends a request that is answered with 200; how many milliseconds that took.
    pub(super) async fn timed(&mut self, request: &[u8]) -> anyhow::Result<f64> {
        let started = Instant::now();
        let status = self.send(request).await?;
        let time = millis(started.elapsed());
        anyhow::ensure!(
            status == 200,
            "status {status}: {}",
            String::from_utf8_lossy(self.body())
        );
        Ok(time)
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head..self.head + self.length]
    }

    async fn read(&mut self) -> Result<u16> {
        self.buffer.clear();
        let mut searched = 0;
        self.head = loop {
            self.fill().await?;
            if let Some(found) = self.buffer[searched..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            {
                break searched + found + 4;
            }
            searched = self.buffer.len().saturating_sub(3);
        };
        let malformed = || Error::new(ErrorKind::InvalidData, "malformed answer");
        let head = std::str::from_utf8(&self.buffer[..self.head]).map_err(|_| malformed())?;
        let status: u16 = head
            .get(9..12)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(malformed)?;
        self.unprojected = value_of(head, "roster-projected") == Some("false");
        let length = value_of(head, "content-length").and_then(|digits| digits.parse().ok());
        self.length = length
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "an answer without a length"))?;
        while self.buffer.len() < self.head + self.length {
            self.fill().await?;
        }
        Ok(status)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// The value of a header.
fn value_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
