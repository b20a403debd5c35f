//! The workspace has the shape that ARCHITECTURE draws.

use std::collections::BTreeSet;
use std::process::Command;

/// Who may depend on whom, besides libraries.
const EDGES: &[(&str, &[&str])] = &[
    ("roster-domain", &[]),
    ("roster-dev", &[]),
    ("roster-store", &["roster-domain"]),
    ("roster-commands", &["roster-domain", "roster-store"]),
    (
        "roster-connectors",
        &["roster-commands", "roster-domain", "roster-fakes"],
    ),
    ("roster-fakes", &[]),
    ("roster-projections", &["roster-domain", "roster-store"]),
    (
        "roster-http",
        &[
            "roster-commands",
            "roster-domain",
            "roster-projections",
            "roster-store",
        ],
    ),
    (
        "roster-internal",
        &[
            "roster-commands",
            "roster-domain",
            "roster-http",
            "roster-projections",
            "roster-store",
        ],
    ),
    (
        "roster-server",
        &[
            "roster-commands",
            "roster-connectors",
            "roster-dev",
            "roster-domain",
            "roster-http",
            "roster-internal",
            "roster-projections",
            "roster-store",
        ],
    ),
];

#[test]
fn crates_depend_only_inwards() {
    let metadata = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(
        packages.len() >= EDGES.len(),
        "every crate of the picture exists"
    );
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        if name == "roster-tests" {
            continue;
        }
        let (_, allowed) = EDGES
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| {
                panic!("{name} is not in the picture: draw it in ARCHITECTURE.md and here")
            });
        let inner: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|dependency| dependency.starts_with("roster-"))
            .collect();
        for dependency in inner {
            assert!(
                allowed.contains(&dependency),
                "{name} may not depend on {dependency}"
            );
        }
    }
}

#[test]
fn the_domain_knows_no_runtime_database_or_transport() {
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/Cargo.toml"))
            .expect("the manifest is there");
    for library in ["tokio", "sqlx", "axum", "async-nats", "reqwest"] {
        assert!(!manifest.contains(library), "domain must not use {library}");
    }
}
