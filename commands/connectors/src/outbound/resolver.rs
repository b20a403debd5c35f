//! Names become addresses that were checked: whoever connects uses these and asks nobody again, so a name that changes its
//! mind between check and use (DNS rebinding) changes nothing.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Allowed;

/// Why nothing was connected to.
#[derive(Debug)]
pub(crate) struct Forbidden(pub(crate) String);

impl fmt::Display for Forbidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Forbidden {}

/// The addresses of a host that may be connected to.
///
/// # Errors
/// [`Forbidden`] where no address is left, or what the look-up failed with.
pub(crate) async fn checked(
    allowed: &Allowed,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if allowed.names(host) {
        return Ok(found);
    }
    let mut refusal = None;
    let mut left = Vec::with_capacity(found.len());
    for address in found {
        match allowed.refusal(address.ip()) {
            None => left.push(address),
            Some(kind) => refusal = Some(kind),
        }
    }
    match (left.is_empty(), refusal) {
        (true, Some(kind)) => Err(Box::new(Forbidden(format!(
            "{host} leads to an address that is {kind}"
        )))),
        _ => Ok(left),
    }
}

/// The resolver of the guarded client.
pub(crate) struct Guarded(pub(crate) Arc<Allowed>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = checked(&allowed, name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
