//! The closed list of error codes: what each is called and which status it has.

use axum::http::StatusCode;

macro_rules! codes {
    ($($name:ident $status:ident $text:literal $doc:literal;)*) => {
        /// A stable word for programs, sent as `detail.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $doc] $name,)*
        }

        impl Code {
            /// Every code, in the order of its status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The status of the answer.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    CsvInvalid BAD_REQUEST "csv_invalid" "The file is no CSV table.";
    RestrictiveFilterRequired BAD_REQUEST "restrictive_filter_required" "The filter matches everybody.";
    ConfirmationRequired BAD_REQUEST "confirmation_required" "The confirmation is missing or another one.";
    BadRequest BAD_REQUEST "bad_request" "The request cannot be read.";
    Unauthenticated UNAUTHORIZED "unauthenticated" "No credential, or none that is valid.";
    PermissionDenied FORBIDDEN "permission_denied" "The credential does not carry the permission.";
    TenantMismatch FORBIDDEN "tenant_mismatch" "The credential or a header names another tenant.";
    NotFound NOT_FOUND "not_found" "No such route.";
    CustomerNotFound NOT_FOUND "customer_not_found" "No such customer.";
    GrantNotFound NOT_FOUND "grant_not_found" "No such grant.";
    PurgeNotFound NOT_FOUND "purge_not_found" "No such purge.";
    ImportNotFound NOT_FOUND "import_not_found" "No such import.";
    ConnectionNotFound NOT_FOUND "connection_not_found" "No such connection.";
    RunNotFound NOT_FOUND "run_not_found" "No such run.";
    PreparationNotFound NOT_FOUND "preparation_not_found" "No such uniqueness check.";
    SuppressionNotFound NOT_FOUND "suppression_not_found" "The id is not suppressed.";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "The route has other methods.";
    SchemaConflict CONFLICT "project_user_schema_conflict" "The schema has another version or cannot change so.";
    PreparationRequired CONFLICT "project_user_indexes_preparation_required" "A uniqueness check runs first.";
    VersionConflict CONFLICT "version_conflict" "The record has another version.";
    UniqueValueTaken CONFLICT "unique_value_taken" "Another customer holds the value.";
    IdentityLinkedElsewhere CONFLICT "identity_linked_elsewhere" "Another customer holds the identity.";
    ProfileFieldRequired CONFLICT "profile_field_required" "The field must have a value.";
    PrimaryKeyMismatch CONFLICT "primary_key_mismatch" "The id and the primary-key value differ.";
    TooManyMatches CONFLICT "too_many_matches" "More customers match than one purge takes.";
    TotalChanged CONFLICT "total_changed" "Another number of customers matches now.";
    RunInProgress CONFLICT "run_in_progress" "The connection is being synced.";
    ConnectionNameTaken CONFLICT "connection_name_taken" "Another connection has the name.";
    PositionAhead CONFLICT "position_ahead" "The log has not reached that position.";
    EpochChanged CONFLICT "epoch_changed" "The log was restored; the position is of another epoch.";
    PayloadTooLarge PAYLOAD_TOO_LARGE "payload_too_large" "The body is larger than the limit.";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body has another type.";
    SchemaInvalid UNPROCESSABLE_ENTITY "schema_invalid" "The schema contradicts itself.";
    InvalidCursor UNPROCESSABLE_ENTITY "invalid_cursor" "The cursor belongs to another list.";
    ModeUnsupported UNPROCESSABLE_ENTITY "mode_unsupported" "The provider has no such mode.";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "The credential asks too often.";
    Internal INTERNAL_SERVER_ERROR "internal_error" "Something is wrong here; the log says what.";
    NotAvailable NOT_IMPLEMENTED "not_available" "Not part of this server.";
    Unavailable SERVICE_UNAVAILABLE "unavailable" "Try again soon.";
    ProjectionBehind SERVICE_UNAVAILABLE "projection_behind" "The read side has not reached that position yet.";
    IndexesUnavailable SERVICE_UNAVAILABLE "project_user_indexes_unavailable" "Uniqueness cannot be checked now.";
    Timeout GATEWAY_TIMEOUT "timeout" "The request took too long.";
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn the_list_of_codes_is_closed() {
        let list: Vec<String> = Code::ALL
            .iter()
            .map(|code| format!("{} {}", code.status().as_u16(), code.as_str()))
            .collect();
        insta::assert_snapshot!(list.join("\n"), @r"
        400 csv_invalid
        400 restrictive_filter_required
        400 confirmation_required
        400 bad_request
        401 unauthenticated
        403 permission_denied
        403 tenant_mismatch
        404 not_found
        404 customer_not_found
        404 grant_not_found
        404 purge_not_found
        404 import_not_found
        404 connection_not_found
        404 run_not_found
        404 preparation_not_found
        404 suppression_not_found
        405 method_not_allowed
        409 project_user_schema_conflict
        409 project_user_indexes_preparation_required
        409 version_conflict
        409 unique_value_taken
        409 identity_linked_elsewhere
        409 profile_field_required
        409 primary_key_mismatch
        409 too_many_matches
        409 total_changed
        409 run_in_progress
        409 connection_name_taken
        409 position_ahead
        409 epoch_changed
        413 payload_too_large
        415 unsupported_media_type
        422 schema_invalid
        422 invalid_cursor
        422 mode_unsupported
        429 rate_limited
        500 internal_error
        501 not_available
        503 unavailable
        503 projection_behind
        503 project_user_indexes_unavailable
        504 timeout
        ");
    }
}
