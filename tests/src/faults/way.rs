//! A TCP way between a server and what it depends on, which can be made bad.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Bytes that are forwarded at once.
const PIECE: usize = 16 * 1024;

/// What a way does with what is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Everything passes.
    None,
    /// Each piece waits.
    Slow(Duration),
    /// Nothing passes in either direction, and nobody is told.
    Silent,
    /// Requests pass, answers do not.
    Deaf,
    /// Nobody gets a connection.
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct State {
    trouble: Trouble,
    /// How often every connection was ended.
    cuts: u64,
}

/// A way. Dropping it ends it with its connections.
#[derive(Debug)]
pub(super) struct Way {
    port: u16,
    state: watch::Sender<State>,
    _forwarding: JoinSet<()>,
}

impl Way {
    /// Forwards a port of its own to another one of this machine.
    pub(super) async fn to(port: u16) -> anyhow::Result<Self> {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let start = State {
            trouble: Trouble::None,
            cuts: 0,
        };
        let (state, seen) = watch::channel(start);
        let mut forwarding = JoinSet::new();
        forwarding.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                if seen.borrow().trouble != Trouble::Cut {
                    open.spawn(forward(from, target, seen.clone()));
                }
            }
        });
        Ok(Self {
            port: own,
            state,
            _forwarding: forwarding,
        })
    }

    /// The port that it listens on.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on it is like this; a cut ends the connections that there are.
    pub(super) fn set(&self, trouble: Trouble) {
        self.state.send_modify(|state| {
            state.trouble = trouble;
            state.cuts += u64::from(trouble == Trouble::Cut);
        });
    }

    /// Ends every connection, with whatever is on its way, and lets new ones through.
    pub(super) fn begin_anew(&self) {
        self.state.send_modify(|state| {
            state.trouble = Trouble::None;
            state.cuts += 1;
        });
    }
}

async fn forward(from: TcpStream, target: SocketAddr, state: watch::Receiver<State>) {
    let Ok(to) = TcpStream::connect(target).await else {
        return;
    };
    // A port without a listener may be given to the very connection that asks for it.
    if to.local_addr().ok() == to.peer_addr().ok() {
        return;
    }
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let cuts = state.borrow().cuts;
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let mut watched = state.clone();
    tokio::select! {
        () = pump(from_read, to_write, state.clone(), false) => {}
        () = pump(to_read, from_write, state, true) => {}
        _ = watched.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    answers: bool,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(read @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let passes = |state: &State| match state.trouble {
            Trouble::None | Trouble::Slow(_) => true,
            Trouble::Deaf => !answers,
            Trouble::Silent | Trouble::Cut => false,
        };
        let Ok(wait) = state.wait_for(passes).await.map(|state| state.trouble) else {
            return;
        };
        if let Trouble::Slow(delay) = wait {
            sleep(delay).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
