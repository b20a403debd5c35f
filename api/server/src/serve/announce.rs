//! What a server says once it answers: URLs, and with a demo project a credential and lines to try.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use roster_internal::BASE;
use secrecy::ExposeSecret;

use crate::config::Settings;
use crate::demo::{self, Credential};
use crate::output;
use crate::ready::Ready;
use crate::serve::cell::Served;

/// The URL under which this machine reaches an address.
pub(crate) fn url(address: SocketAddr) -> String {
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{reached}")
}

/// What goes to `ready.json`.
pub(crate) fn ready(
    settings: &Settings,
    served: &Served,
    address: SocketAddr,
    credential: Option<&Credential>,
) -> Ready {
    let id = |id: &str| credential.map(|_| id.to_owned());
    let database_url = settings
        .database
        .url
        .as_ref()
        .unwrap_or(&served.service_url);
    Ready {
        url: url(address),
        api_key: credential.map(|credential| credential.expose_secret().to_owned()),
        account_id: id(demo::ACCOUNT),
        org_id: id(demo::ORG),
        project_id: id(demo::PROJECT),
        database_url: database_url.expose_secret().to_owned(),
        nats_url: settings
            .nats
            .url
            .as_ref()
            .map(|url| url.expose_secret().to_owned()),
    }
}

/// Prints it for people.
pub(crate) fn print(ready: &Ready) -> std::io::Result<()> {
    let url = &ready.url;
    for (what, path) in [
        ("API", BASE),
        ("docs", "/docs"),
        ("metrics", "/metrics"),
        ("health", "/readyz"),
    ] {
        output::line(format_args!("{what:<8} {url}{path}"))?;
    }
    let Some(key) = &ready.api_key else {
        return output::line(
            "A credential: `roster keys create --account <id>` with the same settings.",
        );
    };
    output::line(format_args!("key      {key}"))?;
    output::line(format_args!(
        "project  {} / {} / {}",
        demo::ACCOUNT,
        demo::ORG,
        demo::PROJECT
    ))?;
    output::line("\nTo try: list, upsert, import.\n")?;
    for line in curl_lines(url, key) {
        output::line(format_args!("{line}\n"))?;
    }
    Ok(())
}

fn curl_lines(url: &str, key: &str) -> [String; 3] {
    let (account, org, project) = (demo::ACCOUNT, demo::ORG, demo::PROJECT);
    let scope = format!(r#""account_id":"{account}","org_id":"{org}","project_id":"{project}""#);
    let post = |route: &str, members: &str| {
        format!(
            "curl -sS {url}{BASE}/{route} -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
             -d '{{{scope},{members}}}'"
        )
    };
    let query = format!("account_id={account}&org_id={org}&project_id={project}");
    [
        post("users/list", r#""search":"berlin","page_size":5"#),
        post(
            "users/upsert",
            r#""customer_user_id":"cus_2001","profile":{"full_name":"Robin Vale","email":"robin.vale@example.org","city":"Oslo"}"#,
        ),
        format!(
            "printf 'customer_user_id,full_name,email\\ncus_2002,Sam Hale,sam.hale@example.com\\n' | curl -sS \
             '{url}{BASE}/users/import-csv?{query}' -H 'Authorization: Bearer {key}' -H 'Content-Type: text/csv' \
             --data-binary @-"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::{curl_lines, url};

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let shown = |address: &str| address.parse().map(url).expect("an address");
        assert_eq!(shown("0.0.0.0:80"), "http://127.0.0.1:80");
        assert_eq!(shown("127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(shown("[::1]:8080"), "http://[::1]:8080");
    }

    #[test]
    fn bodies_of_the_lines_are_json() {
        let lines = curl_lines("http://h", "rk_a_b");
        for line in &lines[..2] {
            let body = line
                .split("-d '")
                .nth(1)
                .and_then(|body| body.strip_suffix('\''))
                .expect("a body");
            assert!(
                serde_json::from_str::<serde_json::Value>(body).is_ok(),
                "{body}"
            );
        }
    }
}
