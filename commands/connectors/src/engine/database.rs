//! A connection to a tenant's Postgres: to an address that was checked, over TLS for the name that was given, with a limit of bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use roster_commands::sync::source::SourceError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};
use tokio_rustls::{Connect, TlsConnector};

use crate::outbound::Outbound;

/// A limit that was passed.
const SPENT: u64 = u64::MAX;

/// Where and as whom.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) login: Config,
    /// The certificate authority that signs the server's certificate; that of everybody where there is none.
    pub(crate) authority: Option<Vec<CertificateDer<'static>>>,
}

/// An open connection. It ends when it is dropped.
pub(crate) struct Database {
    pub(crate) client: Client,
    budget: Arc<AtomicU64>,
    _driver: JoinSet<()>,
}

impl Database {
    /// Connects.
    pub(crate) async fn open(outbound: &Outbound, target: &Target) -> Result<Self, SourceError> {
        let socket = outbound.connect(&target.host, target.port).await?;
        let budget = Arc::new(AtomicU64::new(outbound.options().page_bytes));
        let socket = Counted {
            socket,
            budget: Arc::clone(&budget),
        };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| SourceError::Config("the host is no name".into()))?;
        let tls = Tls {
            connector: TlsConnector::from(Arc::new(roots(target.authority.as_deref())?)),
            name,
        };
        let mut login = target.login.clone();
        login.ssl_mode(if outbound.options().allow_http {
            SslMode::Prefer
        } else {
            SslMode::Require
        });
        let connected = login.connect_raw(socket, tls);
        let limit = outbound.options().answer_timeout;
        let (client, connection) = tokio::time::timeout(limit, connected)
            .await
            .map_err(|_| SourceError::Transient("the database does not answer".into()))?
            .map_err(|error| meaning(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What went wrong is said to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self {
            client,
            budget,
            _driver: driver,
        })
    }

    /// Whether more bytes came than may. The driver of the connection notices it, and says nothing but that it is over.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.load(Ordering::Relaxed) == SPENT
    }

    /// Lets so many bytes more come.
    pub(crate) fn refill(&self, bytes: u64) {
        self.budget.store(bytes, Ordering::Relaxed);
    }
}

/// Whom to believe.
fn roots(authority: Option<&[CertificateDer<'static>]>) -> Result<ClientConfig, SourceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |error: rustls::Error| SourceError::Config(format!("TLS: {error}"));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let Some(authority) = authority else {
        let verified = builder.with_platform_verifier().map_err(refused)?;
        return Ok(verified.with_no_client_auth());
    };
    let mut store = RootCertStore::empty();
    for certificate in authority {
        store.add(certificate.clone()).map_err(refused)?;
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// The certificates of a PEM text; `None` where it holds none.
pub(crate) fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
}

/// What an error of a database means.
pub(crate) fn meaning(error: &tokio_postgres::Error) -> SourceError {
    let Some(refusal) = error.as_db_error() else {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        // Neither passes by itself.
        let untrusted = message.contains("invalid peer certificate");
        if untrusted || message.contains("server does not support TLS") {
            return SourceError::Refused(message);
        }
        return SourceError::Transient(message);
    };
    let message = format!("{} ({})", refusal.message(), refusal.code().code());
    match refusal.code().code() {
        "42501" => SourceError::Forbidden(message),
        code => match &code[..2] {
            "28" => SourceError::Unauthorized(message),
            "08" | "40" | "53" | "55" | "57" | "58" | "XX" => SourceError::Transient(message),
            _ => SourceError::Config(message),
        },
    }
}

/// A socket that gives so many bytes.
struct Counted {
    socket: TcpStream,
    budget: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        let bytes = (buffer.filled().len() - before) as u64;
        let left = self.budget.load(Ordering::Relaxed);
        if left == SPENT || bytes > left {
            self.budget.store(SPENT, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::other("too many bytes")));
        }
        self.budget.store(left - bytes, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// TLS as the driver asks for it.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Counted> for Tls {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Securing;

    fn connect(self, socket: Counted) -> Securing {
        Securing(self.connector.connect(self.name, socket))
    }
}

/// A handshake.
struct Securing(Connect<Counted>);

impl Future for Securing {
    type Output = io::Result<Secured>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_ok(Secured)
    }
}

/// A socket under TLS.
struct Secured(tokio_rustls::client::TlsStream<Counted>);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
