//! Walks through what changed.

use std::collections::BTreeSet;

use roster_commands::sync::source::SourceError;
use roster_fakes::{Fake, Fault, Vendor};
use serde_json::Value;

use crate::session::{Walked, fake, go_on, many, open, present, small, walk};

fn is_incremental(fake: &Fake) -> bool {
    !matches!(fake.provider(), "google_sheets" | "google_workspace")
}

#[tokio::test]
async fn changes_are_found_and_the_cursor_never_goes_back() {
    for vendor in Vendor::ALL {
        let fake = fake(*vendor, 50).await;
        if !is_incremental(&fake) {
            continue;
        }
        let mut session = open(&fake);
        let full = walk(session.as_mut(), None).await;
        let cursor = full
            .cursor
            .unwrap_or_else(|| panic!("{vendor:?} has a cursor"));
        let idle = walk(session.as_mut(), Some(&cursor)).await;
        assert!(
            idle.records.len() <= 1,
            "{vendor:?}: {} records though nothing changed",
            idle.records.len()
        );
        let kept = idle.cursor.unwrap_or_else(|| cursor.clone());
        fake.world(|world| {
            world.change(3);
            world.change(20);
            world.fill(1);
            world.remove(5);
        });
        let changed = walk(session.as_mut(), Some(&kept)).await;
        let new: BTreeSet<String> = [3, 20, 51].map(|no| fake.id(no)).into();
        assert!(
            changed.ids().is_superset(&new),
            "{vendor:?}: {:?}",
            changed.ids()
        );
        let tells = ["salesforce", "zendesk", "microsoft_graph", "workos"];
        if tells.contains(&fake.provider()) {
            assert_eq!(changed.gone(), BTreeSet::from([fake.id(5)]), "{vendor:?}");
        }
        if fake.provider() != "csv_url" {
            assert!(
                changed.records.len() <= 6,
                "{vendor:?}: {} records",
                changed.records.len()
            );
        }
        if let (Some(Value::String(before)), Some(Value::String(after))) =
            (Some(&cursor), &changed.cursor)
            && before.starts_with("2026-")
        {
            assert!(after >= before, "{vendor:?}: {before} {after}");
        }
    }
}

#[tokio::test]
async fn a_walk_through_changes_goes_on_after_what_goes_wrong() {
    for vendor in Vendor::ALL {
        for fault in [Fault::Broken(500), Fault::CutOff, Fault::Repeat] {
            let (fake, _) = small(*vendor).await;
            if !is_incremental(&fake) || fake.provider() == "csv_url" {
                continue;
            }
            let cursor = walk(open(&fake).as_mut(), None).await.cursor;
            fake.world(|world| (1..=50).for_each(|no| world.change(no)));
            let mut walked = Walked::default();
            fake.fault(2, fault.clone());
            let stopped = go_on(open(&fake).as_mut(), cursor.as_ref(), &mut walked).await;
            assert!(stopped.is_err(), "{vendor:?} {fault:?}");
            assert!(!walked.records.is_empty(), "{vendor:?} {fault:?}");
            go_on(open(&fake).as_mut(), cursor.as_ref(), &mut walked)
                .await
                .unwrap_or_else(|error| panic!("{vendor:?} after {fault:?}: {error:?}"));
            assert_eq!(walked.ids(), present(&fake), "{vendor:?} {fault:?}");
            let idle = walk(
                open(&fake).as_mut(),
                walked.cursor.as_ref().or(cursor.as_ref()),
            )
            .await;
            assert!(
                idle.records.len() <= 1,
                "{vendor:?} {fault:?}: {}",
                idle.records.len()
            );
        }
    }
}

#[tokio::test]
async fn more_than_ten_thousand_changes_at_one_instant_are_all_found() {
    let fake = fake(Vendor::Hubspot, 10_300).await;
    let mut session = open(&fake);
    let full = walk(session.as_mut(), None).await;
    fake.world(|world| world.change_at_once(1..=10_200));
    let changed = walk(session.as_mut(), full.cursor.as_ref()).await;
    let expected: BTreeSet<String> = (1..=10_200).map(|no: u64| no.to_string()).collect();
    assert!(
        changed.ids().is_superset(&expected),
        "{} of 10,200",
        changed.ids().len()
    );
}

#[tokio::test]
async fn records_that_come_late_into_the_index_are_found_by_the_look_back() {
    for vendor in [Vendor::Hubspot, Vendor::Intercom] {
        let fake = fake(vendor, 400).await;
        let mut session = open(&fake);
        let full = walk(session.as_mut(), None).await;
        fake.world(|world| {
            world.change_at_once([7, 8]);
            world.late = BTreeSet::from([8]);
        });
        let first = walk(session.as_mut(), full.cursor.as_ref()).await;
        assert!(
            first.ids().contains(&fake.id(7)) && !first.ids().contains(&fake.id(8)),
            "{vendor:?}"
        );
        fake.world(|world| world.late.clear());
        let second = walk(session.as_mut(), first.cursor.as_ref()).await;
        assert!(second.ids().contains(&fake.id(8)), "{vendor:?}");
    }
}

#[tokio::test]
async fn what_changes_while_everything_is_read_is_found_by_the_next_walk() {
    for vendor in [
        Vendor::Hubspot,
        Vendor::Pipedrive,
        Vendor::MicrosoftGraph,
        Vendor::Workos,
    ] {
        let fake = fake(vendor, many(vendor)).await;
        let mut session = open(&fake);
        let mut walked = Walked::default();
        fake.fault(2, Fault::Broken(500));
        let stopped = go_on(session.as_mut(), None, &mut walked).await;
        assert!(
            matches!(stopped, Err(SourceError::Transient(_))),
            "{vendor:?}"
        );
        // Somebody on the first page changes; somebody on the last page changes after that.
        fake.world(|world| {
            world.change_now(1);
            world.change_now(many(vendor));
        });
        go_on(session.as_mut(), None, &mut walked)
            .await
            .expect("the walk goes on");
        assert_eq!(walked.ids(), present(&fake), "{vendor:?}");
        let next = walk(session.as_mut(), walked.cursor.as_ref()).await;
        assert!(
            next.ids().contains(&fake.id(1)),
            "{vendor:?}: {:?}",
            walked.cursor
        );
    }
}

#[tokio::test]
async fn a_forgotten_cursor_asks_for_a_full_walk() {
    let fake = fake(Vendor::MicrosoftGraph, 3).await;
    let cursor = Value::String(format!("{}/v1.0/users/delta?$deltatoken=99999", fake.url()));
    let mut walked = Walked::default();
    let error = go_on(open(&fake).as_mut(), Some(&cursor), &mut walked).await;
    assert!(
        matches!(error, Err(SourceError::CursorGone(_))),
        "{error:?}"
    );
    let elsewhere =
        Value::String("https://graph.example.org/v1.0/users/delta?$deltatoken=1".into());
    let error = go_on(open(&fake).as_mut(), Some(&elsewhere), &mut walked).await;
    assert!(matches!(error, Err(SourceError::Refused(_))), "{error:?}");
}
