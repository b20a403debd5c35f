//! A short campaign of faults; `cargo dev faults` is the long one.

use clap::Parser;
use roster_tests::faults::{Arguments, campaign};
use roster_tests::scale::asked;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_whatever_breaks() {
    let mut arguments = Arguments::parse_from(["faults", "--no-disk"]);
    arguments.rounds = asked("ROSTER_FAULT_ROUNDS", 1);
    arguments.seconds = asked("ROSTER_FAULT_SECONDS", 5);
    arguments.callers = 4;
    let broken = campaign(&arguments).await.expect("a campaign");
    assert_eq!(broken, Vec::<u64>::new(), "seeds with violations");
}
