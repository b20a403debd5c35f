//! How a fault is brought about, and healed.

use sqlx::Executor;

use super::fleet::Fleet;
use super::ground::Ground;
use super::plan::{Fault, Link};
use super::way::{Trouble, Way};
use crate::database::Database;

/// Brings a fault about.
pub(super) async fn strike(
    fault: Fault,
    ground: &mut Ground,
    fleet: &mut Fleet,
    database: &Database,
) -> anyhow::Result<()> {
    match fault {
        Fault::KillServer(number) => fleet.kill(number),
        Fault::PauseServer(number) => fleet.pause(number, true),
        Fault::CrashPostgres => ground.kill_postgres(),
        Fault::PausePostgres => ground.pause_postgres(true),
        Fault::KillNats { wiped } => {
            ground.kill_nats()?;
            if wiped { ground.wipe_nats() } else { Ok(()) }
        }
        Fault::PauseNats => ground.pause_nats(true),
        Fault::Network { link, trouble, .. } => {
            way(fleet, link).set(trouble);
            Ok(())
        }
        Fault::FullDisk => ground.fill_disk(true),
        Fault::Clock { server, seconds } => fleet.set_clock(server, seconds),
        Fault::Leases => expire_leases(database).await,
        Fault::PowerCut => {
            for number in 0..fleet.members.len() {
                fleet.kill(number)?;
            }
            ground.kill_postgres()?;
            ground.kill_nats()
        }
    }
}

/// Ends a fault. Servers that do not run are started by their keeper afterwards.
pub(super) fn heal(fault: Fault, ground: &mut Ground, fleet: &Fleet) -> anyhow::Result<()> {
    match fault {
        Fault::KillServer(_) | Fault::Leases => Ok(()),
        Fault::PauseServer(number) => fleet.pause(number, false),
        Fault::CrashPostgres => ground.revive_postgres(),
        Fault::PausePostgres => ground.pause_postgres(false),
        Fault::KillNats { .. } => ground.revive_nats(),
        Fault::PauseNats => ground.pause_nats(false),
        Fault::Network {
            link,
            trouble,
            lost,
        } => {
            // An answer that never came cannot come out of its turn: its connection is lost.
            if lost || trouble == Trouble::Deaf {
                way(fleet, link).begin_anew();
            } else {
                way(fleet, link).set(Trouble::None);
            }
            Ok(())
        }
        Fault::FullDisk => {
            ground.fill_disk(false)?;
            if ground.is_broken() {
                ground.revive_postgres()?;
            }
            // NATS keeps no stream any more once its disk was full, until it is started again.
            ground.kill_nats()?;
            ground.revive_nats()
        }
        Fault::Clock { server, .. } => fleet.set_clock(server, 0),
        Fault::PowerCut => {
            ground.revive_postgres()?;
            ground.revive_nats()
        }
    }
}

/// Lets every lease of a job or a projection run out, whoever holds it.
pub(super) async fn expire_leases(database: &Database) -> anyhow::Result<()> {
    let mut connection = database.superuser().await?;
    for table in ["job_leases", "log_checkpoints"] {
        let statement = format!("UPDATE {table} SET leased_till = 'epoch'");
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

fn way(fleet: &Fleet, link: Link) -> &Way {
    match link {
        Link::Postgres(number) => &fleet.members[number].postgres,
        Link::Nats(number) => &fleet.members[number].nats,
    }
}
