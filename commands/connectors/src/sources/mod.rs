//! The sources: one file each.

mod airtable;
mod csv_url;
mod google_sheets;
mod google_workspace;
mod http_json;
mod hubspot;
mod intercom;
mod microsoft_graph;
mod pipedrive;
mod postgres;
mod salesforce;
mod workos;
mod zendesk;

use std::sync::Arc;

use roster_commands::sync::source::Source;

use crate::engine::Vendor;
use crate::engine::session::Of;
use crate::outbound::Outbound;

/// Every source, over one guarded client.
#[expect(
    clippy::needless_pass_by_value,
    reason = "whoever hands it in gives the way out to the sources"
)]
pub fn all(outbound: Outbound) -> Vec<Arc<dyn Source>> {
    vec![
        of::<hubspot::Hubspot>(&outbound),
        of::<google_sheets::GoogleSheets>(&outbound),
        of::<salesforce::Salesforce>(&outbound),
        of::<pipedrive::Pipedrive>(&outbound),
        of::<airtable::Airtable>(&outbound),
        of::<intercom::Intercom>(&outbound),
        of::<zendesk::Zendesk>(&outbound),
        of::<microsoft_graph::MicrosoftGraph>(&outbound),
        of::<google_workspace::GoogleWorkspace>(&outbound),
        of::<workos::Workos>(&outbound),
        of::<http_json::HttpJson>(&outbound),
        of::<csv_url::CsvUrl>(&outbound),
        of::<postgres::Postgres>(&outbound),
    ]
}

fn of<V: Vendor>(outbound: &Outbound) -> Arc<dyn Source> {
    Arc::new(Of::<V>::new(outbound.clone()))
}
