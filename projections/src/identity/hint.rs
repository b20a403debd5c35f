//! Tells the other servers of a cell that the log went on, by a message without a stream: who misses it looks within 100 ms.
//!
//! A message is a position, of which a receiver believes nothing: it reads the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_nats::Client;
use futures::StreamExt;
use roster_store::Cell;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Where the hints of a cell go. It is no subject of the relay's stream.
fn subject(cell: &Cell) -> String {
    format!("roster-head.{}", cell.name())
}

/// Tells and hears, over whichever connection there is.
pub(super) async fn run(
    cell: Cell,
    mut clients: watch::Receiver<Option<Client>>,
    hint: Arc<Notify>,
    stop: CancellationToken,
) {
    let over = async move {
        loop {
            let client = clients.borrow_and_update().clone();
            if let Some(client) = client {
                exchange(&cell, &client, &mut clients, &hint).await;
            } else if clients.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    stop.run_until_cancelled(over).await;
}

async fn exchange(
    cell: &Cell,
    client: &Client,
    clients: &mut watch::Receiver<Option<Client>>,
    hint: &Notify,
) {
    let subject = subject(cell);
    let Ok(mut heard) = client.subscribe(subject.clone()).await else {
        // The connection ended; the next one comes by itself.
        let _ = clients.changed().await;
        return;
    };
    let mut head = cell.head();
    head.mark_changed();
    let known = AtomicI64::new(0);
    loop {
        tokio::select! {
            message = heard.next() => {
                let Some(message) = message else {
                    let _ = clients.changed().await;
                    return;
                };
                let text = std::str::from_utf8(&message.payload).unwrap_or_default();
                let position: i64 = text.parse().unwrap_or_default();
                // What was told from here comes back, too.
                if position > known.fetch_max(position, Ordering::Relaxed) {
                    hint.notify_one();
                }
            }
            changed = head.changed() => {
                if changed.is_err() {
                    return;
                }
                let position = *head.borrow_and_update();
                // What was heard of was told already.
                if position > known.fetch_max(position, Ordering::Relaxed) {
                    let _ = client.publish(subject.clone(), position.to_string().into()).await;
                }
            }
            _ = clients.changed() => return,
        }
    }
}
