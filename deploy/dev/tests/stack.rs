//! The supervisor against real servers: installed ones, and those from the wheels.
#![expect(clippy::unwrap_used, reason = "a test fails where its helper does")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use roster_dev::environment::{Environment, Runtime};
use roster_dev::stack::{Stack, StackOptions};
use roster_dev::{StackError, kek};

/// `target/devstack` of the workspace, where the wheels may be unpacked already.
fn devstack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/devstack")
}

fn options(name: &str, runtime: Runtime) -> StackOptions {
    let folder = devstack().join(format!("{name}-{}", std::process::id()));
    let mut options = StackOptions::throwaway(folder);
    // What the caller's environment gives must not decide what is tested.
    options.environment = Environment {
        database_url: None,
        nats_url: None,
        runtime,
        ..Environment::read()
    };
    options
}

/// A running stack, or nothing where the machine lacks the means.
fn start(options: StackOptions) -> Option<Stack> {
    match Stack::start(options) {
        Ok(stack) => Some(stack),
        Err(error @ StackError::Missing { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn connect(url: &str) -> std::io::Result<TcpStream> {
    let authority = url.split_once("://").unwrap().1.split('/').next().unwrap();
    TcpStream::connect(authority.rsplit('@').next().unwrap())
}

/// Command lines of live processes that mention `mark`.
fn processes_of(mark: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != *std::process::id().to_string())
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(mark))
        .collect()
}

/// Postgres answers a request for TLS with one byte: yes or no.
fn postgres_answers(url: &str) {
    let mut stream = connect(url).unwrap();
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert!(matches!(answer, [b'N' | b'S']));
}

fn starts_answers_and_leaves_nothing(name: &str, runtime: Runtime) {
    let options = options(name, runtime);
    let data = options.data_dir.clone();
    let mark = data.file_name().unwrap().to_str().unwrap().to_owned();
    let Some(mut stack) = start(options.clone()) else {
        return;
    };

    stack.check().unwrap();
    postgres_answers(stack.database_url());
    assert!(connect(stack.nats_url()).is_ok());
    assert!(stack.postgres_version().unwrap().major >= 15);
    if let Some(psql) = stack
        .postgres_bin()
        .map(|bin| bin.join("psql"))
        .filter(|psql| psql.exists())
    {
        let answer = Command::new(psql)
            .args(["-XAtwc", "SELECT current_database(), current_user, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"])
            .arg(stack.database_url())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer.stdout).trim(),
            "roster|postgres|UTF8"
        );
    }
    assert!(!processes_of(&mark).is_empty());
    assert!(matches!(
        Stack::start(options.clone()),
        Err(StackError::InUse { .. })
    ));

    let (database_url, nats_url) = (stack.database_url().to_owned(), stack.nats_url().to_owned());
    drop(stack);
    assert_eq!(processes_of(&mark), Vec::<String>::new());
    assert!(connect(&database_url).is_err());
    assert!(connect(&nats_url).is_err());
    assert!(!data.exists());
}

#[test]
fn an_installed_stack_answers_and_is_gone_after_the_drop() {
    starts_answers_and_leaves_nothing("installed-postgres", Runtime::Auto);
}

#[test]
fn a_stack_from_the_wheels_answers_and_is_gone_after_the_drop() {
    starts_answers_and_leaves_nothing("wheels", Runtime::Wheels);
}

#[test]
fn kept_data_is_found_again_by_the_next_start() {
    let mut options = options("kept", Runtime::Auto);
    options.keep = true;
    let Some(stack) = start(options.clone()) else {
        return;
    };
    let password = |stack: &Stack| stack.database_url().split('@').next().unwrap().to_owned();
    let before = password(&stack);
    stack.stop().unwrap();

    let stack = start(options.clone()).unwrap();
    assert_eq!(password(&stack), before);
    assert!(options.is_running().unwrap());
    stack.stop().unwrap();
    options.remove_data().unwrap();
    assert!(!options.data_dir.exists());
}

/// Set for the helper process that [`servers_die_with_a_killed_parent`] kills.
const HELPER: &str = "ROSTER_DEV_TEST_HELPER";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the helper process is this test again, told apart by a variable"
)]
fn servers_die_with_a_killed_parent() {
    if let Some(folder) = std::env::var_os(HELPER) {
        let mut options = options("unused", Runtime::Auto);
        options.data_dir = PathBuf::from(folder);
        let stack = start(options);
        let ready = if stack.is_some() { "ready" } else { "skipped" };
        std::io::stderr()
            .write_all(format!("\n{ready}\n").as_bytes())
            .unwrap();
        // Until this process is killed.
        std::io::stdin().read_to_string(&mut String::new()).unwrap();
        return;
    }
    let options = options("killed", Runtime::Auto);
    let mark = options
        .data_dir
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers_die_with_a_killed_parent", "--nocapture"])
        .env(HELPER, &options.data_dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(helper.stderr.take().unwrap());
    let said = std::io::BufRead::lines(lines)
        .map_while(Result::ok)
        .find(|line| line == "ready" || line == "skipped");
    assert!(said.as_deref() == Some("skipped") || !processes_of(&mark).is_empty());
    helper.kill().unwrap();
    helper.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(30);
    while !processes_of(&mark).is_empty() {
        assert!(
            Instant::now() < deadline,
            "left over: {:?}",
            processes_of(&mark)
        );
        std::thread::yield_now();
    }
    // The data of a killed run is usable, and free.
    options.remove_data().unwrap();
}

#[test]
fn the_key_file_is_private_and_never_replaced() {
    let folder = devstack().join(format!("kek-{}", std::process::id()));
    let path = folder.join("kek");
    kek::ensure(&path).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let key = fs::read_to_string(&path).unwrap();
    assert_eq!((key.trim().len(), mode()), (64, 0o600));
    assert!(key.trim().bytes().all(|byte| byte.is_ascii_hexdigit()));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    kek::ensure(&path).unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap(), mode()), (key, 0o600));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_runtime_that_nobody_knows_is_refused() {
    let started = Stack::start(options("unknown", Runtime::Unknown));
    let refused = started.expect_err("nothing is started");
    assert!(refused.to_string().contains("ROSTER_RUNTIME"), "{refused}");
}
