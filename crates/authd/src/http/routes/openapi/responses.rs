//! Responses that several operations share, for the handlers' attributes.

use std::collections::BTreeMap;

use authd_api::{CodexHomes, ErrorCode, Login, LoginFile, Profile};
use utoipa::{
    IntoResponses,
    openapi::{Ref, RefOr, Response},
};

/// Defines groups of errors. A group's responses are keyed by error code until `complete_operation`
/// merges the groups by status.
macro_rules! error_groups {
    ($($group:ident: $($code:ident)*;)*) => {$(
        pub(in crate::http::routes) struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let response = |code: ErrorCode| (code.as_str().to_owned(), Response::default().into());
                [$(ErrorCode::$code),*].map(response).into()
            }
        }
    )*};
}

error_groups! {
    QueryErrors: BadRequest;
    BodyErrors: BadRequest TooLarge Timeout;
    ProfileErrors: BadRequest LoginRequired ProfileUnknown;
    LoginErrors: BadRequest LoginUnknown;
    ShareErrors: BadRequest ShareUnknown;
    ProviderListErrors: StoreUnavailable ShuttingDown;
    ProviderNameErrors: ProviderUnknown ShuttingDown;
    StoreErrors: Conflict StoreLocked StoreUnavailable ShuttingDown;
    CredentialErrors: LoginRequired ProviderUnreachable ProviderRefused Timeout;
    ProviderErrors: ProviderUnreachable ProviderRefused;
    OwnCredentialErrors: LoginDenied ProviderUnknown ProviderUnreachable ProviderRefused;
    StartErrors: CallbackUnavailable LoginDenied ProviderUnknown ProviderUnreachable ProviderRefused;
    LoginRequiredErrors: LoginRequired;
    ConflictErrors: Conflict;
}

/// Defines responses with a message that several operations share.
macro_rules! responses {
    ($($response:ident($message:ident) $(with $header:literal)?: $description:literal;)*) => {$(
        #[derive(IntoResponses)]
        #[response(status = 200, description = $description $(, headers(($header)))?)]
        pub(in crate::http::routes) struct $response(
            #[expect(dead_code, reason = "the derive reads its type")] $message,
        );
    )*};
}

responses! {
    ChangedProfile(Profile): "The profile after the change.";
    CodexHomesResponse(CodexHomes): "The managed Codex homes.";
    LoginFileResponse(LoginFile): "The login file, and its profile.";
    LoginResponse(Login) with "cache-control": "The login.";
}

/// The response of a relay.
pub(in crate::http::routes) struct UpstreamResponse;

impl IntoResponses for UpstreamResponse {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [("default".to_owned(), Ref::from_response_name("upstream").into())].into()
    }
}
