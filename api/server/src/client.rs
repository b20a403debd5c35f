//! HTTP from our side: the command line as a client of a running server, and the fetch of a JWK set.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures::StreamExt;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use roster_commands::authority::TABLE;
use roster_internal::{BASE, base_of};
use serde_json::{Value, json};

use crate::config::Settings;
use crate::ready;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a small answer may take.
const ANSWER: Duration = Duration::from_mins(1);
/// The largest answer that is read whole.
const LARGEST_ANSWER: usize = 16 << 20;

/// The client for a URL: one on this machine is reached without the proxy that the environment may name.
#[expect(
    clippy::disallowed_methods,
    reason = "its URLs are the operator's own: the server of the command line and the JWK set of the settings"
)]
pub(crate) fn http(url: &str) -> anyhow::Result<Client> {
    let agent = concat!("roster/", env!("CARGO_PKG_VERSION"));
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .redirect(Policy::none())
        .user_agent(agent);
    let client = if is_here(url) {
        client.no_proxy()
    } else {
        client
    };
    client.build().context("HTTP client")
}

/// Whether a URL is one of this machine.
pub(crate) fn is_here(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str);
    host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse();
        host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

/// Which server and project; by default what a server started here wrote to `ready.json`.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// URL of the server.
    #[arg(long, env = "ROSTER_URL")]
    url: Option<String>,
    /// API key.
    #[arg(long, env = "ROSTER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Account of the project.
    #[arg(long, env = "ROSTER_ACCOUNT")]
    account: Option<String>,
    /// Organization of the project.
    #[arg(long, env = "ROSTER_ORG")]
    org: Option<String>,
    /// The project.
    #[arg(long, env = "ROSTER_PROJECT")]
    project: Option<String>,
}

/// A project on a running server.
pub(crate) struct Target {
    http: Client,
    url: String,
    api_key: String,
    account_id: String,
    org_id: String,
    project_id: String,
}

impl Target {
    pub(crate) fn of(args: TargetArgs, settings: &Settings) -> anyhow::Result<Self> {
        let path = settings.ready_path();
        let ready = ready::read(&path).ok();
        let or = |given: Option<String>, known: Option<String>, flag: &str| {
            let missing = || format!("{flag} is missing, and {} does not tell it", path.display());
            given.or(known).with_context(missing)
        };
        let known = |choose: fn(&ready::Ready) -> Option<String>| ready.as_ref().and_then(choose);
        let url = or(args.url, known(|ready| Some(ready.url.clone())), "--url")?;
        Ok(Self {
            http: http(&url)?,
            url: url.trim_end_matches('/').to_owned(),
            api_key: or(
                args.api_key,
                known(|ready| ready.api_key.clone()),
                "--api-key",
            )?,
            account_id: or(
                args.account,
                known(|ready| ready.account_id.clone()),
                "--account",
            )?,
            org_id: or(args.org, known(|ready| ready.org_id.clone()), "--org")?,
            project_id: or(
                args.project,
                known(|ready| ready.project_id.clone()),
                "--project",
            )?,
        })
    }

    /// The scope as members of a query.
    pub(crate) fn scope(&self) -> Vec<(&'static str, String)> {
        vec![
            ("account_id", self.account_id.clone()),
            ("org_id", self.org_id.clone()),
            ("project_id", self.project_id.clone()),
        ]
    }

    /// A request to a route of the project users API.
    pub(crate) fn post(&self, route: &str) -> RequestBuilder {
        let known = TABLE.iter().find(|row| row.route == route);
        let base = known.map_or(BASE, |row| base_of(row.operation));
        self.http
            .post(format!("{}{base}/{route}", self.url))
            .bearer_auth(&self.api_key)
    }

    /// A JSON request with the scope and these members.
    pub(crate) fn post_json(&self, route: &str, members: Value) -> RequestBuilder {
        let mut body = members;
        for (name, id) in self.scope() {
            body[name] = json!(id);
        }
        self.post(route).json(&body)
    }

    /// The JSON answer of a small request.
    pub(crate) async fn ask(&self, route: &str, members: Value) -> anyhow::Result<Value> {
        answer(
            self.post_json(route, members)
                .timeout(ANSWER)
                .send()
                .await?,
        )
        .await
    }
}

/// The JSON of a good answer, the problem of another.
pub(crate) async fn answer(response: Response) -> anyhow::Result<Value> {
    let response = accepted(response).await?;
    let body = text(response, LARGEST_ANSWER).await?;
    serde_json::from_str(&body).context("the server's answer is not JSON")
}

/// The answer if it is a good one; else its problem as an error.
pub(crate) async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Value =
        serde_json::from_str(&text(response, LARGEST_ANSWER).await?).unwrap_or_default();
    bail!(
        "the server answered {}: {}",
        status.as_u16(),
        problem(&body["detail"])
    );
}

/// The problem of an error answer in one line.
fn problem(detail: &Value) -> String {
    let word = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match detail {
        Value::Array(problems) => {
            let one = |problem: &Value| {
                let place: Vec<String> = problem["loc"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(word)
                    .collect();
                format!("{}: {}", place.join("."), word(&problem["msg"]))
            };
            problems
                .iter()
                .take(5)
                .map(one)
                .collect::<Vec<_>>()
                .join("; ")
        }
        Value::Object(_) => format!("{} ({})", word(&detail["message"]), word(&detail["code"])),
        _ => "no reason given".into(),
    }
}

/// The body as text, up to a size.
pub(crate) async fn text(response: Response, limit: usize) -> anyhow::Result<String> {
    let mut chunks = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > limit {
            bail!("the answer is larger than {limit} bytes");
        }
    }
    String::from_utf8(body).context("the answer is not UTF-8")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_here, problem};

    #[test]
    fn a_url_of_this_machine_is_told_from_one_that_only_begins_like_it() {
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost/x",
            "http://[::1]:1/",
        ] {
            assert!(is_here(url), "{url}");
        }
        for url in [
            "http://localhost.example.org",
            "http://127.0.0.1.example.org/",
            "http://10.0.0.1",
            "x",
        ] {
            assert!(!is_here(url), "{url}");
        }
    }

    #[test]
    fn problems_are_told_in_one_line() {
        let one = json!({"code": "permission_denied", "message": "the credential does not carry the permission"});
        assert_eq!(
            problem(&one),
            "the credential does not carry the permission (permission_denied)"
        );
        let many = json!([{"loc": ["body", "profile", "email"], "msg": "must be an e-mail address", "type": "email_invalid"}]);
        assert_eq!(
            problem(&many),
            "body.profile.email: must be an e-mail address"
        );
        assert_eq!(problem(&json!(null)), "no reason given");
    }
}
