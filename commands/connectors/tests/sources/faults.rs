//! What goes wrong on the way: said as what it is, and the walk goes on from where it stood.

use std::time::Duration;

use roster_commands::sync::source::SourceError;
use roster_fakes::{Fake, Fault, RetryAfter, Vendor};

use crate::session::{go_on, open, present, small};

/// A walk whose second page meets a fault; then the rest of it by another session, as after a restart.
async fn interrupted(vendor: Vendor, fault: Fault) -> (Fake, SourceError) {
    let (fake, mut walked) = small(vendor).await;
    // A file is a single request.
    let nth = if vendor == Vendor::CsvUrl { 1 } else { 2 };
    fake.fault(nth, fault.clone());
    let mut session = open(&fake);
    let error = go_on(session.as_mut(), None, &mut walked)
        .await
        .expect_err("the fault is noticed");
    fake.restore();
    let mut session = open(&fake);
    go_on(session.as_mut(), None, &mut walked)
        .await
        .unwrap_or_else(|error| panic!("{vendor:?} after {fault:?}: {error:?}"));
    assert_eq!(walked.ids(), present(&fake), "{vendor:?} after {fault:?}");
    assert_eq!(
        walked.records.len(),
        50,
        "{vendor:?} after {fault:?}: nobody twice"
    );
    (fake, error)
}

#[tokio::test]
async fn too_many_requests_say_for_how_long_to_pause() {
    for vendor in Vendor::ALL {
        let (_, error) = interrupted(*vendor, Fault::Throttle(RetryAfter::Seconds(7))).await;
        assert_eq!(
            error,
            SourceError::Throttled(Some(Duration::from_secs(7))),
            "{vendor:?}"
        );
        let (_, error) = interrupted(*vendor, Fault::Throttle(RetryAfter::Date(600))).await;
        let SourceError::Throttled(Some(pause)) = error else {
            panic!("{vendor:?}: {error:?}");
        };
        assert!(
            pause > Duration::from_secs(500) && pause <= Duration::from_secs(601),
            "{vendor:?}: {pause:?}"
        );
        let (_, error) = interrupted(*vendor, Fault::Throttle(RetryAfter::Nothing)).await;
        let busy = matches!(error, SourceError::Throttled(_) | SourceError::Transient(_));
        assert!(busy, "{vendor:?}: {error:?}");
    }
}

#[tokio::test]
async fn the_quota_of_a_day_is_no_pause_of_a_moment() {
    for vendor in Vendor::ALL {
        let (_, error) = interrupted(*vendor, Fault::Quota).await;
        let long = Duration::from_hours(12);
        let over =
            matches!(error, SourceError::Quota(_)) || error == SourceError::Throttled(Some(long));
        assert!(over, "{vendor:?}: {error:?}");
    }
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_stays() {
    for vendor in Vendor::ALL {
        for status in [500, 503] {
            let (_, error) = interrupted(*vendor, Fault::Broken(status)).await;
            assert!(
                matches!(error, SourceError::Transient(_)),
                "{vendor:?}: {error:?}"
            );
        }
        let (_, error) = interrupted(*vendor, Fault::CutOff).await;
        assert!(
            matches!(error, SourceError::Transient(_)),
            "{vendor:?}: {error:?}"
        );
        let (_, error) = interrupted(*vendor, Fault::Html).await;
        let odd = matches!(error, SourceError::Answer(_) | SourceError::Config(_));
        assert!(odd, "{vendor:?}: {error:?}");
        let (_, error) = interrupted(*vendor, Fault::HtmlNotFound).await;
        assert!(
            matches!(error, SourceError::Config(_)),
            "{vendor:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_cursor_that_comes_twice_ends_the_walk() {
    for vendor in Vendor::ALL {
        if matches!(
            vendor,
            Vendor::GoogleSheets | Vendor::GoogleSheetsByKey | Vendor::CsvUrl
        ) {
            continue;
        }
        let (_, error) = interrupted(*vendor, Fault::Repeat).await;
        assert!(
            matches!(error, SourceError::Answer(_)),
            "{vendor:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_renewed_where_there_is_another() {
    for vendor in Vendor::ALL {
        let (fake, mut walked) = small(*vendor).await;
        fake.fault(if *vendor == Vendor::CsvUrl { 1 } else { 2 }, Fault::Expire);
        let mut session = open(&fake);
        let error = go_on(session.as_mut(), None, &mut walked)
            .await
            .expect_err("the token ended");
        assert!(
            matches!(error, SourceError::Unauthorized(_)),
            "{vendor:?}: {error:?}"
        );
        let renewed = session.renew().await.expect("renewal answers");
        let tokens = matches!(
            fake.provider(),
            "salesforce" | "microsoft_graph" | "google_workspace"
        ) || matches!(
            *vendor,
            Vendor::GoogleSheets | Vendor::HttpJson(roster_fakes::Paging::Cursor)
        );
        assert_eq!(renewed, tokens, "{vendor:?}");
        if renewed {
            go_on(session.as_mut(), None, &mut walked)
                .await
                .expect("the new token counts");
            assert_eq!(walked.ids(), present(&fake), "{vendor:?}");
        }
    }
}

#[tokio::test]
async fn a_vendor_that_repeats_what_it_was_sent_gives_no_secret_away() {
    for vendor in Vendor::ALL {
        let (fake, walked) = small(*vendor).await;
        fake.fault(1, Fault::Echo(400));
        let mut session = open(&fake);
        let error = session
            .page(&walked.beginning())
            .await
            .expect_err("it is a refusal");
        let told = format!("{error} {error:?}");
        let asked = fake.asks().pop().expect("it was asked");
        let sent = ["authorization", "x-api-token", "x-key"]
            .into_iter()
            .filter_map(|name| asked.header(name));
        let sent = sent.chain(
            ["key", "api_key"]
                .into_iter()
                .filter_map(|name| asked.query(name)),
        );
        let secrets: Vec<&str> = sent
            .map(|secret| secret.rsplit(' ').next().unwrap_or(secret))
            .collect();
        assert_eq!(secrets.len(), 1, "{vendor:?}: one secret is sent");
        assert!(
            !told.contains(secrets[0]) && told.contains("redacted"),
            "{vendor:?}: {told}"
        );
    }
}
