//! The vendors. Each file says what one of them answers.

mod airtable;
mod csv_file;
mod google;
mod google_sheets;
mod google_workspace;
mod hubspot;
mod intercom;
mod json_list;
mod microsoft_graph;
mod pipedrive;
mod salesforce;
mod workos;
mod zendesk;

use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::World;

pub use json_list::Paging;

/// A vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Contacts of `HubSpot`.
    Hubspot,
    /// A spreadsheet, read by a service account.
    GoogleSheets,
    /// The same, by an API key.
    GoogleSheetsByKey,
    /// Contacts of Salesforce.
    Salesforce,
    /// Persons of Pipedrive.
    Pipedrive,
    /// A table of Airtable.
    Airtable,
    /// Contacts of Intercom.
    Intercom,
    /// Users of Zendesk.
    Zendesk,
    /// Users of Microsoft Entra.
    MicrosoftGraph,
    /// Users of Google Workspace.
    GoogleWorkspace,
    /// Users of a `WorkOS` directory.
    Workos,
    /// Any JSON over HTTP.
    HttpJson(Paging),
    /// A CSV file.
    CsvUrl,
}

impl Vendor {
    /// Every vendor, with every way in which one of them may answer.
    pub const ALL: &[Self] = &[
        Self::Hubspot,
        Self::GoogleSheets,
        Self::GoogleSheetsByKey,
        Self::Salesforce,
        Self::Pipedrive,
        Self::Airtable,
        Self::Intercom,
        Self::Zendesk,
        Self::MicrosoftGraph,
        Self::GoogleWorkspace,
        Self::Workos,
        Self::HttpJson(Paging::Page),
        Self::HttpJson(Paging::Offset),
        Self::HttpJson(Paging::Cursor),
        Self::HttpJson(Paging::NextUrl),
        Self::HttpJson(Paging::Link),
        Self::CsvUrl,
    ];

    /// The word of its provider.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Hubspot => "hubspot",
            Self::GoogleSheets | Self::GoogleSheetsByKey => "google_sheets",
            Self::Salesforce => "salesforce",
            Self::Pipedrive => "pipedrive",
            Self::Airtable => "airtable",
            Self::Intercom => "intercom",
            Self::Zendesk => "zendesk",
            Self::MicrosoftGraph => "microsoft_graph",
            Self::GoogleWorkspace => "google_workspace",
            Self::Workos => "workos",
            Self::HttpJson(_) => "http_json",
            Self::CsvUrl => "csv_url",
        }
    }

    pub(crate) fn credentials(self, url: &str) -> Value {
        match self {
            Self::Hubspot => json!({"type": "private_app", "access_token": hubspot::TOKEN}),
            Self::GoogleSheets => {
                json!({"type": "service_account", "service_account_key": google::key_file()})
            }
            Self::GoogleSheetsByKey => json!({"type": "api_key", "api_key": google_sheets::KEY}),
            Self::Salesforce => json!({
                "type": "client_credentials", "client_id": salesforce::CLIENT, "client_secret": salesforce::SECRET,
            }),
            Self::Pipedrive => json!({"type": "api_token", "api_token": pipedrive::TOKEN}),
            Self::Airtable => json!({"type": "personal_access_token", "token": airtable::TOKEN}),
            Self::Intercom => json!({"type": "access_token", "access_token": intercom::TOKEN}),
            Self::Zendesk => {
                json!({"type": "api_token", "email": zendesk::EMAIL, "api_token": zendesk::TOKEN})
            }
            Self::MicrosoftGraph => json!({
                "type": "client_credentials", "client_id": microsoft_graph::CLIENT, "client_secret": microsoft_graph::SECRET,
            }),
            Self::GoogleWorkspace => json!({
                "type": "service_account", "service_account_key": google::key_file(), "subject": google::ADMIN,
            }),
            Self::Workos => json!({"type": "api_key", "api_key": workos::KEY}),
            Self::HttpJson(paging) => json_list::credentials(paging, url),
            Self::CsvUrl => json!({"type": "bearer", "token": csv_file::TOKEN}),
        }
    }

    pub(crate) fn config(self, url: &str) -> Value {
        match self {
            Self::GoogleSheets | Self::GoogleSheetsByKey => {
                json!({"spreadsheet_id": google_sheets::SPREADSHEET})
            }
            Self::Salesforce => json!({"domain": "acme"}),
            Self::Airtable => json!({
                "base_id": airtable::BASE, "table": airtable::TABLE, "modified_field": airtable::MODIFIED,
            }),
            Self::Zendesk => json!({"subdomain": "acme"}),
            Self::MicrosoftGraph => json!({"tenant_id": microsoft_graph::TENANT}),
            Self::Workos => json!({"directory_id": workos::DIRECTORY}),
            Self::HttpJson(paging) => json_list::config(paging, url),
            Self::CsvUrl => json!({"url": format!("{url}/people.csv")}),
            Self::Hubspot | Self::Pipedrive | Self::Intercom | Self::GoogleWorkspace => json!({}),
        }
    }

    pub(crate) fn mapping(self) -> Vec<(&'static str, &'static str)> {
        let [id, email, first, last] = match self {
            Self::Hubspot => [
                "id",
                "properties.email",
                "properties.firstname",
                "properties.lastname",
            ],
            Self::GoogleSheets | Self::GoogleSheetsByKey | Self::CsvUrl => {
                ["Id", "E-mail", "First name", "Last name"]
            }
            Self::Salesforce => ["Id", "Email", "FirstName", "LastName"],
            Self::Pipedrive => ["id", "emails.0.value", "first_name", "last_name"],
            Self::Airtable => ["id", "fields.Email", "fields.First", "fields.Last"],
            Self::Intercom => ["id", "email", "name", "custom_attributes.last"],
            Self::Zendesk => ["id", "email", "name", "user_fields.last"],
            Self::MicrosoftGraph => ["id", "email", "givenName", "surname"],
            Self::GoogleWorkspace => ["id", "primaryEmail", "name.givenName", "name.familyName"],
            Self::Workos => ["id", "email", "first_name", "last_name"],
            Self::HttpJson(_) => ["id", "contact.email", "contact.first", "contact.last"],
        };
        vec![
            (id, "customer_user_id"),
            (email, "email"),
            (first, "first_name"),
            (last, "last_name"),
        ]
    }

    pub(crate) fn id(self, no: u64) -> String {
        match self {
            Self::Salesforce => format!("003{no:012}AAA"),
            Self::Airtable => format!("rec{no:014}"),
            Self::Intercom => format!("6a{no:022x}"),
            Self::MicrosoftGraph => format!("00000000-0000-4000-8000-{no:012}"),
            Self::Workos => format!("directory_user_{no:010}"),
            Self::GoogleSheets | Self::GoogleSheetsByKey | Self::CsvUrl => format!("c-{no}"),
            _ => no.to_string(),
        }
    }

    /// Whether a request is one for records, rather than for a token or what stands around them.
    pub(crate) fn gives_data(self, ask: &Ask) -> bool {
        match self {
            Self::GoogleSheets | Self::GoogleSheetsByKey => ask.path.contains("batchGet"),
            _ => !ask.path.contains("token"),
        }
    }

    pub(crate) fn answer(self, world: &mut World, ask: &Ask) -> Reply {
        match self {
            Self::Hubspot => hubspot::answer(world, ask),
            Self::GoogleSheets | Self::GoogleSheetsByKey => google_sheets::answer(world, ask),
            Self::Salesforce => salesforce::answer(world, ask),
            Self::Pipedrive => pipedrive::answer(world, ask),
            Self::Airtable => airtable::answer(world, ask),
            Self::Intercom => intercom::answer(world, ask),
            Self::Zendesk => zendesk::answer(world, ask),
            Self::MicrosoftGraph => microsoft_graph::answer(world, ask),
            Self::GoogleWorkspace => google_workspace::answer(world, ask),
            Self::Workos => workos::answer(world, ask),
            Self::HttpJson(paging) => json_list::answer(paging, world, ask),
            Self::CsvUrl => csv_file::answer(world, ask),
        }
    }

    /// Too many requests, without `Retry-After`.
    pub(crate) fn throttled(self) -> Reply {
        match self {
            Self::Hubspot => hubspot::limit("TEN_SECONDLY_ROLLING"),
            Self::GoogleSheets | Self::GoogleSheetsByKey | Self::GoogleWorkspace => {
                google::limit("minute")
            }
            Self::Salesforce => Reply::other(503, "text/html", "<html>Server too busy</html>"),
            Self::Pipedrive => pipedrive::limit(100),
            Self::Airtable => airtable::limit("RATE_LIMIT_REACHED"),
            Self::Intercom => intercom::limit(),
            _ => Reply::status(429, &json!({"message": "Too many requests"})),
        }
    }

    /// The quota of the day is used up.
    pub(crate) fn spent(self) -> Reply {
        match self {
            Self::Hubspot => hubspot::limit("DAILY"),
            Self::GoogleSheets | Self::GoogleSheetsByKey | Self::GoogleWorkspace => {
                google::limit("day")
            }
            Self::Salesforce => Reply::status(
                403,
                &json!([{
                    "message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED",
                }]),
            ),
            Self::Pipedrive => pipedrive::limit(0),
            Self::Airtable => airtable::limit("PUBLIC_API_BILLING_LIMIT_EXCEEDED"),
            // The others know no quota of a day: they ask for a long pause.
            _ => Reply::status(429, &json!({"message": "Too many requests"}))
                .with("retry-after", "43200"),
        }
    }
}
