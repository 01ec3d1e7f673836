//! Maps the broker's types to API messages.

use authd_api::{CallbackStatus, CodexHome, Login, Profile, ProfileName, ProfileState, Share, ShareDoor};
use authd_broker::{
    CallbackServerState, LoginSnapshot, Observed, ProfileSnapshot, ProfileView, RegistrySnapshot,
    mode_message,
};
use authd_oauth::{Credential, Plan, ProfileStatus};
use jiff::Timestamp;

pub(crate) use self::{
    quota::{known_quota, quota, requested_quota},
    store::store,
};
use super::{problem, share::ShareDoorsHandle};

mod quota;
mod store;

/// The profile of that name, if it exists.
pub(crate) fn profile_of(snapshot: &RegistrySnapshot, name: &ProfileName, now: Timestamp) -> Option<Profile> {
    let view = snapshot.profiles.get(name)?.view();
    Some(profile(name, &view, snapshot.default.as_ref() == Some(name), now))
}

/// A profile.
pub(crate) fn profile(name: &ProfileName, view: &ProfileView, default: bool, now: Timestamp) -> Profile {
    let blank = Profile {
        name: name.clone(),
        default,
        state: state(view, now),
        sign_in_required: view.sign_in_required(now),
        mode: None,
        mode_reason: None,
        email: None,
        plan: None,
        account_id: None,
        organization_id: None,
        project_id: None,
        generation: 0,
        expires_at: None,
        refresh_at: None,
        last_refresh: None,
        last_error: None,
        own_credential: false,
        provider: None,
        issuer: None,
        resource: None,
        scopes: Vec::new(),
        missing_scopes: Vec::new(),
        routing_error: None,
        claimed_by: None,
    };
    match view {
        ProfileView::StoreUnavailable(_) | ProfileView::Unreadable(_) => {
            Profile { last_error: Some(problem::not_loaded(name, view)), ..blank }
        }
        ProfileView::Loaded(snapshot) => loaded(snapshot, blank, now),
    }
}

/// The state of a profile.
pub(crate) fn state(view: &ProfileView, now: Timestamp) -> ProfileState {
    match view {
        ProfileView::StoreUnavailable(_) => ProfileState::Unread,
        ProfileView::Unreadable(_) => ProfileState::LoginRequired,
        ProfileView::Loaded(snapshot) => match snapshot.status(now) {
            ProfileStatus::Ready => ProfileState::Ready,
            ProfileStatus::Refreshing => ProfileState::Refreshing,
            ProfileStatus::Unsaved => ProfileState::Unsaved,
            ProfileStatus::Expired => ProfileState::Expired,
            ProfileStatus::LoginRequired => ProfileState::LoginRequired,
        },
    }
}

fn loaded(snapshot: &ProfileSnapshot, blank: Profile, now: Timestamp) -> Profile {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let Credential { identity, mode_reason, generation, issued_at, expires_at, authority, .. } =
        &*snapshot.credential;
    let blank = match authority.as_deref().cloned() {
        Some(authority) => Profile {
            provider: Some(authority.provider),
            issuer: authority.issuer,
            resource: authority.resource,
            scopes: authority.scopes,
            missing_scopes: authority.missing_scopes,
            ..blank
        },
        None => blank,
    };
    Profile {
        mode: Some(mode_message(snapshot.mode())),
        mode_reason: Some(mode_reason.to_string()),
        email: text(&identity.email),
        plan: identity.plan.as_ref().map(Plan::to_string),
        account_id: text(&identity.account_id),
        organization_id: text(&identity.organization_id),
        project_id: text(&identity.project_id),
        generation: *generation,
        expires_at: *expires_at,
        refresh_at: snapshot.refresh_at,
        last_refresh: Some(*issued_at),
        last_error: problem::last_error(snapshot, now),
        own_credential: snapshot.is_own_credential(),
        routing_error: problem::routing(snapshot, now),
        claimed_by: snapshot.claimed_by.as_deref().map(str::to_owned),
        ..blank
    }
}

/// A login.
pub(crate) fn login(login: LoginSnapshot, now: Timestamp) -> Login {
    Login {
        id: login.id,
        profile: login.profile,
        flow: login.flow,
        state: login.state,
        authorize_url: login.authorize_url,
        open_url: login.open_url,
        provider: login.provider,
        issuer: login.issuer,
        verification_url_complete: login.verification_url_complete,
        redirect_uri: login.redirect_uri,
        verification_url: login.verification_url,
        user_code: login.user_code,
        created_at: login.created_at,
        expires_at: login.expires_at,
        error: login.error.map(|error| problem::login(&error, now)),
        result: login.result.map(|result| profile(&result.name, &result.view, result.is_default, result.at)),
    }
}

/// A managed Codex home.
pub(crate) fn codex_home(home: authd_broker::CodexHome) -> CodexHome {
    let Observed { state, link, written_at, error } = home.observed;
    CodexHome {
        home: home.home,
        path: home.path,
        keychain: home.keychain,
        profile: home.profile,
        state,
        link,
        last_written: written_at,
        last_error: error.map(|error| problem::codex_home(&error)),
    }
}

/// The callback server.
pub(crate) fn callback(server: &CallbackServerState) -> CallbackStatus {
    CallbackStatus {
        state: server.state,
        addresses: server.addresses.iter().map(ToString::to_string).collect(),
        detail: server.detail.clone(),
    }
}

/// A share.
pub(crate) fn share(share: &authd_broker::Share, doors: &ShareDoorsHandle) -> Share {
    let terms = &share.terms;
    let socket = || doors.socket(&share.id).display().to_string();
    Share {
        id: share.id.to_string(),
        profile: terms.profile.clone(),
        allow: terms.allow,
        door: terms.door,
        created_at: terms.created_at,
        expires_at: terms.expires_at,
        rate: terms.rate,
        paths: terms.paths.iter().map(ToString::to_string).collect(),
        label: terms.label.as_deref().map(str::to_owned),
        compat: terms.compat,
        held: terms.held,
        socket: (terms.door == ShareDoor::Socket).then(socket),
        url: terms.port.map(|port| format!("http://127.0.0.1:{port}/v1")),
        error: doors.error(&share.id),
    }
}
