//! What the operator decides about requests that tenants cause. A tenant decides nothing here.

use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of the guarded client.
#[derive(Clone, Debug)]
pub struct OutboundOptions {
    /// Networks (`10.1.0.0/16`), addresses and host names that are let through though they are not public.
    pub allow: Vec<String>,
    /// Whether `http://` URLs and databases without TLS are let through.
    pub allow_http: bool,
    /// Provider → URL that stands for all of the vendor's hosts; that origin is let through as it is.
    pub base_urls: BTreeMap<String, String>,
    /// The longest time until a connection stands.
    pub connect_timeout: Duration,
    /// The longest time of one request with its redirects and its answer.
    pub answer_timeout: Duration,
    /// The longest time that is waited for the bytes of one file, without the time in which they are used.
    pub file_timeout: Duration,
    /// The most bytes of one answer, unpacked.
    pub page_bytes: u64,
    /// The most bytes of one file, unpacked.
    pub file_bytes: u64,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_http: false,
            base_urls: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_mins(1),
            file_timeout: Duration::from_mins(30),
            page_bytes: 32 << 20,
            file_bytes: 4 << 30,
        }
    }
}
