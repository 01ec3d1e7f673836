//! What luck does to a call: what happened at its other end, and what the caller is told of it.

use authd_oauth::{ProviderError, Record, RefreshToken, SaveError};

use crate::{
    model::{Brings, Provider, Renewal, Store},
    step::Luck,
};

/// What the session is told of a store that did not take a record.
pub(crate) fn unsaved(message: &str) -> SaveError {
    SaveError { locked: false, message: message.to_owned() }
}

/// A save as luck has it.
pub(crate) fn save(store: &mut Store, record: &Record, luck: Luck) -> Result<(), SaveError> {
    let (written, told) = match luck {
        Luck::Answered(_) | Luck::Kept(_) | Luck::OnlyRotated | Luck::Busy(_) => (true, true),
        Luck::AnswerLost | Luck::AnswerSpoiled | Luck::Broke => (true, false),
        Luck::Unsent | Luck::RequestLost | Luck::Refused => (false, false),
    };
    if written {
        store.write(record.clone());
    }
    if told { Ok(()) } else { Err(unsaved("it is locked")) }
}

/// A refresh as luck has it.
pub(crate) fn refresh(
    provider: &mut Provider,
    token: &RefreshToken,
    luck: Luck,
) -> Result<Renewal, ProviderError> {
    let token = token.expose();
    match luck {
        Luck::Answered(lifetime) => provider.spend(token, Brings::All, lifetime),
        Luck::Kept(lifetime) => provider.spend(token, Brings::AccessToken, lifetime),
        Luck::OnlyRotated => provider.spend(token, Brings::RefreshToken, luck.lifetime()),
        Luck::Refused => {
            provider.revoke(token);
            provider.spend(token, Brings::All, luck.lifetime())
        }
        Luck::AnswerLost | Luck::AnswerSpoiled | Luck::Broke => {
            // It is spent, and whatever the provider says to that does not arrive.
            drop(provider.spend(token, Brings::All, luck.lifetime()));
            Err(failure(luck))
        }
        Luck::Unsent | Luck::RequestLost | Luck::Busy(_) => Err(failure(luck)),
    }
}

/// What a caller sees of bad luck.
pub(crate) fn failure(luck: Luck) -> ProviderError {
    let detail = String::new();
    match luck {
        Luck::Unsent => ProviderError::NotSent { detail },
        Luck::AnswerSpoiled | Luck::OnlyRotated => ProviderError::InvalidResponse { detail },
        Luck::Busy(retry_after) => ProviderError::Unavailable { status: 429, retry_after },
        Luck::Broke => ProviderError::Unavailable { status: 503, retry_after: None },
        _ => ProviderError::NoResponse { detail },
    }
}
