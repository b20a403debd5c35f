//! How a setting is shown: never with a secret in it.

/// Settings that are secrets as a whole.
const SECRET: [&str; 3] = ["keys.kek", "anchors.key", "auth.jwt_secret"];
/// Settings that are URLs with a password in them.
const URLS: [&str; 5] = [
    "database.url",
    "database.service_url",
    "nats.url",
    "auth.jwks_url",
    "telemetry.otlp_endpoint",
];
/// Those that may be several.
const LISTS: [&str; 1] = ["nats.url"];

/// The value of a setting as anybody may see it.
pub(super) fn shown(key: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if SECRET.contains(&key) {
        "<secret>".into()
    } else if URLS.contains(&key) {
        let urls: Vec<&str> = if LISTS.contains(&key) {
            value.split(',').collect()
        } else {
            vec![value]
        };
        // A password may hold a comma.
        if urls
            .iter()
            .any(|url| url.contains('@') && !url.contains("://"))
        {
            return "<hidden>".into();
        }
        let urls = urls.into_iter().map(without_password);
        urls.collect::<Vec<_>>().join(",")
    } else {
        value.into()
    }
}

/// A URL whose password, token and query are hidden. A lone name before `@` is a token to NATS, so it is hidden too.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // A password may hold what ends it elsewhere: then nothing of the URL is safe to show.
    let before = rest.rsplit_once('@').map_or("", |(before, _)| before);
    if before.contains(['/', '?', '#']) {
        return format!("{scheme}://<hidden>");
    }
    let (rest, query) = rest
        .split_once('?')
        .map_or((rest, ""), |(rest, _)| (rest, "?<hidden>"));
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:<secret>@{host}"),
            None if scheme.starts_with("postgres") => format!("{user}@{host}"),
            None => format!("<secret>@{host}"),
        },
        None => authority.to_owned(),
    };
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{authority}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn no_secret_is_shown() {
        for (key, value, expected) in [
            ("keys.kek", "00ff", "<secret>"),
            ("keys.kek", "", ""),
            (
                "database.url",
                "postgres://roster:pw@db/roster",
                "postgres://roster:<secret>@db/roster",
            ),
            (
                "database.url",
                "postgres://roster@db/roster",
                "postgres://roster@db/roster",
            ),
            (
                "database.url",
                "postgres://db/roster?password=pw",
                "postgres://db/roster?<hidden>",
            ),
            (
                "database.url",
                "postgres://u:p/w@db/roster",
                "postgres://<hidden>",
            ),
            (
                "database.url",
                "postgres://u:p?w@db/roster",
                "postgres://<hidden>",
            ),
            (
                "database.url",
                "postgres://u:p,w@db/roster",
                "postgres://u:<secret>@db/roster",
            ),
            ("nats.url", "nats://u:p,w@b:1", "<hidden>"),
            ("nats.url", "nats://a:1,b:2", "nats://a:1,b:2"),
            (
                "nats.url",
                "nats://token@a,nats://u:p@b:1",
                "nats://<secret>@a,nats://u:<secret>@b:1",
            ),
            ("cell", "main", "main"),
        ] {
            assert_eq!(shown(key, value), expected);
        }
    }
}
