//! What the callback server needs from the logins.

use authd_broker::LinkTarget;

/// Finishes logins for the callback server.
pub(crate) trait CallbackHandler: Clone + Send + Sync + 'static {
    /// Whether browsers return to this path.
    fn is_redirect_path(&self, path: &str) -> bool;

    /// Finishes the login that the path and the query of a redirect belong to. Must check `state`
    /// before any effect.
    fn handle(&self, path: &str, query: &str) -> impl Future<Output = CallbackOutcome> + Send;

    /// Uses the link to an authorize URL with this token.
    fn follow_link(&self, token: &str) -> LinkTarget;

    /// How many logins are pending.
    fn pending(&self) -> usize;
}

/// The result of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallbackOutcome {
    /// Signed in.
    SignedIn(SignedInUser),
    /// Signed in before; the same URL was opened again.
    AlreadySignedIn(SignedInUser),
    /// Not signed in.
    Failed {
        /// A short title.
        title: String,
        /// What happened.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// No login has this `state`.
    UnknownState,
}

/// The signed-in user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedInUser {
    /// The e-mail address.
    pub(crate) email: Option<String>,
    /// The plan's name.
    pub(crate) plan: Option<String>,
    /// The workspace.
    pub(crate) workspace: Option<String>,
    /// The provider, unless it is the built-in one.
    pub(crate) provider: Option<String>,
    /// The mode's name, at the built-in provider.
    pub(crate) mode: Option<String>,
    /// The reason for the mode.
    pub(crate) mode_reason: String,
    /// The profile.
    pub(crate) profile: String,
}
