//! A server that is started while Postgres still recovers waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::server::Server;
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections that find Postgres recovering.
const REFUSED: u32 = 3;

/// What Postgres says to whoever comes too early.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    loop {
        stream.read_exact(&mut length).await?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut message).await?;
        // The question for TLS, 80877103; what follows is the start of a session.
        if message != [0x04, 0xd2, 0x16, 0x2f] {
            break;
        }
        stream.write_all(b"N").await?;
    }
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
    stream.write_all(b"E").await?;
    stream
        .write_u32(u32::try_from(fields.len()).expect("short") + 4)
        .await?;
    stream.write_all(fields).await?;
    stream.shutdown().await
}

/// A Postgres that recovers until it has refused some connections: its port, and how many it still refuses.
async fn recovering(target: SocketAddr) -> std::io::Result<(u16, Arc<AtomicU32>, JoinSet<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let left = Arc::new(AtomicU32::new(REFUSED));
    let (counter, mut gate) = (Arc::clone(&left), JoinSet::new());
    gate.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            if counter.load(Ordering::Relaxed) > 0 {
                counter.fetch_sub(1, Ordering::Relaxed);
                // A caller that leaves was refused all the same.
                let _ = refuse(from).await;
                continue;
            }
            open.spawn(async move {
                if let Ok(mut to) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    Ok((port, left, gate))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_a_postgres_that_recovers_from_a_crash() {
    let database = Arc::new(Database::create().await.expect("a database"));
    let options: PgConnectOptions = database.owner_url().expose_secret().parse().expect("a URL");
    let target = SocketAddr::from(([127, 0, 0, 1], options.get_port()));
    let (port, left, _gate) = recovering(target).await.expect("a gate");
    let url = options.port(port).to_url_lossy().to_string();
    let server = Server::start_on(database, &[("DATABASE_URL", &url)])
        .await
        .expect("it waits, and starts");
    assert_eq!(left.load(Ordering::Relaxed), 0, "it was refused before");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.upsert("ada", json!({})).await;
}
