//! What luck does to a call: what happened at its other end, and what the caller is told of it.

use authd_oauth::{Failure, Record, RefreshToken, Unsaved};

use crate::{
    model::{Brings, Provider, Renewal, Store},
    step::Luck,
};

/// What the session is told of a store that did not take a record.
pub(crate) fn unsaved(complaint: &str) -> Unsaved {
    Unsaved { locked: false, complaint: complaint.to_owned() }
}

/// A save as luck has it.
pub(crate) fn save(store: &mut Store, record: &Record, luck: Luck) -> Result<(), Unsaved> {
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
pub(crate) fn refresh(provider: &mut Provider, token: &RefreshToken, luck: Luck) -> Result<Renewal, Failure> {
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
pub(crate) fn failure(luck: Luck) -> Failure {
    let detail = String::new();
    match luck {
        Luck::Unsent => Failure::Unsent { detail },
        Luck::AnswerSpoiled | Luck::OnlyRotated => Failure::Garbled { detail },
        Luck::Busy(retry_after) => Failure::Busy { status: 429, retry_after },
        Luck::Broke => Failure::Busy { status: 503, retry_after: None },
        _ => Failure::Unanswered { detail },
    }
}
