//! How a vendor misbehaves.

/// What a vendor says of when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds.
    Seconds(u64),
    /// An HTTP date so many seconds from now.
    Date(u64),
    /// Nothing.
    Nothing,
}

/// What happens to one request for data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 in the vendor's words.
    Throttle(RetryAfter),
    /// The quota of the day is used up, in the vendor's words.
    Quota,
    /// The token stops to count from this request on. A new one does again; where a credential is all there is, [`crate::Fake::restore`].
    Expire,
    /// This status with a body that is no JSON.
    Broken(u16),
    /// 200 with a web page.
    Html,
    /// 404 with a web page.
    HtmlNotFound,
    /// This status with a message that repeats every header and parameter of the request.
    Echo(u16),
    /// The same on a web page.
    EchoHtml,
    /// 200 with JSON whose lists hold numbers instead of records.
    Misshapen,
    /// The answer before this one again, with its cursor.
    Repeat,
    /// The answer ends in its middle.
    CutOff,
    /// 302 to this URL.
    Redirect(String),
    /// An answer that never ends, as fast as it goes.
    Endless,
    /// An answer that never ends, a byte every few milliseconds.
    Trickle,
    /// An answer that says that it is 10 GiB long.
    Huge,
    /// A small answer that unpacks to this many bytes.
    Bomb(usize),
}
