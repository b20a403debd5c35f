//! Tests of the layers.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::{Configuration, Demo, Inputs, LogFormat};

fn inputs(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Inputs {
    Inputs {
        file: None,
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        flags: flags
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into(), "a flag".into()))
            .collect(),
    }
}

fn problem(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    Configuration::load(&inputs(environment, flags))
        .expect_err("a problem")
        .to_string()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("roster-config-{}-{name}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn the_defaults_are_complete() {
    let settings = Configuration::load(&Inputs::default())
        .expect("the defaults")
        .settings;
    assert_eq!(
        (settings.listen.as_str(), settings.cell.as_str()),
        ("127.0.0.1:8080", "main")
    );
    assert_eq!(
        (settings.demo, settings.log.format),
        (Demo::Auto, LogFormat::Text)
    );
    assert_eq!(settings.limits.import_bytes, 2 << 30);
    assert!(settings.is_managed() && settings.ready_file.is_none() && settings.keys.kek.is_none());
}

#[test]
fn later_sources_win() {
    let path = file(
        "order.toml",
        "cell = 'from_file'\nlisten = 'f:1'\n[limits]\nbody_bytes = 4096\n[log]\nformat = 'json'",
    );
    let mut given = inputs(
        &[
            ("ROSTER_CELL", "from_env"),
            ("ROSTER_LISTEN", "e:1"),
            ("ROSTER_LIMITS__RATE_PER_SECOND", "7"),
        ],
        &[("listen", "g:1")],
    );
    given.file = Some(path);
    let settings = Configuration::load(&given).expect("good settings").settings;
    assert_eq!(
        (settings.listen.as_str(), settings.cell.as_str()),
        ("g:1", "from_env")
    );
    assert_eq!(
        (settings.limits.body_bytes, settings.limits.rate_per_second),
        (4096, 7)
    );
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn the_short_names_are_settings() {
    let path = file("kek", "ab\n");
    let variables = [
        ("DATABASE_URL", "postgres://db/roster"),
        ("NATS_URL", "nats://bus"),
        ("ROSTER_KEK_FILE", path.to_str().expect("a path")),
        ("ROSTER_DEMO", "true"),
        ("ROSTER_READY_FILE", "/run/ready.json"),
        ("ROSTER_IMPORT__CHUNK_PAUSE_MS", "250"),
        ("ROSTER_PORT", "tcp://10.0.0.1:80"),
        ("ROSTER_RUNTIME", "wheels"),
    ];
    let settings = Configuration::load(&inputs(&variables, &[]))
        .expect("good settings")
        .settings;
    assert_eq!(
        settings.keys.kek.as_ref().map(ExposeSecret::expose_secret),
        Some("ab")
    );
    assert!(!settings.is_managed());
    assert_eq!(
        (settings.demo, settings.import.chunk_pause_ms),
        (Demo::On, 250)
    );
    assert_eq!(settings.ready_path(), PathBuf::from("/run/ready.json"));
}

#[test]
fn a_secret_and_its_file_follow_the_order_of_the_sources() {
    let path = file("url", "postgres://from_file/db\n");
    let path = path.to_str().expect("a path");
    let url = |given: &Inputs| {
        let settings = Configuration::load(given).expect("good settings").settings;
        settings
            .database
            .url
            .map(|url| url.expose_secret().to_owned())
    };
    let over = inputs(
        &[("DATABASE_URL", "postgres://env/db")],
        &[("database.url_file", path)],
    );
    assert_eq!(url(&over).as_deref(), Some("postgres://from_file/db"));
    let under = inputs(
        &[("DATABASE_URL_FILE", path)],
        &[("database.url", "postgres://flag/db")],
    );
    assert_eq!(url(&under).as_deref(), Some("postgres://flag/db"));
    assert_eq!(
        problem(
            &[
                ("DATABASE_URL", "postgres://a/b"),
                ("DATABASE_URL_FILE", path)
            ],
            &[]
        ),
        "settings database.url and database.url_file: only one of them can be set (from the variable DATABASE_URL)"
    );
}

#[test]
fn a_bad_value_names_its_setting_and_source() {
    assert_eq!(
        problem(&[("ROSTER_LIMITS__BODY_BYTES", "many")], &[]),
        "setting limits.body_bytes: expected an integer, found string \"many\" (from the variable \
         ROSTER_LIMITS__BODY_BYTES)"
    );
    assert_eq!(
        problem(&[], &[("listen", "8080")]),
        "setting listen: must be host:port, such as 127.0.0.1:8080 (from a flag)"
    );
    assert_eq!(
        problem(&[("ROSTER_DEMO", "perhaps")], &[]),
        "setting demo: must be true, false or auto (from the variable ROSTER_DEMO)"
    );
    assert!(problem(&[], &[("log.level", "roster=loud")]).starts_with("setting log.level: "));
    assert!(problem(&[("ROSTER_LOG__FORMAT", "xml")], &[]).starts_with("setting log.format: "));
    assert!(
        problem(&[("ROSTER_KEK_FILE", "/nowhere/kek")], &[])
            .starts_with("setting keys.kek_file: /nowhere/kek: No such file")
    );
}

#[test]
fn a_name_that_is_no_setting_is_refused() {
    assert_eq!(
        problem(&[("ROSTER_LIMTS__BODY_BYTES", "1")], &[]),
        "there is no setting limts.body_bytes (from the variable ROSTER_LIMTS__BODY_BYTES); is limits.body_bytes meant?"
    );
    let mut given = Inputs {
        file: Some(file("unknown.toml", "[database]\npasword = 'x'")),
        ..Inputs::default()
    };
    let message = Configuration::load(&given)
        .expect_err("unknown")
        .to_string();
    assert!(
        message.starts_with("there is no setting database.pasword (from "),
        "{message}"
    );
    given.file = Some(file("broken.toml", "listen ="));
    let message = Configuration::load(&given).expect_err("broken").to_string();
    assert!(
        message.starts_with("configuration file ") && message.lines().count() == 1,
        "{message}"
    );
}

#[test]
fn the_print_has_sources_and_no_secrets() {
    let variables = [
        ("DATABASE_URL", "postgres://roster:hunter2@db/roster"),
        ("ROSTER_KEYS__KEK", "0123456789abcdef"),
        (
            "ROSTER_AUTH__JWT_SECRET",
            "a secret of at least thirty-two bytes",
        ),
    ];
    let text = Configuration::load(&inputs(&variables, &[]))
        .expect("good settings")
        .lines()
        .join("\n");
    for secret in ["hunter2", "0123456789abcdef", "thirty-two"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(
        text.contains("url = \"postgres://roster:<secret>@db/roster\"")
            && text.contains("# the variable DATABASE_URL")
    );
    assert!(text.contains("[limits]\nbody_bytes = 8388608\n"), "{text}");
}
