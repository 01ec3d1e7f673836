//! The accounts of the sandbox: claims, plan, and lifetime of access tokens. The ledger has the
//! tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Usage;

/// A user in one workspace.
#[derive(Clone, Debug)]
pub struct Account {
    /// The short name for tests and for the sign-in page.
    pub name: String,
    /// The address in the `email` claim.
    pub email: String,
    /// The plan in the `chatgpt_plan_type` claim; `None` leaves the claim out.
    pub plan: Option<String>,
    /// The `chatgpt_user_id` claim.
    pub user_id: String,
    /// The `chatgpt_account_id` claim, the id of the workspace.
    pub account_id: String,
    /// The name of the workspace in `accounts/check`; `None` for a personal account.
    pub workspace_name: Option<String>,
    /// The platform organisation. Without it the API-key exchange fails, as for most users.
    pub organization_id: Option<String>,
    /// The platform project of the organisation.
    pub project_id: Option<String>,
    /// Whether this is a FedRAMP workspace, whose requests need `x-openai-fedramp: true`.
    pub fedramp: bool,
    /// Whether the workspace is deactivated: `accounts/check` says so, and the models answer
    /// 402.
    pub deactivated: bool,
    /// The lifetime of an access token. The `exp` claim has a resolution of seconds.
    pub access_token_lifetime: Duration,
    /// The home region of this workspace in `wham/accounts/check`.
    pub routing: Option<Routing>,
    /// How much of the usage limits is used.
    pub usage: Usage,
}

/// The home region of a workspace in `wham/accounts/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The `workspace_backend_origin` field, for example `https://chatgpt.com`.
    pub backend_origin: String,
    /// The `account_routing_override` field, for example `us`.
    pub region: String,
}

impl Account {
    /// A personal account on the Plus plan, named `plus`, without a platform organisation.
    pub fn plus() -> Self {
        Self {
            name: "plus".into(),
            email: "user@example.com".into(),
            plan: Some("plus".into()),
            user_id: "user-Plus000000000000000000A1".into(),
            account_id: "bc3618e3-489d-4d49-9362-1561dc53ba53".into(),
            workspace_name: None,
            organization_id: None,
            project_id: None,
            fedramp: false,
            deactivated: false,
            access_token_lifetime: Duration::from_secs(864_000),
            routing: None,
            usage: Usage::default(),
        }
    }

    /// A Business workspace, named `business`, whose id token can be exchanged for an API key.
    pub fn business() -> Self {
        Self {
            name: "business".into(),
            email: "worker@example.org".into(),
            plan: Some("business".into()),
            user_id: "user-Business0000000000000B2".into(),
            account_id: "5f1e0a3c-7a0b-4c1e-8d51-9f0f6c2b7e11".into(),
            workspace_name: Some("Example Works".into()),
            organization_id: Some("org-ExampleWorks00000000001".into()),
            project_id: Some("proj_ExampleWorks0000000001".into()),
            ..Self::plus()
        }
    }

    /// A Business workspace, named `business-without-organization`, whose API-key exchange fails.
    pub fn business_without_organization() -> Self {
        Self {
            name: "business-without-organization".into(),
            email: "guest@example.org".into(),
            user_id: "user-Guest0000000000000000C3".into(),
            account_id: "0d9c6f9e-2a35-4b7b-9a44-6d1b54a3c0de".into(),
            workspace_name: Some("Example Guests".into()),
            organization_id: None,
            project_id: None,
            ..Self::business()
        }
    }

    /// The three presets, in the order of the sign-in page.
    pub fn presets() -> Vec<Self> {
        vec![Self::plus(), Self::business(), Self::business_without_organization()]
    }

    /// Sets the lifetime of access tokens.
    #[must_use]
    pub fn with_lifetime(self, access_token_lifetime: Duration) -> Self {
        Self { access_token_lifetime, ..self }
    }

    /// The kind of the workspace in `accounts/check`: `personal` or `workspace`.
    pub(crate) fn structure(&self) -> &'static str {
        if self.workspace_name.is_some() { "workspace" } else { "personal" }
    }
}
